"""Faults that are planted in the protocol, in memory, to see that the plans find them."""

import time
from collections.abc import Callable

from rlnas.state import Bucket

WIDER = 0.3
"""Seconds between a decision and its write: as on a slow network, where it matters that somebody else was faster."""


def plant(name: str) -> None:
    """Plant a fault in this process and those forked from it; empty: none."""
    if name:
        MUTANTS[name]()


def _commits_by_put() -> None:
    """Who commits a version does not look whether it is there: rounds are applied twice, or not at all."""
    create = Bucket.create

    def changed(self: Bucket, key: str, data: bytes) -> str | None:
        if "/controllers/" not in key:
            return create(self, key, data)
        time.sleep(WIDER)
        self.put(key, data)
        found = self.get(key)
        return found.etag if found else None

    Bucket.create = changed  # type: ignore[method-assign]


def _takes_refusal_for_success() -> None:
    """A conditional write that was refused counts as done."""
    create = Bucket.create

    def changed(self: Bucket, key: str, data: bytes) -> str | None:
        etag = create(self, key, data)
        if etag is not None or "/controllers/" not in key:
            return etag
        return "refused"

    Bucket.create = changed  # type: ignore[method-assign]


def _overwrites_checkpoints() -> None:
    """A zombie's checkpoint is written over its successor's."""
    replace = Bucket.replace

    def changed(self: Bucket, key: str, data: bytes, etag: str) -> str | None:
        if "/checkpoints/" not in key:
            return replace(self, key, data, etag)
        self.put(key, data)
        found = self.get(key)
        return found.etag if found else None

    Bucket.replace = changed  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "commit-by-put": _commits_by_put,
    "refusal-is-success": _takes_refusal_for_success,
    "zombie-overwrites": _overwrites_checkpoints,
}
