"""What a search knows of architectures before they are trained: the child trainer's scores and short trials."""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property

from rlnas.children import Trainer
from rlnas.controller import Foresight, Trial
from rlnas.datasets import Train
from rlnas.seeds import derive_seed
from rlnas.spaces import Space, Tokens
from rlnas.state import Ledger, ShortTrial
from rlnas.steps.common import opener, trainer_of
from rlnas.steps.processes import device


class TrainersForesight(Foresight):
    """Asks the child trainer, and remembers what it said.

    Args:
        ledger: of the search.
        history: what the ledger remembers is not asked again, so that it is the same wherever a search goes on.
    """

    def __init__(self, ledger: Ledger, history: Sequence[Trial]) -> None:
        self._ledger = ledger
        own = ledger.spec.space
        self._scores = {(child.tokens, child.earlier or own): child.scores for child in history if child.scores}
        self._seconds: dict[Tokens, float] = {}

    def scores(self, tokens: Tokens, space: Space | None = None) -> Mapping[str, float]:
        space = space or self._ledger.spec.space
        if (key := (tokens, space)) not in self._scores:
            self._scores[key] = self._trainer.scores(space.decode(tokens))
        return self._scores[key]

    def trial(self, tokens: Tokens) -> float | None:
        start = time.monotonic()
        architecture = self._ledger.spec.space.decode(tokens)
        loss = self._trainer.trial(architecture, self._data, derive_seed(self._ledger.spec.seed, "trial", *tokens))
        self._seconds[tokens] = round(time.monotonic() - start, 3)
        return loss

    def short_trials(self, tried: Mapping[Tokens, float]) -> tuple[ShortTrial, ...]:
        """Return short trials as the ledger keeps them."""
        return tuple(ShortTrial(tokens=t, loss=loss, seconds=self._seconds[t]) for t, loss in tried.items())

    @cached_property
    def _trainer(self) -> Trainer:
        return trainer_of(self._ledger, device())

    @cached_property
    def _data(self) -> Train:
        return self._ledger.spec.dataset.train(opener(self._ledger.bucket))
