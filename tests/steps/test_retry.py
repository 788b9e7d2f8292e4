"""Lost children, tried again: their results stay, their architectures enter a later round once."""

from collections.abc import Callable

import pytest
from searches import killed_at_every_write

from rlnas.errors import UserError
from rlnas.state import Bucket, Ledger, Result
from rlnas.state.suggestions import read_suggestions
from rlnas.steps import retry, sample_architecture, update_controller
from rlnas.steps.evaluate import summarise


@pytest.fixture
def ledger(make_ledger: Callable[..., Ledger]) -> Ledger:
    """Of its first round one child is lost, one is ok, and one has not ended."""
    ledger = make_ledger(loop={"children": 9, "children_per_round": 3})
    sample_architecture(ledger)
    ledger.create_result("000000-000", Result(status="lost", reward=0.0))
    ledger.create_result("000000-001", Result(status="ok", reward=0.5))
    return ledger


@pytest.mark.parametrize("applied", [False, True])
def test_it_is_trained_as_a_new_child_whenever_it_is_asked_for(ledger: Ledger, applied: bool) -> None:
    lost, plan = ledger.result("000000-000"), ledger.plan(0)
    assert plan
    if applied:
        ledger.create_result("000000-002", Result(status="ok", reward=0.25))
        summarise(ledger, plan)
        update_controller(ledger)

    def work() -> None:
        retry(Ledger(Bucket(ledger.bucket.settings), ledger.record), ["000000-000"])

    assert killed_at_every_write(work) == 1
    assert retry(ledger, ["0-0", "000000-000"]) == {"000000-000": None}
    (waiting,) = read_suggestions(ledger, 0, 10)
    assert (waiting.tokens, waiting.by) == (plan.children[0].tokens, "retry of 000000-000")
    assert ledger.result("000000-000") == lost
    if not applied:
        ledger.create_result("000000-002", Result(status="ok", reward=0.25))
        summarise(ledger, plan)
        update_controller(ledger)
    sample_architecture(ledger)
    following = ledger.plan(1)
    assert following
    assert following.children[0].tokens == plan.children[0].tokens
    assert following.children[0].suggested
    assert retry(ledger, ["000000-000"]) == {"000000-000": None}


@pytest.mark.parametrize(
    ("child", "words"),
    [
        ("000000-001", "child 000000-001 is ok; allowed: a lost child"),
        ("000000-002", "child 000000-002 has not ended, and runs go on with it; allowed: a lost child"),
        ("000000-003", "has no child '000000-003'; allowed: a lost child of it"),
        ("000001-000", "has no child '000001-000'"),
        ("best", "child: 'best' is not a child; allowed: ROUND-INDEX"),
    ],
)
def test_what_is_not_lost_is_refused_with_all_the_rest(ledger: Ledger, child: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        retry(ledger, ["000000-000", child])
    assert read_suggestions(ledger, 0, 10) == []


def test_no_round_is_left(make_ledger: Callable[..., Ledger]) -> None:
    ledger = make_ledger(loop={"children": 2, "children_per_round": 2})
    sample_architecture(ledger)
    ledger.create_result("000000-000", Result(status="lost", reward=0.0))
    with pytest.raises(UserError, match="its last round is planned already; allowed: a search that goes on"):
        retry(ledger, ["000000-000"])
