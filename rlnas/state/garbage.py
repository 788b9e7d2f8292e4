"""What nobody needs any more, where whoever should have deleted it was killed.

Most of it is told by facts, which stay facts: a child of a round that is applied, or that has a result, needs no
checkpoint ever again. What lies below a name and belongs to no search is told by its age alone: a search is there when
its `search.json` is, and what it begins with is written before that.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from rlnas.errors import SearchDeleted, StoreError, UserError, one_line
from rlnas.state.bucket import Bucket, Entry
from rlnas.state.earlier import COPY
from rlnas.state.finals import finals
from rlnas.state.ledger import Ledger
from rlnas.state.records import KEPT_SNAPSHOTS, Version, child_of, parse_child_id
from rlnas.state.search import SEARCHES, read_record

STILL = timedelta(days=1)
"""So long nothing was written below a name, by the store's own clock, until what belongs to no search is garbage."""
NEVER = datetime.min.replace(tzinfo=UTC)  # no object is older
PROBE = "probe/"
FOLDERS = ("checkpoints/", "snapshots/")


def collect_garbage(ledger: Ledger) -> int:
    """Delete checkpoints and snapshots that no child needs any more; return how many there were.

    Bundles summaries, too, where an updater was killed between its commit and that.
    """
    head, bucket = ledger.version(), ledger.bucket
    for k in _missing_bundles(ledger, head):
        ledger.bundle(k)
    unneeded = _Unneeded(ledger, head)
    keys = [key for folder in FOLDERS for key in bucket.list_all(ledger.key(folder)) if unneeded(key)]
    bucket.delete(keys)
    return len(keys)


@dataclass(frozen=True)
class Garbage:
    """Objects of one kind that nobody needs.

    Args:
        search: below whose name they lie; empty: below none.
        kind: what they are, in words.
        objects, size: how many, and their bytes.
        remove: delete them. It may be called again, at any time.
    """

    search: str
    kind: str
    objects: int
    size: int
    remove: Callable[[], None]


@dataclass
class Found:
    """All garbage, and what is left alone and why."""

    garbage: list[Garbage] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def find_garbage(bucket: Bucket, name: str = "") -> Found:
    """Look for garbage, and change nothing.

    Args:
        bucket: the store.
        name: of a search; empty: all that there are, and what probes of the store have left.

    Raises:
        UserError: nothing lies below that name.
    """
    if name and not bucket.list(f"{SEARCHES}{name}/", limit=1):
        raise UserError(
            f"no search {name!r} in the store, and nothing that one has left; `rlnas list` shows what there is"
        )
    found, still_since = Found(), NEVER
    try:
        still_since = _now(bucket) - STILL
    except StoreError as error:  # it may be full; then what is garbage by facts is to be found all the more
        found.remarks.append(f"what is garbage by its age is left alone: {one_line(error, 400)}")
    prefixes = [f"{SEARCHES}{name}/"] if name else bucket.folders(SEARCHES)
    for prefix in prefixes:
        search = prefix.removeprefix(SEARCHES).rstrip("/")
        roots = bucket.folders(prefix)  # before the record is read: what is its own by then is no garbage
        try:
            record = read_record(bucket, search)
            if record is not None and record.deleting:
                raise SearchDeleted(f"it is being deleted; `rlnas delete {search}` brings that to its end")
            ledger = Ledger(bucket, record) if record else None
            if ledger:
                found.garbage += _of_search(ledger)
            for root in roots:
                if ledger is None or root != ledger.root:
                    found.garbage += _of_no_search(bucket, search, root, still_since)
        except (UserError, StoreError, SearchDeleted) as error:
            found.remarks.append(f"search {search} is left alone: {one_line(error, 400)}")
    if not name:
        probes = [entry for entry in bucket.entries(PROBE) if entry.modified < still_since]
        found.garbage += _some("", "left by probes of the store", probes, partial(_delete, bucket, probes))
    return found


def _of_search(ledger: Ledger) -> Iterator[Garbage]:
    """Yield what a search itself no longer needs."""
    head, bucket = ledger.version(), ledger.bucket
    unneeded = _Unneeded(ledger, head)
    for folder, kind in zip(FOLDERS, ("checkpoints of ended children", "snapshots that nobody keeps"), strict=True):
        entries = [entry for entry in bucket.entries(ledger.key(folder)) if unneeded(entry.key)]
        yield from _some(ledger.name, kind, entries, partial(_delete, bucket, entries))
    if missing := _missing_bundles(ledger, head):
        kind = "bundles of summaries that are missing, and are made"
        yield Garbage(ledger.name, kind, len(missing), 0, partial(_bundle, ledger, missing))


def _of_no_search(bucket: Bucket, search: str, root: str, still_since: datetime) -> Iterator[Garbage]:
    """Yield what lies below an incarnation that no search has, unless it may be of one that is coming into being."""
    entries = list(bucket.entries(root))
    if any(entry.modified >= still_since for entry in entries):
        return
    alone = [entry.key for entry in entries] == [root + COPY]
    kind = "what a search was to begin with that never began" if alone else "left by deleted searches and half copies"
    yield from _some(search, kind, entries, partial(_delete_root, bucket, search, root, entries))


class _Unneeded:
    """Whether no child needs a checkpoint or a snapshot any more. What it says once stays true.

    Args:
        ledger: of the search.
        version: a version of it.
    """

    def __init__(self, ledger: Ledger, version: Version) -> None:
        self._ledger, self._version = ledger, version
        self._kept = {ledger.snapshot_key(leader.child) for leader in version.leaders[:KEPT_SNAPSHOTS]}
        results = ledger.key("results/")
        after = f"{results}{version.low_mark:06d}"
        self._ended = {child_of(key) for key in ledger.bucket.list_all(results, start_after=after)}
        tested = [final for final, grid in finals(ledger) if grid.winner and final.record] if ledger.spec.final else []
        self._grids = {final.grid_round for final in tested}
        self._tested = self._grids | {final.last_round for final in tested}

    def __call__(self, key: str) -> bool:
        number, _ = parse_child_id(child_of(key))
        applied = number < self._version.low_mark or number in self._version.extras
        if key.startswith(self._ledger.key("snapshots/")):
            # Those of a winner's last training are its weights, and stay.
            return (applied and key not in self._kept) or number in self._grids
        return applied or number in self._tested or child_of(key) in self._ended


def _missing_bundles(ledger: Ledger, version: Version) -> list[int]:
    if not (bundles := range(version.low_mark // ledger.HISTORY_ROUNDS)):
        return []
    present = set(ledger.bucket.list_all(ledger.key("history/")))
    return [k for k in bundles if ledger.history_key(k) not in present]


def _bundle(ledger: Ledger, missing: list[int]) -> None:
    for k in missing:
        ledger.bundle(k)


def _some(search: str, kind: str, entries: list[Entry], remove: Callable[[], None]) -> Iterator[Garbage]:
    if entries:
        yield Garbage(search, kind, len(entries), sum(entry.size for entry in entries), remove)


def _delete(bucket: Bucket, entries: list[Entry]) -> None:
    bucket.delete([entry.key for entry in entries])


def _delete_root(bucket: Bucket, search: str, root: str, entries: list[Entry]) -> None:
    record = read_record(bucket, search)  # it may have become a search after all
    if record is None or root != Ledger(bucket, record).root:
        _delete(bucket, entries)


def _now(bucket: Bucket) -> datetime:
    """Return the store's time."""
    key = f"{PROBE}{secrets.token_hex(8)}"
    bucket.put(key, b"what time is it")
    (entry,) = bucket.entries(key)
    bucket.delete([key])
    return entry.modified
