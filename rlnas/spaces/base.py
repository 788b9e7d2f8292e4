"""What a search space is: a sequence of decisions, and what a sequence of choices means.

A space describes; it builds nothing and knows no torch. The controller sees only `Space.decisions` and
`Space.heads`; a child sees only the decoded architecture.
"""

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from rlnas.section import Section

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class DataShape:
    """What has to be known of a dataset before a model is built.

    Args:
        modality: `images`, `text` or `table`; spaces, children and datasets are matched by it.
        height, width, channels: of one image (0 for other modalities).
        classes: number of labels, or of words in the vocabulary.
        tokens: length of the training text (0 for other modalities).
    """

    modality: str
    classes: int
    height: int = 0
    width: int = 0
    channels: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Decision:
    """One point of the controller's sequence.

    Args:
        kind: the softmax head and the embedding to use; decisions of one kind share them, so depth can grow.
        choices: number of options; for a set decision the number of earlier anchor points (one Bernoulli each).
        label: what a person calls it, such as `layer 3 filter height`.
        anchor: a set decision over all earlier anchor points; it is itself the next anchor point.
        when: `(position, options)`: the decision exists only if the one at `position` (earlier in the list) exists
            and chose one of `options`. None: it always exists.
        options: what a person calls the options; empty: their numbers from 0.
    """

    kind: str
    choices: int
    label: str
    anchor: bool = False
    when: tuple[int, frozenset[int]] | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """A box of an architecture's drawing, at (x, y) in units of one box; y grows downwards."""

    name: str
    label: str
    x: float
    y: float
    group: str


@dataclass(frozen=True)
class Description:
    """An architecture for people: a line, a table, remarks, and a drawing as boxes and arrows."""

    summary: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Features:
    """What a surrogate sees of an architecture, in the space's own terms.

    Args:
        choices: what was chosen, by the label of the decision, for the decisions that exist; a link of a set decision
            is one of its own, 0 or 1.
        counts: numbers of things, such as layers of a type or connections.
        sizes: positive quantities that span orders of magnitude, such as `parameters` and `flops`.
    """

    choices: Mapping[str, int]
    counts: Mapping[str, float]
    sizes: Mapping[str, float]


class Architecture(BaseModel):
    """What a token sequence means; each space has its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    predicts: ClassVar[tuple[str, ...]] = ()
    """Fields that stand above those of the same name of a recipe; one that is None leaves it to the recipe."""

    @property
    def predicted(self) -> dict[str, Any]:
        """What stands above the recipe, by field."""
        return {name: value for name in self.predicts if (value := getattr(self, name)) is not None}

    def without(self, names: Container[str]) -> Self:
        """Return it with these fields left to the recipe, as far as it predicts them."""
        return self.model_copy(update={name: None for name in self.predicts if name in names})


class Space(Section, ABC):
    """A search space. Its fields are what a person may set in the `space` section of a spec."""

    architecture: ClassVar[type[Architecture]] = Architecture
    """What `decode` returns. A recipe says which architectures it trains, and so which spaces it fits."""

    sizes: ClassVar[tuple[str, ...]] = ()
    """What `features` says of the size of an architecture; empty where all are of one size, or none is known."""

    kind: str

    @property
    @abstractmethod
    def heads(self) -> dict[str, int]:
        """Kind -> number of options, for every softmax the space can ever ask for (set decisions need none)."""

    @abstractmethod
    def decisions(self, samples: int) -> tuple[Decision, ...]:
        """The decisions of an architecture proposed after `samples` others; a shorter list is a prefix of a longer."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> Architecture:
        """Say which architecture a sequence means.

        Args:
            tokens: one option for each decision that exists, in order; a set decision stands as one 0 or 1 for
                each earlier anchor point.

        Raises:
            ValueError: the sequence is not one of this space.
        """

    @abstractmethod
    def encode(self, architecture: Any) -> Tokens:
        """Return the sequence that means an architecture, the inverse of `decode`.

        Raises:
            ValueError: the architecture is not one of this space.
        """

    @abstractmethod
    def describe(self, architecture: Any, shape: DataShape) -> Description:
        """Describe an architecture of this space for people, as it would be built for data of this shape."""

    def features(self, tokens: Sequence[int], shape: DataShape) -> Features:
        """Return what a surrogate sees of an architecture; a space that knows more than its tokens adds it.

        Raises:
            ValueError: the sequence is not one of this space.
        """
        choices: dict[str, int] = {}
        counts: Counter[str] = Counter()
        for _, decision, choice in walk(self.decisions(sys.maxsize), tokens):
            if isinstance(choice, tuple):
                choices |= {f"{decision.label} {earlier + 1}": bit for earlier, bit in enumerate(choice)}
                counts["connections"] += sum(choice)
            else:
                choices[decision.label] = choice
                counts[f"{decision.kind} {decision.options[choice] if decision.options else choice}"] += 1
        return Features(choices, counts, {})

    def check(self, shape: DataShape) -> None:
        """Raise `UserError` if some architecture of this space cannot be built for data of this shape."""


def walk(decisions: Sequence[Decision], tokens: Sequence[int]) -> Iterator[tuple[int, Decision, int | tuple[int, ...]]]:
    """Pair the decisions that exist with what was chosen, until the tokens end.

    Yields:
        `(position, decision, choice)`; the choice of a set decision is its tuple of 0 and 1.

    Raises:
        ValueError: an option out of range, tokens that end within a set decision, or tokens left over.
    """
    chosen: dict[int, int] = {}
    at = 0
    for position, decision in enumerate(decisions):
        if decision.when and chosen.get(decision.when[0]) not in decision.when[1]:
            continue
        if at == len(tokens) and decision.choices > 0:  # the first anchor point has no earlier one and takes no token
            return
        if decision.anchor:
            bits = tuple(tokens[at : at + decision.choices])
            if len(bits) < decision.choices or any(bit not in (0, 1) for bit in bits):
                raise ValueError(f"{decision.label}: needs {decision.choices} tokens of 0 or 1, got {list(bits)}")
            at += decision.choices
            yield position, decision, bits
            continue
        option = tokens[at]
        if not 0 <= option < decision.choices:
            raise ValueError(f"{decision.label}: {option} is not one of the {decision.choices} options from 0")
        chosen[position] = option
        at += 1
        yield position, decision, option
    if at < len(tokens):
        raise ValueError(f"{len(tokens) - at} tokens left over after the last decision")
