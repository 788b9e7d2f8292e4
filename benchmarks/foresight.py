"""What foresees the rewards of cells: `python -m benchmarks.foresight`.

Looks at the cells of examples/text-rnn.yaml that `python -m benchmarks.search_real text` has trained and remembers, and
tries each of them. Prints two tables:

- how well the surrogate, after some cells drawn at random, ranks the others: Kendall's tau;
- the best reward of those that expected improvement chooses from all, at the cost of so many trainings, a short trial
  counted as the part of a training that it is.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.search_quality import standard_error
from benchmarks.search_real import EXAMPLES, Children
from rlnas.controller import Trial
from rlnas.controller.settings import GuidedSettings
from rlnas.controller.surrogate import Scales, Surrogate, normal_scores
from rlnas.controller.trials import ShortTrials
from rlnas.spaces import Features, Tokens
from rlnas.spec import load_spec

FORESEEN = ("silent", "growth of hidden state", "growth of cell state")
"""Counts that `rlnas.spaces.foresight` finds."""
TOLD, DRAWS = (32, 48), 40
BUDGETS, SEARCHES = (8, 16, 24, 48), 40
FIRST = GuidedSettings().first
See = Callable[[Tokens], Features]


@dataclass(frozen=True)
class Pool:
    """Trained cells.

    Args:
        rewards: by tokens; of a child that failed, the one that the spec gives to failures.
        losses: of short trials.
        trial: what one costs, in trainings.
        views: what a surrogate may see.
    """

    rewards: Mapping[Tokens, float]
    losses: Mapping[Tokens, float]
    trial: float
    views: Mapping[str, See]

    @classmethod
    def read(cls) -> "Pool":
        """Read what is remembered, and try what was not tried yet."""
        children = Children(load_spec(EXAMPLES / "text-rnn.yaml"))
        spec, rewards = children.spec, dict[Tokens, float]()
        for path in sorted(children.folder.glob("[!t]*.json")):
            entry = json.loads(path.read_text(encoding="utf-8"))
            reward = entry["reward"]
            rewards[tuple(entry["tokens"])] = spec.failures.reward if reward is None else reward
        features = {tokens: spec.space.features(tokens, children.shape) for tokens in rewards}
        scores = {tokens: children.scores(tokens) for tokens in rewards}
        losses = {tokens: children.trial(tokens) for tokens in rewards}

        def counted(tokens: Tokens) -> Features:
            counts = features[tokens].counts
            return replace(features[tokens], counts={k: v for k, v in counts.items() if k not in FORESEEN})

        views: dict[str, See] = {
            "decisions": lambda tokens: replace(features[tokens], counts={}),
            "and counts": counted,
            "and what operations foresee": lambda tokens: features[tokens],
            "and the score of the untrained cell": lambda tokens: replace(features[tokens], sizes=scores[tokens]),
            "and the loss of a short trial": lambda tokens: replace(
                features[tokens], sizes={**scores[tokens], "loss": losses[tokens]}
            ),
            "the score alone": lambda tokens: Features({}, {}, scores[tokens]),
            "the loss alone": lambda tokens: Features({}, {}, {"loss": losses[tokens]}),
        }
        return cls(rewards, losses, spec.child.trial, views)


def tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return Kendall's tau-b of two columns."""
    upper = np.triu_indices(len(a), 1)
    x, y = (np.sign(column[:, None] - column)[upper] for column in (a, b))
    return float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))


def ranked(pool: Pool, see: See, told: int, seed: int) -> float:
    """Return how well the surrogate ranks the cells that it was not told of."""
    order = [list(pool.rewards)[i] for i in np.random.default_rng(seed).permutation(len(pool.rewards))]
    features = [see(tokens) for tokens in order]
    scores = normal_scores([pool.rewards[tokens] for tokens in order[:told]])
    surrogate = Surrogate(features[:told], scores, Scales.most_likely(features[:told], scores))
    expected, _ = surrogate.predict(features[told:])
    return tau(expected.numpy(), np.array([pool.rewards[tokens] for tokens in order[told:]]))


def search(pool: Pool, see: See | None, trials: int, seed: int, first: int = FIRST) -> list[float]:
    """Choose cells of the pool as `guided` does among its candidates; at random if `see` is None.

    Returns:
        The best reward at the cost of 1, 2, … trainings.
    """
    order = [list(pool.rewards)[i] for i in np.random.default_rng(seed).permutation(len(pool.rewards))]
    known = ShortTrials(pool.losses.get, list[Trial]())
    spent, told, curve, scales, fitted = 0.0, list[Tokens](), dict[float, float](), Scales(), 0
    while spent < BUDGETS[-1] and order:
        if see is None or len(told) < first:
            chosen = order[0]
            if see and trials:
                known.make(order[:trials])
                chosen = known.best(order)
        else:
            features = [known.add(see(tokens), tokens) for tokens in told]
            scores = normal_scores([pool.rewards[tokens] for tokens in told])
            if len(told) >= 1.2 * fitted:
                scales, fitted = Scales.most_likely(features, scores), len(told)
            surrogate = Surrogate(features, scores, scales)
            gains = surrogate.expected_improvement([known.add(see(tokens), tokens) for tokens in order])
            candidates = order
            if trials:
                known.make(order[i] for i in gains.argsort(descending=True)[:trials].tolist())
                candidates = known.tried(order)
                gains = surrogate.expected_improvement([known.add(see(tokens), tokens) for tokens in candidates])
            chosen = candidates[int(gains.argmax())]
        spent += 1 + pool.trial * len(known.made())
        order.remove(chosen)
        told.append(chosen)
        curve[spent] = max(pool.rewards[tokens] for tokens in told)
    return [max((r for at, r in curve.items() if at <= budget + 1e-9), default=0.0) for budget in BUDGETS]


def mean(values: Sequence[float], scale: float, digits: int) -> str:
    """Write a mean with its standard error."""
    column = scale * np.array(values)
    return f"{column.mean():.{digits}f} ± {standard_error(column):.{digits}f}"


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    pool = Pool.read()
    print(f"{len(pool.rewards)} cells; a short trial is {pool.trial:.0%} of a training\n")
    print(f"| the surrogate sees | {' | '.join(f'tau after {told}' for told in TOLD)} |\n|---|{'---|' * len(TOLD)}")
    for name, see in pool.views.items():
        cells = [mean([ranked(pool, see, told, seed) for seed in range(DRAWS)], 1, 3) for told in TOLD]
        print(f"| {' | '.join([name, *cells])} |", flush=True)
    print(f"\n| 1000 times the best reward | {' | '.join(map(str, BUDGETS))} |\n|---|{'---|' * len(BUDGETS)}")
    blind, scored = pool.views["and what operations foresee"], pool.views["and the score of the untrained cell"]
    ways: list[tuple[str, See | None, int, int]] = [("at random", None, 0, FIRST)]
    for first in (FIRST, 5):
        ways += [(f"no score, {first} random first", blind, 0, first)]
        ways += [(f"score, {first} random first, {k or 'no'} short trials", scored, k, first) for k in (0, 2, 4, 8)]
    for name, sees, trials, first in ways:
        curves = np.array([search(pool, sees, trials, seed, first) for seed in range(SEARCHES)])
        print(f"| {' | '.join([name, *(mean(column, 1000, 2) for column in curves.T)])} |", flush=True)


if __name__ == "__main__":
    main()
