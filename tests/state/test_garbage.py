"""Garbage: what nobody needs is found and deleted, and nothing else, whatever goes on meanwhile."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from searches import in_process, inline, killed_at_every_write, make_spec, outcome, renamed, run, run_apart

from rlnas import steps
from rlnas.errors import StoreError
from rlnas.state import Bucket, Ledger, Result, child_id, collect_garbage, find_garbage, garbage
from rlnas.state.earlier import COPY
from rlnas.state.search import record_key
from rlnas.steps.evaluate import summarise


@pytest.fixture(autouse=True)
def _one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The object that tells the time has one name in all processes, so that its writes are known again."""
    monkeypatch.setattr(garbage, "secrets", SimpleNamespace(token_hex=lambda size: "clock"))


@pytest.fixture
def all_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "STILL", timedelta(minutes=-1))


def names(bucket: Bucket) -> set[str]:
    return set(bucket.list_all(""))


def sweep(bucket: Bucket, name: str = "") -> dict[tuple[str, str], int]:
    found = find_garbage(bucket, name)
    for heap in found.garbage:
        heap.remove()
    return {(heap.search, heap.kind): heap.objects for heap in found.garbage}


@pytest.fixture
def ledger(bucket: Bucket) -> Ledger:
    """Two rounds: one applied, and one of which one child of seven has ended; as if nobody had tidied up."""
    spec = make_spec(loop={"children": 14, "children_per_round": 7})
    ledger = steps.open_search(bucket, spec.name, spec)
    for number in range(2):
        steps.sample_architecture(ledger)
        for i in range(1 if number else 7):
            ledger.create_result(child_id(number, i), Result(status="ok", reward=i / 10))
        plan = ledger.plan(number)
        assert plan
        summarise(ledger, plan)
        steps.update_controller(ledger)
    for number in range(2):
        for i in range(7):
            ledger.create_snapshots(child_id(number, i), b"weights")
            bucket.put(ledger.checkpoint_key(child_id(number, i)), b"half trained")
    return ledger


def test_what_children_of_a_search_no_longer_need(bucket: Bucket, ledger: Ledger) -> None:
    before = names(bucket)
    found = find_garbage(bucket)
    assert names(bucket) == before, "it only looks"
    about = {(heap.search, heap.kind): (heap.objects, heap.size) for heap in found.garbage}
    assert about == {
        (ledger.name, "checkpoints of ended children"): (8, 8 * len(b"half trained")),
        (ledger.name, "snapshots that nobody keeps"): (2, 2 * len(b"weights")),
    }
    unneeded = {ledger.checkpoint_key(child_id(0, i)) for i in range(7)} | {ledger.checkpoint_key("000001-000")}
    unneeded |= {ledger.snapshot_key(child_id(0, i)) for i in range(2)}
    assert killed_at_every_write(lambda: sweep(Bucket(bucket.settings))) >= 2
    assert names(bucket) == before - unneeded
    assert sweep(bucket) == {}
    bucket.put(ledger.checkpoint_key("000001-000"), b"of a zombie")
    assert collect_garbage(ledger) == 1, "the end of a run sweeps by the same rule"


def test_bundles_that_are_missing(bucket: Bucket, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "HISTORY_ROUNDS", 1)
    about = {heap.kind: heap.objects for heap in find_garbage(bucket, ledger.name).garbage}
    assert about["bundles of summaries that are missing, and are made"] == 1
    sweep(bucket)
    assert bucket.get(ledger.history_key(0))
    assert sweep(bucket) == {}


def strays(bucket: Bucket, ledger: Ledger) -> dict[str, str]:
    """Objects that belong to no search, and what they are."""
    never, late = "what a search was to begin with that never began", "left by deleted searches and half copies"
    found = {
        f"searches/{ledger.name}/0123/{COPY}": never,
        f"searches/{ledger.name}/4567/results/000000-000.json": late,
        f"searches/gone/89ab/{COPY}": late,
        "searches/gone/89ab/leases/000000-000.json": late,
        "searches/new/cdef/" + COPY: never,
        "probe/0123456789abcdef": "left by probes of the store",
    }
    for key in found:
        bucket.put(key, b"stray")
    return found


def test_what_belongs_to_no_search(bucket: Bucket, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(bucket)
    clean, found = names(bucket), strays(bucket, ledger)
    assert sweep(bucket) == {}, "a search may be coming into being"
    monkeypatch.setattr(garbage, "STILL", timedelta(minutes=-1))
    assert {heap.kind for heap in find_garbage(bucket).garbage} == set(found.values())
    assert killed_at_every_write(lambda: sweep(Bucket(bucket.settings))) >= 5
    assert names(bucket) == clean


@pytest.mark.usefixtures("all_is_old")
def test_a_search_that_comes_into_being_at_this_very_moment(bucket: Bucket, ledger: Ledger) -> None:
    """Whoever creates it was frozen for days between what it begins with and its record, and thaws now."""
    new = ledger.record.model_copy(update={"incarnation": "cdef", "spec": ledger.record.spec | {"name": "new"}})
    bucket.put("searches/new/cdef/" + COPY, b"children")
    (heap,) = find_garbage(bucket, "new").garbage
    bucket.put(record_key("new"), new.to_bytes())
    heap.remove()
    assert bucket.get("searches/new/cdef/" + COPY)
    assert find_garbage(bucket, "new").garbage == []


def test_searches_that_cannot_be_read_or_are_being_deleted_are_left_alone(
    bucket: Bucket, ledger: Ledger, all_is_old: None
) -> None:
    bucket.put("searches/later/search.json", b'{"schema_version":9}')
    bucket.put("searches/later/0123/results/000000-000.json", b"its own")
    record = ledger.record.model_copy(update={"deleting": True})
    bucket.put(record_key(ledger.name), record.to_bytes())
    before = names(bucket)
    remarks = find_garbage(bucket).remarks
    assert sweep(bucket) == {}
    assert names(bucket) == before
    assert any("search later is left alone: searches/later/search.json: a newer version" in line for line in remarks)
    assert any(f"`rlnas delete {ledger.name}` brings that to its end" in line for line in remarks)


def test_a_store_that_takes_no_write_is_swept_by_facts_alone(
    bucket: Bucket, ledger: Ledger, all_is_old: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk is full, and that is when people sweep. By its clock nothing can be told, so what is old is left."""

    def full(*_: object) -> None:
        raise StoreError("no space left in the store")

    bucket.put("searches/gone/0123/leases/000000-000.json", b"late")
    monkeypatch.setattr(bucket, "put", full)
    remarks = find_garbage(bucket).remarks
    assert remarks == ["what is garbage by its age is left alone: no space left in the store"]
    assert set(sweep(bucket)) == {
        (ledger.name, "checkpoints of ended children"),
        (ledger.name, "snapshots that nobody keeps"),
    }
    assert bucket.get("searches/gone/0123/leases/000000-000.json")


@pytest.mark.usefixtures("all_is_old")
def test_a_search_that_goes_on_does_not_notice(bucket: Bucket) -> None:
    """It is swept before each turn, and a deleted search of its name is near."""
    spec = make_spec(loop={"children": 6, "children_per_round": 2})
    undisturbed = outcome(run_apart(bucket, renamed(spec)))

    def work() -> None:
        inline()
        run(bucket.settings, spec, before_turn=lambda ledger: sweep(Bucket(bucket.settings)))

    assert in_process(work) == 0
    assert outcome(steps.open_search(bucket, spec.name, spec)) == undisturbed
