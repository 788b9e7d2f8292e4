"""The facts of a search on a real store: created once, and read at few requests."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from searches import make_spec
from state.made_up import create, make_summary

from rlnas.errors import StoreError
from rlnas.report import read_status
from rlnas.state import Plan, PlannedChild, Result, child_id
from rlnas.state.records import Version
from rlnas.steps import sample_architecture
from rlnas.tensors import pack


def test_facts_are_created_once(ledger):
    children = (PlannedChild(tokens=(0, 1, 2), log_probability=-1.5, seed=3),)
    plan = Plan(round=0, policy_version=0, samples=0, children=children)
    assert ledger.create_plan(plan)
    assert not ledger.create_plan(plan.model_copy(update={"policy_version": 1}))
    assert ledger.plan(0) == plan
    assert ledger.plan(1) is None
    first, second = Result(status="lost", reward=0.0), Result(status="ok", reward=1.0)
    assert ledger.create_result("000000-000", first)
    assert not ledger.create_result("000000-000", second)
    assert ledger.result("000000-000") == first
    ledger.create_summary(make_summary(0))
    ledger.create_summary(make_summary(0, reward=7.0))
    assert ledger.summary(0) == make_summary(0)
    ledger.create_snapshots("000000-000", b"first")
    ledger.create_snapshots("000000-000", b"second")
    assert ledger.snapshots("000000-000") == b"first"
    assert ledger.finished_children(0) == ledger.trained_children(0) == {"000000-000"}
    assert ledger.finished_children(1) == set()


def test_a_round_may_hold_more_children_than_a_page_of_the_store(bucket, ledger):
    names = {child_id(7, i) for i in range(1003)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: bucket.put(ledger.key(f"results/{name}.json"), b"{}"), names))
    assert ledger.finished_children(7) == names


def test_damaged_object(bucket, ledger):
    bucket.put(ledger.key("plans/000000.json"), b'{"round": 0}')
    with pytest.raises(StoreError, match=r"plans/000000.json: not a plan of this version of rlnas") as caught:
        ledger.plan(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hint", [None, b"0", b"1"])
def test_stale_hint_of_the_next_round(bucket, hint):
    ledger = create(bucket, make_spec(loop={"children": 40, "window": 5}))
    for number in range(3):
        assert sample_architecture(ledger)[0].round == number
    bucket.delete([ledger.key("next.json")])
    if hint is not None:
        bucket.put(ledger.key("next.json"), hint)
    assert sample_architecture(ledger)[0].round == 3
    assert ledger.next_round() == 4


def test_reading_a_wide_window(bucket):
    """As many listings for forty rounds under way as for one."""
    spec = make_spec(loop={"children": 200, "children_per_round": 2, "window": 40})
    ledger = create(bucket, spec)
    ledger.bucket.put(
        ledger.key("controllers/000000.safetensors"),
        pack({}, Version(low_mark=9, extras=(11,), children=22).model_dump(mode="json")),
    )
    for number in (8, 9, 11, 30, 48, 49):  # applied, under way, applied, under way twice, beyond
        ledger.create_result(f"{number:06d}-000", Result(status="ok", reward=0.5))
        for i in range(2):
            bucket.put(ledger.lease_key(f"{number:06d}-{i:03d}"), b"{}")
    ledger.create_snapshots("000048-001", b"weights")
    bucket.requests.clear()
    status = read_status(ledger)
    assert (status.children, status.running) == (22 + 3, 2)
    assert bucket.requests["LIST"] == 3 + 1
