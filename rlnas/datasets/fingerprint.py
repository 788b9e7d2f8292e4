"""A short hash of a piece of data, by which a change is noticed."""

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

DIGITS = 16  # hexadecimal: two pieces look alike by chance once in 10^19


class Readable(Protocol):
    """A file, however it was opened."""

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, fewer at the end."""
        ...


def of_text(pieces: Iterable[str]) -> str:
    """Hash the pieces of a text, and where each ends."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece.encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()[:DIGITS]


def of_file(file: Readable) -> str:
    """Hash what is left of a file."""
    found = hashlib.sha256()
    while block := file.read(1 << 20):
        found.update(block)
    return found.hexdigest()[:DIGITS]


def of_array(array: "np.ndarray") -> str:
    """Hash type, shape and values of an array, however they lie in memory."""
    import numpy as np

    found = hashlib.sha256(f"{array.dtype.str} {array.shape}\0".encode())
    found.update(np.ascontiguousarray(array).view(np.uint8).data)
    return found.hexdigest()[:DIGITS]
