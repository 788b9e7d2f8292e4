"""Evaluation: scores, failures, and the summary of a round that is complete, whoever completes it."""

import math
import os
import signal
import time
from dataclasses import replace

import pytest
import searches
from searches import in_process, start

from rlnas.children import Evaluation
from rlnas.state import Bucket, Ledger, Result, hold_to_score
from rlnas.steps import evaluate, sample_architecture, train_child, update_controller
from rlnas.steps.common import Batch
from rlnas.steps.evaluate import evaluate_own


@pytest.fixture
def ledger(make_ledger):
    ledger = make_ledger(loop={"children": 4, "children_per_round": 4, "children_per_batch": 2})
    sample_architecture(ledger)
    return ledger


BATCHES = (Batch(0, (0, 1)), Batch(0, (2, 3)))


def test_scores(ledger):
    train_child(ledger, BATCHES[0], "a")
    results = evaluate(ledger, BATCHES[0])
    assert list(results) == BATCHES[0].names
    for i, result in enumerate(results.values()):
        a, b, c = ledger.plan(0).children[i].tokens
        score = 20 * a + 7 * b * c + c
        assert (result.status, result.metrics, result.history) == ("ok", {"score": score}, (score,))
        assert result.reward == pytest.approx(score / 100)
        assert result.attempts == 1
    assert ledger.summary(0) is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_last_batch_completes_the_round(ledger, order):
    for number in order:
        train_child(ledger, BATCHES[number], f"task {number}")
    assert evaluate(ledger, BATCHES[order[0]])
    assert ledger.summary(0) is None
    assert evaluate(ledger, BATCHES[order[1]])
    summary = ledger.summary(0)
    assert summary.children == tuple(
        type(summary.children[0])(**child.model_dump(), result=ledger.result(f"000000-{i:03d}"))
        for i, child in enumerate(ledger.plan(0).children)
    )
    assert (summary.policy_version, summary.samples) == (0, 0)


def test_whoever_trained_children_scores_them_and_after_its_death_one_other(ledger, monkeypatch):
    """Workers share rounds: each has trained half of this one, and looks at the whole."""
    everyone = Batch(0, (0, 1, 2, 3))
    worker = start(time.sleep, 600)
    others = Ledger(Bucket(ledger.bucket.settings), ledger.record)

    def train():
        searches.TRAIN.this_process = lambda: worker.pid
        train_child(others, BATCHES[0], "gone")

    assert in_process(train) == 0
    trained = train_child(ledger, BATCHES[1], "a")
    assert trained == set(BATCHES[1].names)
    evaluate_own(ledger, everyone, "a", trained)
    assert ledger.finished_children(0) == trained, "the other half is of somebody who lives"
    worker.kill()
    worker.join()
    another = start(time.sleep, 600)
    with monkeypatch.context() as there:
        there.setattr(os, "getpid", lambda: another.pid)
        assert hold_to_score(ledger, BATCHES[0].names[0], "b")
    evaluate_own(ledger, everyone, "a", ())
    assert ledger.finished_children(0) == {*BATCHES[1].names, BATCHES[0].names[1]}, "one is of another by now"
    another.kill()
    another.join()
    evaluate_own(ledger, everyone, "a", ())
    assert ledger.summary(0) is not None


def test_nothing_is_read_that_was_just_written(make_ledger):
    ledger = make_ledger(loop={"children": 4, "children_per_round": 4})
    (batch,) = sample_architecture(ledger)
    trained = train_child(ledger, batch, "a")
    ledger.bucket.requests.clear()
    evaluate_own(ledger, batch, "a", trained)
    update_controller(ledger, 0)
    assert ledger.bucket.requests == {"PUT": 3, "GET": 1, "LIST": 1, "DELETE": 1}, (
        "the summary, the version and its hint; the marks; the newest version; what nobody needs"
    )


def test_incomplete_then_adopted(ledger):
    """Children that are still being trained are left out; evaluating again, later, brings the rest."""
    train_child(ledger, Batch(0, (0,)), "a")
    assert list(evaluate(ledger, BATCHES[0])) == ["000000-000"]
    everyone = Batch(0, (0, 1, 2, 3))
    train_child(ledger, everyone, "b")
    assert list(evaluate(ledger, everyone)) == everyone.names
    assert ledger.summary(0) is not None


def test_again_changes_nothing(bucket, ledger):
    """A cached or repeated task finds what there is."""
    everyone = Batch(0, (0, 1, 2, 3))
    train_child(ledger, everyone, "a")
    first = evaluate(ledger, everyone)
    before = {key: bucket.get(key) for key in bucket.list_all(ledger.root)}
    bucket.requests.clear()
    assert evaluate(ledger, everyone) == first
    train_child(ledger, everyone, "a")
    train_child(ledger, everyone, "b")
    assert {key: bucket.get(key) for key in bucket.list_all(ledger.root)} == before


def test_only_the_summary_is_missing(bucket, ledger):
    everyone = Batch(0, (0, 1, 2, 3))
    train_child(ledger, everyone, "a")
    evaluate(ledger, everyone)
    summary = ledger.summary(0)
    bucket.delete([ledger.key("summaries/000000.json"), *bucket.list(ledger.key("snapshots/"))])
    evaluate(ledger, Batch(0, (0,)))
    assert ledger.summary(0) == summary


def with_trainer(ledger, batch, evaluation):
    """Evaluate, in a process of its own, with a trainer whose `evaluate` is this."""

    def step():
        trainer_of = searches.EVALUATE.trainer_of

        def replaced(*args):
            trainer = trainer_of(*args)
            trainer.evaluate = evaluation
            return trainer

        searches.EVALUATE.trainer_of = replaced
        evaluate(Ledger(Bucket(ledger.bucket.settings), ledger.record), batch)

    assert in_process(step) == 0


@pytest.mark.parametrize(
    "changes",
    [{"reward": math.nan}, {"reward": math.inf}, {"history": (1.0, -math.inf)}, {"metrics": {"score": math.nan}}],
)
def test_score_that_is_not_finite(ledger, changes):
    train_child(ledger, BATCHES[0], "a")
    evaluation = replace(Evaluation((1.0,), 1.0, {"score": 1.0}), **changes)
    with_trainer(ledger, BATCHES[0], lambda *_: evaluation)
    for child in BATCHES[0].names:
        result = ledger.result(child)
        assert (result.status, result.reason, result.reward) == ("failed", "not_finite", 0.0)


def test_process_that_dies_while_it_scores(ledger):
    """Once is an accident; every time is the child's fault."""
    train_child(ledger, BATCHES[0], "a")
    path = searches.FILES / f"died-{ledger.name}"

    def die(architecture, *_):
        if architecture.tokens == ledger.plan(0).children[0].tokens or not path.exists():
            path.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Evaluation((1.0,), 1.0, {})

    with_trainer(ledger, BATCHES[0], die)
    doomed, fine = (ledger.result(child) for child in BATCHES[0].names)
    assert (doomed.status, doomed.reason) == ("failed", "out_of_memory")
    assert (fine.status, fine.reward) == ("ok", 1.0)


def test_told_to_stop_while_it_scores(ledger):
    """What is not scored is left for another; nothing is claimed of it."""
    train_child(ledger, BATCHES[0], "a")
    path = searches.FILES / f"stopped-{ledger.name}"

    def slow(architecture, *_):
        if not path.exists():
            path.touch()
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(300)
        return Evaluation((1.0,), 1.0, {})

    with_trainer(ledger, BATCHES[0], slow)  # and ends with 0
    assert len(ledger.finished_children(0)) < 2
    with_trainer(ledger, BATCHES[0], slow)
    assert [ledger.result(child).status for child in BATCHES[0].names] == ["ok", "ok"]


def test_failed_training_needs_no_evaluation(ledger):
    ledger.create_result("000000-000", Result(status="failed", reward=-1.0, reason="timeout"))
    train_child(ledger, BATCHES[0], "a")
    results = evaluate(ledger, BATCHES[0])
    assert [result.status for result in results.values()] == ["failed", "ok"]


def test_architecture_that_is_not_in_the_table(make_ledger, tmp_path):
    """A child's own failure, found at its evaluation."""
    table = tmp_path / "diagonal.csv"
    table.write_text("architecture,validation,test\n0-0-0,1,1\n1-1-1,2,2\n2-2-2,3,3\n")
    ledger = make_ledger(dataset={"path": str(table)}, loop={"children": 8, "children_per_round": 8})
    (batch,) = sample_architecture(ledger)
    train_child(ledger, batch, "a")
    results = evaluate(ledger, batch)
    assert {result.status for result in results.values()} >= {"failed"}
    assert all(result.reason == "error" for result in results.values() if result.status == "failed")
    assert ledger.summary(0) is not None
