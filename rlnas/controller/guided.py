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
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rlnas.controller.learner import PolicySearcher, policy_step
from rlnas.controller.moves import carry_over, draw, first_new, mutate, neighbours
from rlnas.controller.policy import Actions, Policy
from rlnas.controller.searchers import Experience, Proposal, SearcherState, Trial
from rlnas.controller.settings import GuidedSettings
from rlnas.controller.stopped import whole_rewards
from rlnas.controller.surrogate import MOST_FITTED, MOST_POINTS, Scales, Surrogate, normal_scores, thinned
from rlnas.controller.trials import ShortTrials
from rlnas.seeds import derive_seed
from rlnas.spaces import DataShape, Features, Space, Tokens, walk

GROWTH = 1.2
"""The surrogate's scales are chosen anew whenever it has seen so many times as many children."""

Told = tuple[tuple[Tokens, float], ...]


@dataclass(frozen=True)
class _Known:
    """The rewards that a proposal may be based on.

    Args:
        own: architectures and their rewards.
        earlier: those of the earlier search that this one began with.
        space: of the earlier search.
    """

    own: Told
    earlier: Told = ()
    space: Space | None = None

    @classmethod
    def of(cls, history: Sequence[Trial]) -> "_Known":
        space = next((trial.earlier for trial in history if trial.earlier), None)
        own, earlier = (_told([t for t in history if (t.earlier is None) == mine]) for mine in (True, False))
        return cls(own, earlier, space)


class Guided(PolicySearcher):
    """Surrogate-guided search with a proposer that learns.

    The first children are drawn at random. From then on a proposal is the one of largest expected improvement among
    samples of the controller, random architectures, mutations of the best children and what lies one decision away
    from the most promising of these, as far as they are new and within the limit. The random ones are there because a
    controller that imitates the best narrows: its samples become few and alike. Within a round the surrogate takes the
    earlier proposals for tried, with the scores that it expects of them.

    If the search began with an earlier one, the surrogate chooses from the first child on, and the candidates are the
    best of the earlier children, too.

    Where settings and child trainer allow short trials, the most promising are tried first, and one of those that were
    ever tried is chosen; the first children are the best by their trials of as many random ones.
    """

    settings: GuidedSettings
    reads_history = True
    foresees = True

    def __init__(self, space: Space, settings: GuidedSettings, shape: DataShape | None = None) -> None:
        super().__init__(space, settings, shape)
        # A function of what it is given: a process that remembers proposes what a fresh one does.
        self._scales = lru_cache(1)(self._most_likely)
        self._tried = ShortTrials(self.foresight.trial, ())

    def initial(self, seed: int) -> SearcherState:
        return SearcherState(self._start(seed), _Memory().as_json())

    def propose(
        self, state: SearcherState, samples: int, seeds: Sequence[int], history: Sequence[Trial] = ()
    ) -> list[Proposal]:
        self._tried = ShortTrials(self.foresight.trial, history)
        own = [trial for trial in history if trial.earlier is None]
        known, told = {trial.tokens for trial in own}, _Known.of(history)
        uniform = max(0, self.settings.first - len(own)) if len(told.own) > 1 else len(seeds)
        if told.earlier:
            uniform = 0
        proposals: list[Proposal] = []
        for seed in seeds[:uniform]:
            proposals.append(self._random(samples, seed, known))
            known.add(proposals[-1].tokens)
        if uniform >= len(seeds):
            return proposals

        surrogate, policy = self._surrogate(told, history), self._policy(state)
        for seed in seeds[uniform:]:
            for proposal in proposals[surrogate.pretended :]:
                surrogate.pretend(self._seen(proposal.tokens))
            candidates = self._candidates(policy, samples, seed, told)
            candidates |= dict.fromkeys(self._tried.passed_over(known), "short trial")
            chosen = self._choose(surrogate, candidates, samples, seed, known)
            proposals.append(chosen or self._random(samples, seed, known))
            known.add(proposals[-1].tokens)
        return proposals

    def _candidates(self, policy: Policy, samples: int, seed: int, told: _Known) -> dict[Tokens, str]:
        """Return what may be proposed, and by whom."""
        decisions, generator = self.space.decisions(samples), random.Random(seed)
        drawn: list[Tokens] = []
        if self.settings.samples:
            drawn = policy.sample_many(decisions, self.settings.samples, derive_seed(seed, "samples"))
        parents, brought = _best(told.own, self.settings.parents), []
        if told.earlier:
            best = _best(told.earlier, self.settings.parents)
            brought = [carry_over(self.space, samples, tokens, generator) for tokens, _ in best]
        even = [draw(decisions, generator)[0] for _ in range(self.settings.even)]
        changed = [
            mutate(self.space, samples, generator.choice([tokens for tokens, _ in parents] + brought), generator)
            for _ in range(self.settings.mutations)
        ]
        made = {"even draw": even, "mutation": changed, "controller": drawn, "earlier search": brought}
        return {tokens: by for by, architectures in made.items() for tokens in architectures}

    def _choose(
        self, surrogate: Surrogate, candidates: dict[Tokens, str], samples: int, seed: int, known: Collection[Tokens]
    ) -> Proposal | None:
        gains = self._gains(surrogate, candidates, known)
        if not gains:
            return None
        generator = random.Random(derive_seed(seed, "steps"))
        for _ in range(self.settings.steps):
            best = max(gains, key=gains.__getitem__)
            around = dict.fromkeys(neighbours(self.space, samples, best, generator))
            gains |= self._gains(surrogate, [tokens for tokens in around if tokens not in gains], known)
        if self.settings.trials:
            self._tried.make(sorted(gains, key=gains.__getitem__, reverse=True)[: self.settings.trials])
            gains = self._gains(surrogate, self._tried.tried(list(gains)), known)
        tokens = max(gains, key=gains.__getitem__)
        return Proposal(tokens, None, candidates.get(tokens, "neighbour"), self._tried.made())

    def _gains(
        self, surrogate: Surrogate, candidates: Iterable[Tokens], known: Collection[Tokens]
    ) -> dict[Tokens, float]:
        """Return what is expected of those that are new and within the limit."""
        new = [tokens for tokens in candidates if tokens not in known and self.fits(tokens)]
        if not new:
            return {}
        gains = surrogate.expected_improvement([self._seen(tokens) for tokens in new])
        return dict(zip(new, gains.tolist(), strict=True))

    def _surrogate(self, told: _Known, history: Sequence[Trial]) -> Surrogate:
        fitted = 2
        while (more := max(fitted + 1, int(fitted * GROWTH))) <= len(told.own):
            fitted = more
        own = [trial for trial in history if trial.earlier is None and trial.reward is not None]
        scales = self._scales(_Known.of([*(trial for trial in history if trial.earlier), *own[:fitted]]))
        features, scores, earlier = self._scored(told, MOST_POINTS)
        return Surrogate(features, scores, scales, earlier)

    def _most_likely(self, told: _Known) -> Scales:
        return Scales.most_likely(*self._scored(told, MOST_FITTED))

    def _scored(self, told: _Known, most: int) -> tuple[list[Features], Tensor, int]:
        """Return features and scores of at most so many children, and how many of them are the first, earlier ones.

        These are no more than a half.
        """
        rewards = [reward for _, reward in told.earlier]
        chosen = thinned(rewards, most // 2)
        features = [self._seen(told.earlier[i][0], told.space) for i in chosen]
        scores = normal_scores(rewards)[chosen]
        rewards = [reward for _, reward in told.own]
        chosen = thinned(rewards, most - len(features))
        own = [self._seen(told.own[i][0]) for i in chosen]
        return [*features, *own], torch.cat([scores, normal_scores(rewards)[chosen]]), len(features)

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
            tensors = policy_step(policy, gradient, tensors, self.settings.learning_rate)
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
        drawn: list[Tokens] = []
        for _ in range(max(1, self.settings.trials)):
            drawn.append(first_new(lambda _: draw(decisions, generator)[0], (), {*known, *drawn}, self.fits))
        if not self.settings.trials:
            return Proposal(drawn[0], None, "random")
        self._tried.make(drawn)
        best = self._tried.best([*drawn, *self._tried.passed_over({*known, *drawn})])
        return Proposal(best, None, "random", self._tried.made())

    def _seen(self, tokens: Tokens, space: Space | None = None) -> Features:
        """Return what the surrogate sees of an architecture of the search's space, or of an earlier one's."""
        features = self.features(tokens, space)
        if self.settings.scores:
            features = replace(features, sizes={**features.sizes, **self.foresight.scores(tokens, space)})
        return features if space else self._tried.add(features, tokens)


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


def _told(history: Sequence[Trial]) -> Told:
    """Return the children that have a reward, with it; those that were stopped with what is expected of them."""
    rewards = zip(history, whole_rewards(history), strict=True)
    return tuple((trial.tokens, reward) for trial, reward in rewards if reward is not None)


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
