"""An object store with the semantics of S3: conditional writes, and listings in order."""

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rlnas.state.answers import Answer
from rlnas.state.bucket import CREATE, REPLACE

NOTHING = Answer(404, "NoSuchKey")


class Stored(NamedTuple):
    """An object."""

    data: bytes
    etag: str


class Store:
    """Objects in memory.

    Attributes:
        objects: by key.
        watchers: told of every change: the key, what was there, and what is there now.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.watchers: list[Callable[[str, bytes | None, bytes | None], None]] = []
        self._keys: list[str] = []  # in order

    def get(self, key: str) -> Answer:
        """Read an object."""
        found = self.objects.get(key)
        return Answer(200, "", found.data, found.etag) if found else NOTHING

    def put(self, key: str, data: bytes, headers: Mapping[str, str]) -> Answer:
        """Write an object, if the condition of the headers holds."""
        found = self.objects.get(key)
        if CREATE in headers and found is not None:
            return Answer(412, "PreconditionFailed")
        if REPLACE in headers:
            if found is None:
                return NOTHING
            if found.etag != headers[REPLACE]:
                return Answer(412, "PreconditionFailed")
        if found is None:
            insort(self._keys, key)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        self.objects[key] = Stored(data, etag)
        for watcher in self.watchers:
            watcher(key, found.data if found else None, data)
        return Answer(200, etag=etag)

    def delete(self, keys: Sequence[str]) -> Answer:
        """Delete objects."""
        for key in keys:
            if found := self.objects.pop(key, None):
                del self._keys[bisect_left(self._keys, key)]
                for watcher in self.watchers:
                    watcher(key, found.data, None)
        return Answer(200)

    def about(self, key: str) -> tuple[int, str]:
        """Return an object's size and etag."""
        found = self.objects[key]
        return len(found.data), found.etag

    def keys(self, prefix: str, start_after: str | None) -> Iterator[str]:
        """Yield keys below a prefix in order."""
        first = (
            bisect_left(self._keys, prefix)
            if start_after is None
            else bisect_right(self._keys, max(start_after, prefix))
        )
        for place in range(first, len(self._keys)):
            if not (key := self._keys[place]).startswith(prefix):
                return
            yield key
