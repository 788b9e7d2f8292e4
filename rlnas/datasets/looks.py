"""A look at each image file before a search: is it whole, and what is in it? Each is taken once a node, and kept."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from typing import TypeVar

from rlnas.datasets import cache
from rlnas.datasets.base import open_local
from rlnas.datasets.decode import decode
from rlnas.errors import UserError

T = TypeVar("T")
Result = TypeVar("Result")

VERSION = 1  # of what a look sees; another one looks anew
AT_ONCE = 1000  # looks between two notes: a process that is killed loses no more
# A file that changed a moment ago may change again and show no later time: some file systems count in twos of seconds.
UNSETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Look:
    """What was seen of an image file.

    Args:
        size: of the file, bytes.
        digest: sha256 of the file, hexadecimal.
        transparent: some of it is, and shows the background.
        several: it holds more than one picture.
        plain: it is of one single colour.
        brightest: the largest value of its pixels, 0 to 255.
    """

    size: int
    digest: str
    transparent: bool
    several: bool
    plain: bool
    brightest: int


def look_at(folder: str, files: list[str], background: str, white: int | None) -> list[Look]:
    """Decode the image files below a folder, and say what was seen; a file that was seen before is only seen again.

    Args:
        folder: that holds the files.
        files: their paths.
        background: see `decode`.
        white: see `decode`.

    Raises:
        UserError: about the first file that is not what it should be, with the number of all such files.
    """
    ways = f"{VERSION} {background} {white}"
    known = cache.read(os.path.abspath(folder))
    looks = {path: look for path in files if (look := _recall(known.get(_key(path)), path, ways))}

    def look_anew(path: str) -> tuple[str, str, Look] | UserError:
        try:
            return path, *_look(path, background, white)
        except UserError as error:
            return error

    new = [path for path in files if path not in looks]
    wrong: list[UserError] = []
    for start in range(0, len(new), AT_ONCE):
        notes = []
        for seen in in_threads(look_anew, new[start : start + AT_ONCE]):
            if isinstance(seen, UserError):
                wrong.append(seen)
                continue
            path, stamp, looks[path] = seen
            if stamp:
                notes.append((_key(path), f"{stamp} {ways}", json.dumps(astuple(looks[path]))))
        cache.write(notes)
    if wrong:
        raise UserError(f"{wrong[0]} (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else str(wrong[0]))
    return [looks[path] for path in files]


def in_threads(work: Callable[[T], Result], items: Iterable[T]) -> Iterator[Result]:
    """Decode side by side: Pillow lets other threads run meanwhile. What it warns of is not for a search's log.

    Yields:
        A result for each item, in their order.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")
        yield from pool.map(work, items)


def _look(path: str, background: str, white: int | None) -> tuple[str, Look]:
    """Return the stamp of the file that was looked at, empty if it may yet change, and the look."""
    with open_local(path) as file:
        before = os.stat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        file.seek(0)
        picture = decode(file, path, background, white)
    ranges = picture.image.getextrema()
    plain = all(low == high for low, high in ranges)  # type: ignore[misc]
    brightest = max(high for _, high in ranges)  # type: ignore[misc]
    settled = before.st_mtime_ns < time.time_ns() - UNSETTLED_NS
    look = Look(before.st_size, digest, picture.transparent, picture.several, plain, int(brightest))
    return cache.stamp(before) if settled else "", look


def _recall(kept: tuple[str, str] | None, path: str, ways: str) -> Look | None:
    if kept is None:
        return None
    try:
        if kept[0] != f"{cache.stamp(os.stat(path))} {ways}":
            return None
        return Look(*json.loads(kept[1]))
    except (OSError, ValueError, TypeError):  # it is gone, or the note is damaged
        return None


def _key(path: str) -> bytes:
    return os.fsencode(os.path.abspath(path))
