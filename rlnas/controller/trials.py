"""Short trials: what they have said of architectures, and of which that were passed over it is still worth knowing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from heapq import nsmallest

from rlnas.controller.searchers import Trial
from rlnas.spaces import Features, Tokens

LOSS = "loss of a short trial"
MOST_PASSED_OVER = 100
"""So many of those that were tried and not chosen can be chosen later: those of the smallest loss."""


class ShortTrials:
    """The losses of short trials, the smaller the better.

    Args:
        run: makes one; None: there is no such thing.
        history: with those that were made.
    """

    def __init__(self, run: Callable[[Tokens], float | None], history: Sequence[Trial]) -> None:
        self._run = run
        self._losses: dict[Tokens, float] = {}
        for child in history:
            if child.earlier is None:  # the losses of another search cannot be compared
                self._losses.update(child.tried)
        self._made: dict[Tokens, float] = {}

    def make(self, architectures: Iterable[Tokens]) -> None:
        """Try those that have not been tried."""
        for tokens in architectures:
            if tokens not in self._losses and (loss := self._run(tokens)) is not None:
                self._losses[tokens] = self._made[tokens] = loss

    def made(self) -> dict[Tokens, float]:
        """Return what was tried since the last call."""
        made, self._made = self._made, {}
        return made

    def tried(self, architectures: Sequence[Tokens]) -> list[Tokens]:
        """Return those of some architectures that have been tried; all, if none has."""
        return [tokens for tokens in architectures if tokens in self._losses] or list(architectures)

    def best(self, architectures: Sequence[Tokens]) -> Tokens:
        """Return the one of the smallest loss; the first, if none has been tried."""
        return min(self.tried(architectures), key=lambda tokens: self._losses.get(tokens, 0.0))

    def passed_over(self, known: Iterable[Tokens]) -> list[Tokens]:
        """Return the best of those that were tried, and are not known otherwise."""
        left = self._losses.keys() - set(known)
        return nsmallest(MOST_PASSED_OVER, (t for t in self._losses if t in left), key=self._losses.__getitem__)

    def add(self, features: Features, tokens: Tokens) -> Features:
        """Add to what is seen of an architecture what its short trial said, if there was one."""
        loss = self._losses.get(tokens)
        return features if loss is None else replace(features, sizes={**features.sizes, LOSS: loss})
