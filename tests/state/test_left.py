"""What is left of a search, from its beginning to its exported winner."""

import pytest
import searches
from searches import make_spec

from rlnas import report, steps
from rlnas.state import Left, Result, left_of


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (Left(0, False), "nothing is left"),
        (Left(1, False), "1 round is left"),
        (Left(3, False), "3 rounds are left"),
        (Left(0, True), "the winner's training and test are left"),
        (Left(1, True), "1 round and the winner's training and test are left"),
    ],
)
def test_words(left, words):
    assert str(left) == words
    assert bool(left) == (left != Left(0, False))


def test_a_search_without_a_winners_turn(bucket):
    ledger = steps.open_search(bucket, *(lambda spec: (spec.name, spec))(make_spec()))
    assert left_of(ledger, ledger.version()) == Left(2, False)
    searches.run(bucket.settings, ledger.spec)
    assert left_of(ledger, ledger.version()) == Left(0, False)


def test_a_search_with_a_winner(bucket):
    spec = make_spec("cnn", finalize={"references": []})
    ledger = steps.open_search(bucket, spec.name, spec)
    assert left_of(ledger, ledger.version()) == Left(2, True)
    for turn in range(2):
        (batch,) = steps.sample_architecture(ledger)
        steps.train_child(ledger, batch, f"{turn}")
        steps.evaluate(ledger, batch)
        steps.update_controller(ledger)
        assert left_of(ledger, ledger.version()) == Left(1 - turn, True)
    (grid,) = steps.plan_grid(ledger)
    assert left_of(ledger, ledger.version()) == Left(0, True), "begun is not done"
    steps.train_child(ledger, grid, "grid")
    steps.evaluate(ledger, grid)
    (last,) = steps.plan_retraining(ledger)
    steps.train_child(ledger, last, "last")
    assert left_of(ledger, ledger.version()) == Left(0, True)
    assert steps.final_test(ledger)
    assert left_of(ledger, ledger.version()) == Left(0, True), "tested, but not exported"
    steps.export_model(ledger, report.card_of)
    assert left_of(ledger, ledger.version()) == Left(0, False)


def test_a_search_of_failures_has_no_winner(bucket):
    spec = make_spec(loop={"children": 2, "children_per_round": 2}, finalize={})
    ledger = steps.open_search(bucket, spec.name, spec)
    (batch,) = steps.sample_architecture(ledger)
    for child in batch.names:
        ledger.create_result(child, Result(status="failed", reward=0.0, reason="error", detail="oh"))
    steps.evaluate(ledger, batch)
    steps.update_controller(ledger)
    assert left_of(ledger, ledger.version()) == Left(0, False)
