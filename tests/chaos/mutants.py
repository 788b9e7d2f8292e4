"""Faults that are planted in the protocol, in memory, to see that the plans find them."""

import os
import random
import time
from collections.abc import Callable

from rlnas.state import Bucket

SLOWEST = 2.0
"""Seconds at most between a decision and its commit: as on a slow network, where others are often faster."""


def plant(name: str) -> None:
    """Plant a fault in this process and those forked from it; empty: none."""
    if name:
        MUTANTS[name]()


def _be_slow() -> None:
    time.sleep(random.Random(os.urandom(8)).uniform(0, SLOWEST))  # forked processes share the state of `random`


def _commits_by_put() -> None:
    """Who commits a version does not look whether it is there: rounds are applied twice, or not at all."""
    create = Bucket.create

    def changed(self: Bucket, key: str, data: bytes) -> str | None:
        if "/controllers/" not in key:
            return create(self, key, data)
        _be_slow()
        self.put(key, data)
        found = self.get(key)
        return found.etag if found else None

    Bucket.create = changed  # type: ignore[method-assign]


def _takes_refusal_for_success() -> None:
    """A commit that was refused counts as done: the next one is made from a version that nobody has."""
    create, refused = Bucket.create, False

    def changed(self: Bucket, key: str, data: bytes) -> str | None:
        nonlocal refused
        if "/controllers/" not in key:
            return create(self, key, data)
        if not refused:  # else the next one comes before others are ready
            _be_slow()
        etag = create(self, key, data)
        refused = etag is None
        return etag or "refused"

    Bucket.create = changed  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    "commit-by-put": _commits_by_put,
    "refusal-is-success": _takes_refusal_for_success,
}
