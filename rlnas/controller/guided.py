"""A guided search: the controller proposes many, and a surrogate that has seen every child chooses one of them.

This is not the paper's REINFORCE. The children that are trained are no samples of the policy but the most promising of
many, so REINFORCE's estimate of the gradient would be biased. The controller learns by another rule: it imitates the
best children, and turns to or from the last one by how its reward stands among all.
"""

import math
import random
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rlnas.controller.learner import PolicySearcher, adam_step
from rlnas.controller.moves import draw, first_new, mutate, neighbours
from rlnas.controller.policy import Actions, Policy
from rlnas.controller.searchers import Experience, Proposal, SearcherState, Trial
from rlnas.controller.settings import GuidedSettings
from rlnas.controller.surrogate import MOST_FITTED, MOST_POINTS, Scales, Surrogate, normal_scores, thinned
from rlnas.seeds import derive_seed
from rlnas.spaces import DataShape, Space, Tokens, walk

GROWTH = 1.2
"""The surrogate's scales are chosen anew whenever it has seen so many times as many children."""
MOST_REMEMBERED = 20_000
"""What the space says of so many architectures is kept, since a proposal asks again for every child."""

Told = tuple[tuple[Tokens, float], ...]


class Guided(PolicySearcher):
    """Surrogate-guided search with a proposer that learns.

    The first children are drawn at random. From then on a proposal is the one of largest expected improvement among
    samples of the controller and mutations of the best children, as far as they are new and within the limit. Within
    a round the surrogate takes the earlier proposals for tried, with the scores that it expects of them.
    """

    settings: GuidedSettings
    reads_history = True
    label = "a surrogate chooses among samples of the controller: this biases REINFORCE, and is not the paper's search"

    def __init__(self, space: Space, settings: GuidedSettings, shape: DataShape | None = None) -> None:
        super().__init__(space, settings, shape)
        # Both are functions of what they are given: a process that remembers proposes what a fresh one does.
        self._seen = lru_cache(MOST_REMEMBERED)(self.features)
        self._scales = lru_cache(1)(self._most_likely)

    def initial(self, seed: int) -> SearcherState:
        return SearcherState(self._start(seed), _Memory().as_json())

    def propose(
        self, state: SearcherState, samples: int, seeds: Sequence[int], history: Sequence[Trial] = ()
    ) -> list[Proposal]:
        known = {trial.tokens for trial in history}
        told = tuple((trial.tokens, trial.reward) for trial in history if trial.reward is not None)
        uniform = max(0, self.settings.first - len(history)) if len(told) > 1 else len(seeds)
        proposals: list[Proposal] = []
        for seed in seeds[:uniform]:
            proposals.append(self._random(samples, seed, known))
            known.add(proposals[-1].tokens)
        if uniform >= len(seeds):
            return proposals

        surrogate, policy, parents = self._surrogate(told), self._policy(state), _best(told, self.settings.parents)
        for seed in seeds[uniform:]:
            for proposal in proposals[surrogate.pretended :]:
                surrogate.pretend(self._seen(proposal.tokens))
            candidates = self._candidates(policy, samples, seed, parents)
            chosen = self._best(surrogate, candidates, known)
            proposals.append(
                self._random(samples, seed, known)
                if chosen is None
                else Proposal(self._climbed(surrogate, chosen, samples, seed, known), None, candidates[chosen[0]])
            )
            known.add(proposals[-1].tokens)
        return proposals

    def _candidates(self, policy: Policy, samples: int, seed: int, parents: Told) -> dict[Tokens, str]:
        """Return what may be proposed, and by whom."""
        drawn: list[Tokens] = []
        if self.settings.samples:
            drawn = policy.sample_many(
                self.space.decisions(samples), self.settings.samples, derive_seed(seed, "samples")
            )
        generator = random.Random(seed)
        changed = [
            mutate(self.space, samples, generator.choice(parents)[0], generator) for _ in range(self.settings.mutations)
        ]
        return dict.fromkeys(changed, "mutation") | dict.fromkeys(drawn, "controller")

    def _best(
        self, surrogate: Surrogate, candidates: Iterable[Tokens], known: Collection[Tokens]
    ) -> tuple[Tokens, float] | None:
        """Return the most promising of those that are new and within the limit, and what it promises."""
        new = [tokens for tokens in candidates if tokens not in known and self.fits(tokens)]
        if not new:
            return None
        gains = surrogate.expected_improvement([self._seen(tokens) for tokens in new])
        at = int(gains.argmax())
        return new[at], float(gains[at])

    def _climbed(
        self, surrogate: Surrogate, start: tuple[Tokens, float], samples: int, seed: int, known: Collection[Tokens]
    ) -> Tokens:
        """Change one decision after another, each time the one that promises most."""
        at, gain = start
        for _ in range(self.settings.steps):
            around = self._best(surrogate, neighbours(self.space, samples, at, random.Random(seed)), known)
            if around is None or around[1] <= gain:
                break
            at, gain = around
        return at

    def _surrogate(self, told: Told) -> Surrogate:
        rewards = [reward for _, reward in told]
        chosen, fitted = thinned(rewards, MOST_POINTS), 2
        while (more := max(fitted + 1, int(fitted * GROWTH))) <= len(told):
            fitted = more
        features = [self._seen(told[i][0]) for i in chosen]
        return Surrogate(features, normal_scores(rewards)[chosen], self._scales(told[:fitted]))

    def _most_likely(self, told: Told) -> Scales:
        rewards = [reward for _, reward in told]
        chosen = thinned(rewards, MOST_FITTED)
        return Scales.most_likely([self._seen(told[i][0]) for i in chosen], normal_scores(rewards)[chosen])

    def learn(self, state: SearcherState, rounds: Sequence[Experience]) -> tuple[SearcherState, dict[str, float]]:
        """Do one step of Adam for each child: it raises the likelihood of the best, and by its score that of the last.

        The loss is -mean log P(best) - z · log P(last), z being how many standard deviations the last reward is above
        the mean of all so far.
        """
        memory, policy, tensors = _Memory.from_json(state.memory), self._policy(state), dict(state.tensors)
        numbers = {"baseline": memory.mean}
        for tokens, reward in _children(rounds):
            z = memory.take(tokens, reward, self.settings.parents)
            numbers["baseline"] = memory.mean
            if self.settings.learning_rate == 0:
                continue
            log_probability, entropy = self._score(policy, [*(tokens for tokens, _ in memory.best), tokens])
            loss = -log_probability[:-1].mean() - z * log_probability[-1]
            gradient = torch.autograd.grad(loss, list(policy.parameters()), materialize_grads=True)
            tensors = adam_step(policy, gradient, tensors, self.settings.learning_rate)
            numbers["entropy"] = float(entropy.detach().mean())
            numbers["gradient_norm"] = float(torch.nn.utils.get_total_norm(gradient))
        return SearcherState(tensors, memory.as_json()), numbers

    def _score(self, policy: Policy, sequences: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Return log-probability and entropy [N] of architectures, which may be of several depths."""
        decisions, groups = self.space.decisions(sys.maxsize), defaultdict(list)
        for at, tokens in enumerate(sequences):
            last = max(position for position, _, _ in walk(decisions, tokens))
            groups[last + 1].append(at)
        order = [at for members in groups.values() for at in members]
        parts = [
            policy.score(decisions[:end], Actions.from_tokens(decisions[:end], [sequences[at] for at in members]))
            for end, members in groups.items()
        ]
        back = torch.tensor(order).argsort()
        log_probability, entropy = (torch.cat(part)[back] for part in zip(*parts, strict=True))
        return log_probability, entropy

    def _random(self, samples: int, seed: int, known: Collection[Tokens]) -> Proposal:
        decisions, generator = self.space.decisions(samples), random.Random(seed)
        tokens = first_new(lambda _: draw(decisions, generator)[0], (), known, self.fits)
        return Proposal(tokens, None, "random")


@dataclass
class _Memory:
    """What the controller learns from, so that `learn` needs no history.

    Args:
        best: distinct architectures and their rewards, the best first.
        count, mean, square: of all rewards: how many, their mean, and the sum of squared distances from it.
    """

    best: Told = ()
    count: int = 0
    mean: float = 0.0
    square: float = 0.0

    @classmethod
    def from_json(cls, memory: Mapping[str, Any]) -> "_Memory":
        best = tuple((tuple(tokens), reward) for tokens, reward in memory["best"])
        return cls(best, memory["count"], memory["mean"], memory["square"])

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"best": [[list(tokens), reward] for tokens, reward in self.best]}

    def take(self, tokens: Tokens, reward: float, most: int) -> float:
        """Take a child into account; return how many standard deviations its reward is above the mean."""
        self.count += 1
        before = reward - self.mean
        self.mean += before / self.count
        self.square += before * (reward - self.mean)
        self.best = _best((*self.best, (tokens, reward)), most)
        return (reward - self.mean) / math.sqrt(self.square / self.count) if self.square > 0 else 0.0


def _best(told: Told, most: int) -> Told:
    """Return the best architectures, each once with its best reward; of equals the first."""
    distinct: dict[Tokens, float] = {}
    for tokens, reward in sorted(told, key=lambda pair: -pair[1]):
        distinct.setdefault(tokens, reward)
        if len(distinct) == most:
            break
    return tuple(distinct.items())


def _children(rounds: Sequence[Experience]) -> Iterator[tuple[Tokens, float]]:
    for experience in rounds:
        for tokens, reward in zip(experience.tokens, experience.rewards, strict=True):
            if reward is not None:
                yield tokens, reward
        for trial in experience.suggested:
            if trial.reward is not None:
                yield trial.tokens, trial.reward
