"""A space whose rewards are looked up in a table: for measuring searchers, and for fast tests of everything else."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from rlnas.spaces.base import Architecture, DataShape, Decision, Description, Features, Space, Tokens, walk


class TabularArchitecture(Architecture):
    """One row of the table."""

    tokens: tuple[int, ...]


class TabularSpace(Space):
    """A fixed number of independent decisions.

    Args:
        choices: number of options of each decision, such as six times 5 for NAS-Bench-201.
        options: names of the options, if all decisions have the same ones; only for display.
    """

    architecture: ClassVar[type[Architecture]] = TabularArchitecture

    kind: Literal["tabular"] = "tabular"
    choices: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1)]
    options: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _every_option_has_a_name(self) -> "TabularSpace":
        if self.options and len(self.options) < max(self.choices):
            raise ValueError(f"options: {len(self.options)} names for up to {max(self.choices)} choices")
        return self

    @property
    def heads(self) -> dict[str, int]:
        return {decision.kind: decision.choices for decision in self.decisions(0)}

    def decisions(self, samples: int) -> tuple[Decision, ...]:
        return _decisions(self)

    def decode(self, tokens: Sequence[int]) -> TabularArchitecture:
        if len(list(walk(self.decisions(0), tokens))) < len(self.choices):
            raise ValueError(f"{len(tokens)} tokens, needs {len(self.choices)}")
        return TabularArchitecture(tokens=tuple(tokens))

    def encode(self, architecture: TabularArchitecture) -> Tokens:
        return self.decode(architecture.tokens).tokens

    def features(self, tokens: Sequence[int], shape: DataShape) -> Features:
        """Add how often each option was chosen: decisions of as many options are taken to have the same ones."""
        self.decode(tokens)
        counts = Counter(zip(tokens, self.choices, strict=True))
        return Features(
            {decision.label: token for decision, token in zip(self.decisions(0), tokens, strict=True)},
            {f"option {token + 1} of {choices}": count for (token, choices), count in counts.items()},
            {},
        )

    def describe(self, architecture: TabularArchitecture, shape: DataShape) -> Description:
        names = [self.options[token] if token < len(self.options) else str(token) for token in architecture.tokens]
        return Description(
            summary="-".join(names),
            columns=("decision", "option"),
            rows=tuple((str(position + 1), name) for position, name in enumerate(names)),
        )


@lru_cache(maxsize=16)
def _decisions(space: TabularSpace) -> tuple[Decision, ...]:
    names = [f"decision {position + 1}" for position in range(len(space.choices))]
    return tuple(
        Decision(name, n, name, options=space.options if len(space.options) == n else ())
        for name, n in zip(names, space.choices, strict=True)
    )
