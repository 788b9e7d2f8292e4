"""Copies of a search in another store: whole or not there, and what is copied while it goes on goes on, too."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from searches import (
    in_process,
    inline,
    killed_at_every_write,
    make_spec,
    outcome,
    run,
    run_apart,
    take_turns,
)

from rlnas import steps
from rlnas.errors import SearchDeleted, StoreError, UserError
from rlnas.state import Bucket, Ledger, Result, child_id, claim, copies, copy_search, delete_search, open_search
from rlnas.state.leases import Lease
from rlnas.state.search import record_key
from rlnas.steps.evaluate import summarise


@pytest.fixture
def other(bucket: Bucket) -> Iterator[Bucket]:
    """Another bucket; whose the server is does not matter."""
    other = Bucket(replace(bucket.settings, bucket=f"other-{uuid4().hex[:12]}"))
    other.ensure()
    yield other
    other.delete(list(other.list_all("")))
    other._client.remove_bucket(other.settings.bucket)


def objects(bucket: Bucket, prefix: str = "searches/") -> dict[str, bytes]:
    return {key: bucket.get(key).data for key in bucket.list_all(prefix)}


def go_on(bucket: Bucket, spec: Any) -> Ledger:
    def work() -> None:
        inline()
        run(bucket.settings, spec)

    assert in_process(work) == 0
    return open_search(bucket, spec.name)


def finish_round(ledger: Ledger, number: int, children: int = 2) -> None:
    for i in range(children):
        ledger.create_result(child_id(number, i), Result(status="ok", reward=number + i / 10))
    plan = ledger.plan(number)
    assert plan
    summarise(ledger, plan)


def test_a_search_is_copied_whole_and_once(bucket: Bucket, other: Bucket) -> None:
    ledger = run_apart(bucket, make_spec())
    ledger.record_test_reading()  # an empty object
    copied = copy_search(ledger, other)
    assert objects(other) == objects(bucket)
    assert (copied.there, copied.objects) == (False, len(objects(bucket)) - 3), "the record and two hints are its own"
    other.requests.clear()
    assert copy_search(ledger, other).there
    assert other.requests.keys() == {"GET"}
    assert outcome(open_search(other, ledger.name)) == outcome(ledger)


def test_killed_at_every_write_it_is_whole_in_the_end(
    bucket: Bucket, other: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "THREADS", 1)  # lest one dies while another tells what it wrote
    ledger = run_apart(bucket, make_spec(loop={"children": 2, "children_per_round": 1}))
    whole = objects(bucket)

    def work() -> None:
        to = Bucket(other.settings)
        assert to.get(record_key(ledger.name)) is None or objects(to) == whole, "no search is there before it is whole"
        copy_search(Ledger(Bucket(bucket.settings), ledger.record), to)

    assert killed_at_every_write(work) >= 12
    assert objects(other) == whole


@pytest.mark.parametrize("searcher", ["reinforce", "guided"])
def test_copied_while_it_goes_on_it_goes_on_alike(
    bucket: Bucket, other: Bucket, searcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both take turns at every call of the store."""
    monkeypatch.setattr(copies, "THREADS", 1)
    settings = {"first": 2, "samples": 8} if searcher == "guided" else {"learning_rate": 0.1}
    loop = {"children": 9, "children_per_round": 3}
    spec = make_spec(controller={"kind": searcher, "hidden": 8} | settings, loop=loop)
    steps.open_search(bucket, spec.name, spec)

    def begin() -> None:
        run(bucket.settings, spec)

    def copy() -> None:
        ledger = open_search(Bucket(bucket.settings), spec.name)
        while not ledger.version().children:
            pass
        copy_search(ledger, Bucket(other.settings))

    take_turns(begin, copy)
    assert 0 < open_search(other, spec.name).version().children < 9, "it was copied before its end"
    assert outcome(go_on(other, spec)) == outcome(open_search(bucket, spec.name))


def test_rounds_of_later_versions_stay_behind(bucket: Bucket, other: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its objects are listed, the search takes up a suggestion, applies a round, and plans and sums up others."""
    spec = make_spec(loop={"children": 12, "children_per_round": 2, "window": 2, "rounds_per_update": 1})
    ledger = steps.open_search(bucket, spec.name, spec)
    for _ in range(2):
        steps.sample_architecture(ledger)
    finish_round(ledger, 0)
    listing, moved = Bucket.entries, []

    def entries(self: Bucket, prefix: str) -> Any:
        if self is bucket and not moved:
            moved.append(prefix)
            steps.update_controller(ledger)
            steps.suggest(ledger, [[0, 1, 2]], "Ada")
            steps.sample_architecture(ledger)
            finish_round(ledger, 1)
            finish_round(ledger, 2)
            steps.update_controller(ledger)
        return listing(self, prefix)

    monkeypatch.setattr(Bucket, "entries", entries)
    copy_search(ledger, other)
    copied = open_search(other, spec.name)
    assert (ledger.version().version, copied.version().version) == (3, 0)
    present = {key.removeprefix(copied.root) for key in other.list_all(copied.root)}
    assert {name for name in present if name.startswith("plans/")} == {"plans/000000.json", "plans/000001.json"}
    assert not [name for name in present if "/000002" in name or name.startswith("controllers/000001")]
    assert {"results/000001-001.json", "summaries/000001.json", "suggestions/000000.json"} <= present
    assert copied.next_round() == 2
    steps.update_controller(copied)
    steps.sample_architecture(copied)
    again = copied.plan(2)
    assert again
    assert again.children[0].by == "Ada", "the suggestion waits in the copy, and enters its next round"


def test_nobody_holds_a_child_of_a_copy(bucket: Bucket, other: Bucket) -> None:
    spec = make_spec(failures={"attempts": 1})
    ledger = steps.open_search(bucket, spec.name, spec)
    steps.sample_architecture(ledger)
    assert claim(ledger, "000000-000", "a task that goes on")
    copy_search(ledger, other)
    copied = open_search(other, spec.name)
    key = copied.lease_key("000000-000")
    lease = Lease.from_bytes(other.get(key).data, key)
    assert (lease.state, lease.fruitless) == ("released", 0), "its one attempt has not ended in vain"
    assert claim(copied, "000000-000", "a task of the copy")
    assert not claim(ledger, "000000-000", "another task")


def test_what_differs_is_an_error_and_stays(bucket: Bucket, other: Bucket) -> None:
    ledger = run_apart(bucket, make_spec())
    key = ledger.key("plans/000001.json")
    other.put(key, b"another plan")
    with pytest.raises(StoreError, match=r"plans/000001.json differs from the one at .*; nothing of it is changed"):
        copy_search(ledger, other)
    assert other.get(key).data == b"another plan"
    assert not [name for name in other.list_all(ledger.root) if "/results/" in name], "nothing comes to a wrong plan"
    assert other.get(record_key(ledger.name)) is None


def test_another_search_of_that_name_and_one_that_is_deleted(bucket: Bucket, other: Bucket) -> None:
    spec = make_spec()
    ledger = steps.open_search(bucket, spec.name, spec)
    there = steps.open_search(other, spec.name, spec)
    before = objects(other)
    with pytest.raises(UserError, match=f"has another search {spec.name}; allowed: a store without one of that name"):
        copy_search(ledger, other)
    assert objects(other) == before
    delete_search(there)
    delete_search(ledger)
    with pytest.raises(SearchDeleted):
        copy_search(ledger, other)
    assert other.get(record_key(spec.name)) is None
