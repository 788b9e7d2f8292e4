"""Sampling: a round is planned once; what is left behind is taken up."""

import socket
import time

import pytest
from searches import SAMPLE, in_process

from rlnas.state import Bucket, Ledger, Result, claim
from rlnas.state.leases import release
from rlnas.steps import evaluate, sample_architecture, train_child, update_controller
from rlnas.steps.common import NOTHING_TO_DO, Batch


def names(batches):
    return [batch.names for batch in batches]


def never(seconds):
    pytest.fail("there is nothing to wait for")


def test_plan(make_ledger):
    ledger = make_ledger(loop={"children": 12, "children_per_round": 6, "children_per_batch": 4})
    assert sample_architecture(ledger) == [Batch(0, (0, 1, 2, 3)), Batch(0, (4, 5))]
    plan = ledger.plan(0)
    assert (plan.policy_version, plan.samples, len(plan.children)) == (0, 0, 6)
    assert len({child.seed for child in plan.children}) == 6
    for child in plan.children:
        ledger.spec.space.decode(child.tokens)


def test_full_window_gives_what_nobody_trains(make_ledger):
    ledger = make_ledger(loop={"children": 8, "children_per_round": 4, "children_per_batch": 4})
    sample_architecture(ledger)
    claim(ledger, "000000-001", "alive")
    ledger.create_snapshots("000000-002", b"weights")
    ledger.create_result("000000-003", Result(status="failed", reward=0.0))
    # 0 was never begun, 1 is being trained, 2 lacks its evaluation, 3 has ended.
    assert sample_architecture(ledger, sleep=never) == [Batch(0, (0, 2))]
    assert ledger.plan(1) is None


def test_dead_and_released_children_are_taken_up(bucket, make_ledger):
    ledger = make_ledger(loop={"children": 3, "children_per_round": 3})
    sample_architecture(ledger)
    assert in_process(claim, Ledger(Bucket(bucket.settings), ledger.record), "000000-000", "dead") == 0
    release(ledger, claim(ledger, "000000-001", "released"))
    claim(ledger, "000000-002", "alive")
    assert sample_architecture(ledger, sleep=never) == [Batch(0, (0, 1))]


def test_waits_for_a_lease_to_expire(make_ledger, monkeypatch):
    """On another host nobody sees that a process is dead; the first replica waits, the others do not."""
    loop = {"children": 2, "children_per_round": 2, "window": 2, "replicas": 2}
    ledger = make_ledger(loop=loop, failures={"lease_seconds": 1})
    sample_architecture(ledger)
    for i in range(2):
        claim(ledger, f"000000-{i:03d}", "a")
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert sample_architecture(ledger, replica=1, sleep=never) == [NOTHING_TO_DO]
    assert sample_architecture(ledger, sleep=lambda _: time.sleep(1.1)) == [Batch(0, (0, 1))]


def test_only_the_first_replica_tends_what_is_left_behind(bucket, make_ledger):
    """The others do not even look for it."""
    ledger = make_ledger(loop={"children": 2, "children_per_round": 2, "window": 2, "replicas": 2})
    sample_architecture(ledger)
    bucket.requests.clear()
    assert sample_architecture(ledger, replica=1, sleep=never) == [NOTHING_TO_DO]
    assert bucket.requests["LIST"] == 1, "of the versions"
    assert sample_architecture(ledger, sleep=never) == [Batch(0, (0, 1))]


def test_a_stale_hint_is_asked_again_where_somebody_was_first(bucket, make_ledger):
    """Many replicas begin at once with the same hint: who was slow goes on from where the others are."""
    ledger = make_ledger(loop={"children": 80, "children_per_round": 2, "window": 40})
    slow = Ledger(Bucket(bucket.settings), ledger.record)
    for number in range(30):
        assert sample_architecture(ledger)[0].round == number
    proposals = []
    propose, next_round = slow.searcher.propose, slow.next_round
    slow.searcher.propose = lambda *args: proposals.append(args) or propose(*args)
    slow.next_round = lambda: next_round() if proposals else 0
    assert sample_architecture(slow)[0].round == 30
    assert len(proposals) == 2


def test_waits_for_others_to_end(make_ledger, monkeypatch):
    monkeypatch.setattr(SAMPLE, "POLL_SECONDS", 10_000)
    ledger = make_ledger(loop={"children": 2, "children_per_round": 2}, failures={"lease_seconds": 3600})
    sample_architecture(ledger)
    held = [claim(ledger, f"000000-{i:03d}", "a") for i in range(2)]
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            ledger.create_snapshots(held[0].child, b"weights")

    assert sample_architecture(ledger, sleep=sleep) == [Batch(0, (0,))]
    assert naps == [900, 900]  # a quarter of the lease


def test_only_the_summary_or_the_update_is_missing(make_ledger):
    ledger = make_ledger(loop={"children": 4, "children_per_round": 2})
    sample_architecture(ledger)
    for i in range(2):
        ledger.create_result(f"000000-{i:03d}", Result(status="failed", reward=0.0))
    batches = sample_architecture(ledger, sleep=never)
    assert batches == [Batch(0, (0,))]
    assert len(evaluate(ledger, batches[0])) == 1
    assert ledger.summary(0) is not None
    assert sample_architecture(ledger, sleep=never) == [NOTHING_TO_DO]
    assert update_controller(ledger).version == 1
    assert sample_architecture(ledger, sleep=never) == [Batch(1, (0, 1))]
    assert ledger.plan(1).policy_version == 1


def test_nothing_left(make_ledger):
    ledger = make_ledger(loop={"children": 2, "children_per_round": 2})
    (batch,) = sample_architecture(ledger)
    train_child(ledger, batch, "a")
    evaluate(ledger, batch)
    update_controller(ledger)
    assert sample_architecture(ledger, sleep=never) == [NOTHING_TO_DO]
    train_child(ledger, NOTHING_TO_DO, "a")
    assert evaluate(ledger, NOTHING_TO_DO) == {}
    assert update_controller(ledger).rounds == 1


def test_window_looks_beyond_a_busy_round(make_ledger):
    ledger = make_ledger(loop={"children": 20, "children_per_round": 2, "window": 3})
    for number in range(3):
        assert sample_architecture(ledger) == [Batch(number, (0, 1))]
    for number, i in [(0, 0), (0, 1), (1, 0)]:
        claim(ledger, f"{number:06d}-{i:03d}", "alive")
    assert sample_architecture(ledger, sleep=never) == [Batch(1, (1,))]
    assert ledger.plan(3) is None
