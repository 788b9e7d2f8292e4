"""What a search begins with of an earlier one: a copy, so that the earlier one may go on or be deleted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rlnas.controller import Trial
from rlnas.errors import StoreError
from rlnas.registry import resolve
from rlnas.section import EARLIER
from rlnas.spaces import SPACES
from rlnas.state.records import AppliedChild, unreadable
from rlnas.tensors import pack, read_document, unpack

if TYPE_CHECKING:
    from torch import Tensor

COPY = "warm-start.safetensors"
"""Where it lies in the folder of the search that begins with it."""


@dataclass(frozen=True)
class Earlier:
    """Children of an earlier search, and its controller.

    Args:
        space: the `space` section of its spec, which says what the tokens mean.
        children: that it has learned from, in the order of rounds.
        tensors: that take the place of those of version 0 that have the same names; none: its controller is not used.
    """

    space: Mapping[str, Any] = field(default_factory=dict)
    children: tuple[AppliedChild, ...] = ()
    tensors: "Mapping[str, Tensor]" = field(default_factory=dict)

    @cached_property
    def trials(self) -> list[Trial]:
        """The children, as a searcher sees them."""
        if not self.children:
            return []
        space = resolve(SPACES, self.space["kind"], "rlnas.spaces").model_validate(self.space, context=EARLIER)
        return [child.as_trial(space) for child in self.children]

    def to_bytes(self) -> bytes:
        """Serialise."""
        children = [child.model_dump(mode="json") for child in self.children]
        return pack(self.tensors, {"space": self.space, "children": children})

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> "Earlier":
        """Read what `to_bytes` wrote.

        Raises:
            UserError: a newer version of rlnas wrote it.
            StoreError: it is something else.
        """
        try:
            document = read_document(data)
            children = tuple(AppliedChild.model_validate(child) for child in document["children"])
            return cls(document["space"], children, unpack(data))
        except KeyError as error:
            raise StoreError(f"{key} is damaged: it lacks {error}") from None
        except ValueError as error:
            raise unreadable(error, key, " is damaged") from None


NOTHING = Earlier()
"""What a search without a warm start begins with."""
