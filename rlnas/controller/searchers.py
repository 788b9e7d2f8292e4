"""What proposes architectures: the interface of all searchers, and the random control."""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from rlnas.controller.moves import draw
from rlnas.controller.settings import ControllerSettings
from rlnas.spaces import DataShape, Features, Space, Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SearcherState:
    """All that a searcher remembers from one version to the next.

    Args:
        tensors: weights and optimiser state.
        memory: plain JSON values, such as the baseline.
    """

    tensors: "Mapping[str, Tensor]" = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposal:
    """An architecture to try.

    Args:
        tokens: the choices.
        log_probability: of the whole sequence, every Bernoulli of every anchor point included; None: no policy drew it.
        by: which part of the searcher proposed it, for people; empty: it has only one.
        tried: the short trials that were made for it, of others too: their losses.
    """

    tokens: Tokens
    log_probability: float | None
    by: str = ""
    tried: "Mapping[Tokens, float]" = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """A child as a searcher that reads the history sees it.

    Args:
        tokens: what was proposed.
        reward: its own; None: it counts for nothing, or has none yet.
        scored: whether it was trained and scored; else the reward is the one that the spec gives to failures.
        metrics: what its evaluation measured, such as `parameters`.
        earlier: the space of the earlier search whose child it is, which says what the tokens mean; None: it is the
            search's own. The rewards of the two searches cannot be compared, only those within each.
        scores: what it showed untrained; empty: that is not remembered.
        tried: the losses of the short trials that were made when it was proposed, of others too.
        rungs: what it promised after so many epochs, where it could have been stopped: the larger, the better.
        stopped: epochs after which its training was stopped, the reward being what it had then; None: it was not.
    """

    tokens: Tokens
    reward: float | None
    scored: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    earlier: Space | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    tried: Mapping[Tokens, float] = field(default_factory=dict)
    rungs: Mapping[int, float] = field(default_factory=dict)
    stopped: int | None = None


class Foresight:
    """What a child trainer says of architectures before they are trained; this one says nothing."""

    def scores(self, tokens: Tokens, space: Space | None = None) -> Mapping[str, float]:
        """Return what an untrained architecture shows; see `rlnas.children.Trainer.scores`.

        Args:
            tokens: the architecture.
            space: of an earlier search, where that says what the tokens mean.
        """
        return {}

    def trial(self, tokens: Tokens) -> float | None:
        """Return the loss of a short trial, the smaller the better; None: there is no such thing.

        It costs a part of a training.
        """
        return None


@dataclass(frozen=True)
class Experience:
    """One round, trained and scored.

    Args:
        samples: architectures proposed before this round; says which decisions there were.
        tokens: of each child.
        rewards: each child's own; None counts for nothing (a child that was lost or stopped, where the spec says so).
        policy: the state that proposed them.
        suggested: children of the round that came from outside: no sample of the policy, so none of its gradient.
    """

    samples: int
    tokens: Sequence[Tokens]
    rewards: Sequence[float | None]
    policy: SearcherState
    suggested: Sequence[Trial] = ()


MOST_REMEMBERED = 20_000
"""What the space says of so many architectures is kept, since searchers ask again and again."""


class Searcher(ABC):
    """Proposes architectures and learns from rewards: `SearcherState` in and out.

    What it has of its own are a limit and a foresight, which the steps set; so one searcher serves one thread.

    Args:
        space: what can be proposed.
        settings: the `controller` section of the spec.
        shape: of the data that children are trained on.
    """

    reads_history: ClassVar[bool] = False
    """Whether `propose` looks at the history, which is kept where it can be read at little cost then."""

    foresees: ClassVar[bool] = False
    """Whether `propose` asks for `foresight`; only then is it remembered what children showed untrained."""

    def __init__(self, space: Space, settings: Any, shape: DataShape | None = None) -> None:
        self.space = space
        self.settings = settings
        self.shape = shape
        self.limit: Mapping[str, float] = {}
        """The most that an architecture may have of a size; a searcher that chooses proposes none that has more."""
        self.foresight = Foresight()
        self._remembered = lru_cache(MOST_REMEMBERED)(self._features)

    @abstractmethod
    def initial(self, seed: int) -> SearcherState:
        """Return version 0, a pure function of the seed."""

    @abstractmethod
    def propose(
        self, state: SearcherState, samples: int, seeds: Sequence[int], history: Sequence[Trial] = ()
    ) -> list[Proposal]:
        """Propose one architecture for each seed, a pure function of its arguments, so that a killed task repeats it.

        Args:
            state: the version that proposes.
            samples: architectures proposed before these.
            seeds: one for each architecture. What the others are makes no difference, unless the searcher reads the
                history: then a proposal may depend on those before it.
            history: children of an earlier search that this one began with; every child that this version has learned
                from, in the order of rounds; then, without a reward, those of rounds under way, and what others have
                suggested for this one. Empty unless `reads_history`.
        """

    @abstractmethod
    def learn(self, state: SearcherState, rounds: Sequence[Experience]) -> tuple[SearcherState, dict[str, float]]:
        """Return the next version, and finite numbers about the update for people."""

    def features(self, tokens: Tokens, space: Space | None = None) -> Features:
        """Return what the space says of an architecture; another one's, where that says what the tokens mean."""
        return self._remembered(tokens, space or self.space)

    def _features(self, tokens: Tokens, space: Space) -> Features:
        assert self.shape is not None, "this searcher looks at sizes: it needs the shape of the data"
        return space.features(tokens, self.shape)

    def fits(self, tokens: Tokens) -> bool:
        """Whether an architecture is within the limit, as far as the space says its sizes."""
        if not self.limit:
            return True
        sizes = self.features(tokens).sizes
        return all(sizes.get(name, 0.0) <= most for name, most in self.limit.items())


class RandomSearcher(Searcher):
    """The control: uniform over the options of every decision. Same ledger, same budget, nothing learned."""

    settings: ControllerSettings

    def initial(self, seed: int) -> SearcherState:
        return SearcherState()

    def propose(
        self, state: SearcherState, samples: int, seeds: Sequence[int], history: Sequence[Trial] = ()
    ) -> list[Proposal]:
        decisions = self.space.decisions(samples)
        return [Proposal(*draw(decisions, random.Random(seed))) for seed in seeds]

    def learn(self, state: SearcherState, rounds: Sequence[Experience]) -> tuple[SearcherState, dict[str, float]]:
        return SearcherState(), {}
