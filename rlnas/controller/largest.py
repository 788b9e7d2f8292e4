"""A control: of some random architectures the largest. A search that does not beat it has found nothing but size."""

import random
from collections.abc import Sequence

from rlnas.controller.moves import draw
from rlnas.controller.searchers import Experience, Proposal, Searcher, SearcherState, Trial
from rlnas.controller.settings import LargestSettings
from rlnas.spaces import Tokens


class Largest(Searcher):
    """Proposes the largest of some random architectures, and learns nothing.

    The largest is the one with most parameters; those above the limit are left out, unless all are. In a space that
    says no parameters, such as that of cells, which are all of one size, it is the first: then this is random search.
    """

    settings: LargestSettings

    def initial(self, seed: int) -> SearcherState:
        return SearcherState()

    def propose(
        self, state: SearcherState, samples: int, seeds: Sequence[int], history: Sequence[Trial] = ()
    ) -> list[Proposal]:
        return [self._largest(samples, random.Random(seed)) for seed in seeds]

    def learn(self, state: SearcherState, rounds: Sequence[Experience]) -> tuple[SearcherState, dict[str, float]]:
        return SearcherState(), {}

    def _largest(self, samples: int, generator: random.Random) -> Proposal:
        decisions = self.space.decisions(samples)
        drawn = [draw(decisions, generator)[0] for _ in range(self.settings.draws)]
        return Proposal(max(filter(self.fits, drawn), key=self._size, default=drawn[0]), None)

    def _size(self, tokens: Tokens) -> float:
        return self.features(tokens).sizes.get(self.settings.chooses_by, 0.0)
