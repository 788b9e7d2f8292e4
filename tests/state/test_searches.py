"""The searches of a real store: created, opened, listed, deleted, whoever is late, is interrupted, or comes at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import searches
from state.made_up import create

from rlnas.errors import SearchDeleted, StoreError, UserError
from rlnas.state import Bucket, Ledger, Result, delete_search, list_searches, open_search
from rlnas.state.records import Version
from rlnas.steps import sample_architecture


def test_no_such_search(bucket):
    with pytest.raises(UserError, match="no search 'nothing' in the store"):
        open_search(bucket, "nothing")
    with pytest.raises(UserError, match=r"'\.\./x' cannot name a search"):
        open_search(bucket, "../x")


def test_list_searches(bucket, ledger, spec):
    other = create(bucket, searches.renamed(spec))
    assert list_searches(bucket) == sorted([ledger.name, other.name])
    delete_search(other)
    other.create_result("000000-000", Result(status="ok", reward=1.0))  # a late task
    assert list_searches(bucket) == [ledger.name]
    bucket.put("searches/odd/search.json", b'{"schema_version":9,"deleting":false}')
    assert list_searches(bucket) == ["odd", ledger.name] if ledger.name > "odd" else [ledger.name, "odd"]


def test_delete(bucket, ledger):
    keys = [ledger.key(f"{folder}/{i:06d}") for folder in ("plans", "results", "summaries") for i in range(500)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: bucket.put(key, b"x"), keys))
    delete_search(ledger)
    assert list(bucket.list_all("searches/")) == []
    delete_search(ledger)
    with pytest.raises(UserError, match="no search"):
        open_search(bucket, ledger.name)


def test_delete_and_recreate_while_an_old_task_works(bucket, spec):
    """Protocol test 11: the old task writes below its own incarnation alone, then hears of it."""
    old = create(bucket, spec)
    sample_architecture(old)
    delete_search(old)
    with pytest.raises(SearchDeleted, match="was deleted"):
        old.head()
    new = create(bucket, spec)
    assert new.record.incarnation != old.record.incarnation
    before = sorted(bucket.list_all(new.root))
    with pytest.raises(SearchDeleted):
        sample_architecture(old)
    old.create_snapshots("000000-000", b"late")
    old.create_result("000000-000", Result(status="ok", reward=1.0))
    assert sorted(bucket.list_all(new.root)) == before
    assert new.result("000000-000") is None
    delete_search(old)  # not the new one
    assert open_search(bucket, spec.name).record == new.record
    delete_search(new)
    assert list(bucket.list_all("searches/")) == []  # what the late task wrote is gone too


def test_interrupted_deletion_can_be_brought_to_its_end(bucket, ledger, spec):
    ledger.head()

    def fail(keys):
        raise StoreError("the store is down")

    broken = Bucket(bucket.settings)
    broken.delete = fail
    with pytest.raises(StoreError):
        delete_search(Ledger(broken, ledger.record))
    for attempt in (lambda: open_search(bucket, spec.name), lambda: create(bucket, spec)):
        with pytest.raises(SearchDeleted, match=f"search {spec.name} is being deleted; `rlnas delete {spec.name}`"):
            attempt()
    with pytest.raises(SearchDeleted):
        ledger.check_alive()
    assert list_searches(bucket) == []
    delete_search(open_search(bucket, spec.name, deleting=True))
    assert list(bucket.list_all("searches/")) == []
    assert create(bucket, spec).version() == Version()


def test_creation_race_has_one_search(bucket, spec):
    ready = threading.Barrier(8)

    def race(_):
        mine = Bucket(bucket.settings)
        ready.wait()
        return create(mine, spec).record

    with ThreadPoolExecutor(8) as threads:
        assert len({record.incarnation for record in threads.map(race, range(8))}) == 1
