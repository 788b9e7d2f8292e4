"""A guided search: the controller proposes many, a surrogate that has seen every child chooses one.

This is not the paper's REINFORCE. The children that are trained are no samples of the policy, but the most promising of
many, so that the gradient estimate would be biased. The controller learns by another rule: to imitate the best children
seen, and to turn to or from the last by how its reward compares with all rewards.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rlnas.controller.learner import PolicySearcher, adam_step
from rlnas.controller.moves import draw, mutate
from rlnas.controller.policy import Actions, Policy
from rlnas.controller.searchers import Experience, Proposal, SearcherState, Trial
from rlnas.controller.settings import GuidedSettings
from rlnas.controller.surrogate import MOST_FITTED, MOST_POINTS, Scales, Surrogate, normal_scores, thinned
from rlnas.seeds import derive_seed
from rlnas.spaces import Features, Tokens
import sys
from itertools import groupby
import os
GROWTH = 1.2
TRIES = 100
LIE = os.environ.get("LIE", "mean")
STEPS = int(os.environ.get("STEPS", "1"))
Z = os.environ.get("Z", "z")

class Guided(PolicySearcher):
    settings: GuidedSettings
    reads_history = True

    def initial(self, seed: int) -> SearcherState:
        return SearcherState(self._start(seed), {"best": [], "count": 0, "mean": 0.0, "square": 0.0})

    def propose(self, state, samples, seeds, history=()):
        known = {t.tokens for t in history}
        told = [t for t in history if t.reward is not None]
        proposals = []
        surrogate = None
        policy, decisions = self._policy(state), self.space.decisions(samples)
        for seed in seeds:
            generator = random.Random(seed)
            if len(history) + len(proposals) < self.settings.first or len(told) < 2:
                for _ in range(TRIES):
                    tokens = draw(decisions, generator)[0]
                    if tokens not in known and self.fits(tokens):
                        break
                by = "random"
            else:
                if surrogate is None:
                    surrogate = self._surrogate(told)
                    for p in proposals:
                        surrogate.pretend(self._feat(p.tokens), self._lie(surrogate))
                    best = sorted(told, key=lambda t: -t.reward)[: self.settings.parents]
                cands = {}
                if self.settings.samples:
                    actions, _ = policy.sample(decisions, [derive_seed(seed, i) for i in range(self.settings.samples)])
                    for tokens in actions.to_tokens(decisions):
                        if tokens not in known: cands.setdefault(tokens, "controller")
                for _ in range(self.settings.mutations):
                    tokens = mutate(self.space, samples, generator.choice(best).tokens, generator)
                    while generator.random() < MULTI:
                        tokens = mutate(self.space, samples, tokens, generator)
                    if tokens not in known: cands.setdefault(tokens, "mutation")
                cands = {t: by for t, by in cands.items() if self.fits(t)}
                if not cands:
                    cands = {draw(decisions, generator)[0]: "random"}
                keys = list(cands)
                ei = surrogate.expected_improvement([self._feat(t) for t in keys])
                tokens = keys[int(ei.argmax())]
                by = cands[tokens]
                if seed != seeds[-1]:
                    surrogate.pretend(self._feat(tokens), self._lie(surrogate))
            known.add(tokens)
            proposals.append(Proposal(tokens, None, by))
        return proposals

    def _lie(self, s):
        return {"mean": None, "max": s._best, "zero": 0.0, "min": -s._best}[LIE]

    def _feat(self, tokens):
        cache = self.__dict__.setdefault("_cache", {})
        if tokens not in cache:
            cache[tokens] = self.features(tokens)
        return cache[tokens]

    def _surrogate(self, told):
        n = 10
        while (m := max(n + 1, int(n * GROWTH))) <= len(told):
            n = m
        key = tuple((t.tokens, t.reward) for t in told[:n])
        if self.__dict__.get("_fitted", (None,))[0] != key:
            rewards = [t.reward for t in told[:n]]
            at = thinned(rewards, MOST_FITTED)
            s = Surrogate([self._feat(told[i].tokens) for i in at], normal_scores(rewards)[at])
            self._fitted = key, s.scales
        rewards = [t.reward for t in told]
        at = thinned(rewards, MOST_POINTS)
        return Surrogate([self._feat(told[i].tokens) for i in at], normal_scores(rewards)[at], self._fitted[1])

    def learn(self, state, rounds):
        memory = dict(state.memory)
        best = [(tuple(t), r) for t, r in memory["best"]]
        policy = self._policy(state)
        tensors = dict(state.tensors)
        for experience in rounds:
            for tokens, reward in zip(experience.tokens, experience.rewards):
                if reward is None: continue
                memory["count"] += 1
                delta = reward - memory["mean"]
                memory["mean"] += delta / memory["count"]
                memory["square"] += delta * (reward - memory["mean"])
                if tokens not in [t for t, _ in best]:
                    best = sorted([*best, (tokens, reward)], key=lambda p: -p[1])[: self.settings.parents]
                if self.settings.learning_rate == 0: continue
                deviation = (memory["square"] / memory["count"]) ** 0.5
                z = (reward - memory["mean"]) / deviation if deviation > 0 else 0.0
                z = max(-ZMAX, min(ZMAX, z))
                for _ in range(STEPS):
                    decisions = self.space.decisions(sys.maxsize)
                    actions = Actions.from_tokens(decisions, [*(t for t, _ in best), tokens])
                    lp, ent = policy.score(decisions, actions)
                    loss = -lp[:-1].mean() - z * lp[-1] - ENT * ent.mean()
                    grad = torch.autograd.grad(loss, list(policy.parameters()), materialize_grads=True)
                    tensors = adam_step(policy, grad, tensors, self.settings.learning_rate)
                    self.ent = float(ent.detach().mean())
        memory["best"] = best
        return SearcherState(tensors, memory), {}
ENT = float(os.environ.get("ENT", "0"))
ZMAX = float(os.environ.get("ZMAX", "1e9"))
MULTI = float(os.environ.get("MULTI", "0"))
