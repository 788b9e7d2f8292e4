"""The searches of a store: created, opened, listed, moved to where their data lies, deleted."""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict

from rlnas.errors import SearchDeleted, UserError
from rlnas.spaces import DataShape
from rlnas.spec import MOST_ROUNDS, SearchSpec, check_name
from rlnas.state.bucket import Bucket
from rlnas.state.earlier import COPY, Earlier
from rlnas.state.ledger import Ledger
from rlnas.state.marks import amend
from rlnas.state.records import Lineage, SearchRecord
from rlnas.state.search import SEARCHES, read_record, record_key


def open_search(bucket: Bucket, name: str, deleting: bool = False) -> Ledger:
    """Open a search that exists.

    Args:
        bucket: the store.
        name: of the search.
        deleting: open it even if it is being deleted, to bring that to its end.

    Raises:
        UserError: there is none of that name, or a newer version of rlnas wrote it.
        SearchDeleted: it is being deleted.
    """
    ledger = find_search(bucket, check_name(name), deleting)
    if ledger is None:
        raise UserError(f"no search {name!r} in the store; `rlnas list` shows what there is")
    return ledger


def find_search(bucket: Bucket, name: str, deleting: bool = False) -> Ledger | None:
    """Open a search if there is one of that name; see `open_search`.

    Raises:
        UserError: a newer version of rlnas wrote it.
        SearchDeleted: it is being deleted.
    """
    record = read_record(bucket, name)
    if record is None:
        return None
    if record.deleting and not deleting:
        raise SearchDeleted(f"search {name} is being deleted; `rlnas delete {name}` brings that to its end")
    return Ledger(bucket, record)


def create_search(
    bucket: Bucket,
    spec: SearchSpec,
    shape: DataShape,
    warm_start: tuple[Lineage, Earlier] | None = None,
    clock: Callable[[], float] = time.time,
) -> Ledger:
    """Create a search, or open it if it exists with this very spec.

    Args:
        bucket: the store.
        spec, shape: of the search, and of its data.
        warm_start: what it begins with; one that exists has its own.
        clock: seconds since 1970.

    Raises:
        UserError: it exists with another spec; every field that differs is named.
        SearchDeleted: it is being deleted.
    """
    record = SearchRecord(
        spec=spec.model_dump(mode="json"),
        spec_sha256=spec.sha256,
        shape=asdict(shape),
        incarnation=secrets.token_hex(8),
        warm_start=warm_start[0] if warm_start else None,
        created=clock(),
        finals_from=MOST_ROUNDS,
    )
    made = Ledger(bucket, record)
    if warm_start:  # before the record, so that a search that exists has all that it begins with
        bucket.create(made.key(COPY), warm_start[1].to_bytes())
    if bucket.create(record_key(spec.name), record.to_bytes()):
        return made
    if warm_start:
        bucket.delete([made.key(COPY)])
    ledger = open_search(bucket, spec.name)
    ledger.check_spec(spec)
    ledger.check_shape(shape)
    return ledger


def list_searches(bucket: Bucket, named: re.Pattern[str] | None = None) -> list[str]:
    """Return the names of all searches in the store, or of those named so, also of those that cannot be read.

    A folder alone is none: late tasks of a deleted search write there, and some stores keep empty ones.
    """
    names = sorted(folder.removeprefix(SEARCHES).rstrip("/") for folder in bucket.folders(SEARCHES))
    if named:
        names = [name for name in names if named.fullmatch(name)]
    found = {name: bucket.get(record_key(name)) for name in names}
    return [name for name, record in found.items() if record and b'"deleting":true' not in record.data]


def size_of(bucket: Bucket, name: str) -> tuple[int, int]:
    """Count the objects below a search's name, and their bytes; a request for every 1,000 objects."""
    sizes = [entry.size for entry in bucket.entries(f"{SEARCHES}{name}/")]
    return len(sizes), sum(sizes)


def move_data(ledger: Ledger, spec: SearchSpec) -> Ledger:
    """Record that a search's data lies where this spec says, which else is the search's own; return the search so.

    Raises:
        SearchDeleted: the search is gone, is going, or is another one by now.
    """

    def edit(record: SearchRecord) -> SearchRecord:
        ledger.take(record)  # another field of its spec may have changed meanwhile
        there = ledger.spec.with_data_at(spec)
        return record.model_copy(update={"spec": there.model_dump(mode="json"), "spec_sha256": there.sha256})

    amend(ledger, edit)
    return ledger


def delete_search(ledger: Ledger) -> None:
    """Delete a search and all it remembers. Tasks that still run write where nobody looks, then stop.

    May be called again, also for a search that is being deleted; another one of that name by now is left alone.
    """
    bucket, key = ledger.bucket, record_key(ledger.name)
    # With what late tasks of deleted searches of this name have written; read before a new one can begin.
    roots = bucket.folders(f"{SEARCHES}{ledger.name}/")
    found = bucket.get(key)
    if found is None or SearchRecord.from_bytes(found.data, key).incarnation != ledger.record.incarnation:
        return
    marked = ledger.record.model_copy(update={"deleting": True}).to_bytes()
    if found.data != marked and bucket.replace(key, marked, found.etag) is None:
        return delete_search(ledger)
    for root in roots:
        bucket.delete(bucket.list_all(root))
    found = bucket.get(key)
    if found is not None and found.data == marked:
        bucket.delete([key])
