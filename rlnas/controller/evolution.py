"""Regularised evolution (Real et al. 2019, Algorithm 1) and local search (White et al. 2021), without duplicates."""

import random
from collections.abc import Collection, Sequence
from operator import itemgetter

from rlnas.controller.moves import draw, first_new, mutate, neighbours
from rlnas.controller.searchers import Experience, Proposal, Searcher, SearcherState, Trial
from rlnas.controller.settings import EvolutionSettings
from rlnas.controller.stopped import whole_rewards
from rlnas.spaces import Tokens

Population = Sequence[tuple[Tokens, float]]
"""Children and their rewards."""


class Evolution(Searcher):
    """Mutates the best of a few of the newest children. All it knows is the history: it has no state."""

    settings: EvolutionSettings
    reads_history = True

    def initial(self, seed: int) -> SearcherState:
        return SearcherState()

    def propose(
        self, state: SearcherState, samples: int, seeds: Sequence[int], history: Sequence[Trial] = ()
    ) -> list[Proposal]:
        known = {trial.tokens for trial in history}
        rewards = zip(history, whole_rewards(history), strict=True)
        population = [(trial.tokens, reward) for trial, reward in rewards if reward is not None]
        proposals: list[Proposal] = []
        for seed in seeds:
            generator = random.Random(seed)
            if len(history) + len(proposals) < self.settings.population or not population:
                proposal = self._random(samples, known, generator)
            elif self.settings.local_search:
                proposal = self._neighbour(samples, population, known, generator)
            else:
                proposal = self._mutation(samples, population[-self.settings.population :], known, generator)
            known.add(proposal.tokens)
            proposals.append(proposal)
        return proposals

    def learn(self, state: SearcherState, rounds: Sequence[Experience]) -> tuple[SearcherState, dict[str, float]]:
        return SearcherState(), {}

    def _random(self, samples: int, known: Collection[Tokens], generator: random.Random) -> Proposal:
        decisions = self.space.decisions(samples)
        tokens = first_new(lambda _: draw(decisions, generator)[0], (), known, self.fits)
        return Proposal(tokens, None, "random")

    def _mutation(
        self, samples: int, population: Population, known: Collection[Tokens], generator: random.Random
    ) -> Proposal:
        competitors = generator.sample(population, min(self.settings.tournament, len(population)))
        parent, _ = max(competitors, key=itemgetter(1))
        child = first_new(lambda tokens: mutate(self.space, samples, tokens, generator), parent, known, self.fits)
        return Proposal(child, None, "mutation")

    def _neighbour(
        self, samples: int, children: Population, known: Collection[Tokens], generator: random.Random
    ) -> Proposal:
        for centre, _ in sorted(children, key=itemgetter(1), reverse=True):
            for tokens in neighbours(self.space, samples, centre, generator):
                if tokens not in known and self.fits(tokens):
                    return Proposal(tokens, None, "neighbour")
        return self._random(samples, known, generator)
