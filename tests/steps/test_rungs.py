"""Rungs: who is stopped is said by the round's plan, whoever trains a child, and however often."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import searches
from searches import make_spec, outcome, renamed, run, run_apart

from rlnas.children import Verdict
from rlnas.controller import Experience, Trial
from rlnas.errors import ChildFailure, UserError
from rlnas.report.data import read_report
from rlnas.report.status import read_status
from rlnas.spec import SearchSpec, parse_spec
from rlnas.state import Bucket, Ledger, Result, open_search
from rlnas.steps.rungs import Rungs, bars
from rlnas.steps.update_controller import update_controller

EPOCHS, RUNGS = 5, (1, 3)


def with_rungs(kind: str, going_on: float = 0.5, **sections: dict[str, Any]) -> SearchSpec:
    child = {"epochs": EPOCHS, "rungs": RUNGS, "going_on": going_on, "batch": 128 if kind == "cnn" else 16}
    # Where a reward is weighed, the scores at rungs are, too.
    objective = {"soft": {"parameters": {"target": 100, "exponent": -0.1}}} if kind == "cnn" else {}
    loop = {"children": 9, "children_per_round": 3}
    return make_spec(kind, **{"child": child, "loop": loop, "objective": objective} | sections)


def trial(**rungs: float) -> Trial:
    return Trial((), None, True, rungs={int(name[1:]): score for name, score in rungs.items()})


def test_the_score_to_reach_is_that_of_the_last_of_the_better_part() -> None:
    recipe = with_rungs("cnn").child
    assert bars(recipe, []) == {1: None, 3: None}
    assert bars(recipe, [trial(e1=0.5)]) == {1: 0.5, 3: None}
    history = [trial(e1=score) for score in (0.1, 0.4, 0.3, 0.2)]
    assert bars(recipe, [*history, trial(e1=0.9, e3=0.95), Trial((), None, False)]) == {1: 0.3, 3: 0.95}
    most = recipe.model_copy(update={"going_on": 0.99})
    assert bars(most, history) == {1: 0.1, 3: None}
    few = recipe.model_copy(update={"going_on": 0.01})
    assert bars(few, history) == {1: 0.4, 3: None}
    assert bars(make_spec("tabular").child, history) == {}, "nothing is trained"
    better = [trial(e1=0.5 + 0.01 * i) for i in range(16)]
    assert bars(recipe, [*history, *better]) == bars(recipe, better) == {1: 0.58, 3: None}


@pytest.fixture(params=["cnn", "cnn by reward", "rnn"])
def spec(request: pytest.FixtureRequest) -> SearchSpec:
    kind, _, by = request.param.partition(" by ")
    spec = with_rungs(kind)
    return spec.model_copy(update={"child": spec.child.vary({"rungs_by": by})}) if by else spec


KNOWN: dict[str, Any] = {}


@pytest.fixture
def undisturbed(bucket: Bucket, spec: SearchSpec) -> Any:
    if (child := str(spec.child)) not in KNOWN:
        KNOWN[child] = outcome(run_apart(bucket, renamed(spec)))
    return KNOWN[child]


def results(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key.split("/")[1][:-5]: value for key, value in found.items() if key.startswith("results/")}


def test_only_the_better_part_goes_on(spec: SearchSpec, undisturbed: dict[str, Any]) -> None:
    by_reward = getattr(spec.child, "rungs_by", "reward") == "reward"
    of_child = results(undisturbed)
    assert len(of_child) == 9
    plans = {key[6:12]: plan for key, plan in undisturbed.items() if key.startswith("plans/")}
    assert plans["000000"]["bars"] == {"1": None, "3": None}
    stopped = 0
    for child, result in of_child.items():
        assert result["status"] == "ok"
        bar_of = plans[child[:6]]["bars"]
        scores, at = result["rungs"], result["stopped"]
        assert [int(rung) for rung in scores] == [rung for rung in RUNGS if at is None or rung <= at]
        for rung, score in scores.items():
            below = bar_of[rung] is not None and score < bar_of[rung]
            assert below == (int(rung) == at), "it stops at the first rung at which it is below, and only there"
        if at is not None:
            stopped += 1
            same = result["reward"] == scores[str(at)]
            assert same == by_reward, "the reward is what it had when it was stopped"
    assert 0 < stopped <= 6, "the first round goes on"


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_killed_at_a_rung_and_anywhere_it_ends_as_undisturbed(bucket: Bucket, kind: str) -> None:
    """A checkpoint is written at every step: also right before a child is scored, and between verdict and next step."""
    spec = with_rungs(kind, going_on=0.2, loop={"children": 4, "children_per_round": 2})
    expected = outcome(run_apart(bucket, renamed(spec)))
    assert any(result["stopped"] for result in results(expected).values())

    def work() -> None:
        searches.checkpoint_every_step()
        run(bucket.settings, spec)

    assert searches.killed_at_every_write(work) > 50
    assert outcome(open_search(bucket, spec.name)) == expected


def test_two_runs_in_turns(bucket: Bucket, spec: SearchSpec, undisturbed: dict[str, Any]) -> None:
    searches.take_turns(*(lambda task=task: run(bucket.settings, spec, task) for task in ("a", "b")))
    assert outcome(open_search(bucket, spec.name)) == undisturbed


def test_epochs_are_counted(bucket: Bucket) -> None:
    ledger = run_apart(bucket, with_rungs("cnn"))
    ends = [ledger.result(f"{number:06d}-{i:03d}") for number in range(3) for i in range(3)]
    spent = sum(result.stopped or EPOCHS for result in ends if result)
    status = read_status(ledger)
    assert (status.epochs, status.epochs_saved) == (spent, 9 * EPOCHS - spent)
    assert status.epochs_saved > 0


@pytest.mark.parametrize("learn_from", ["all", "finished"])
def test_what_the_controller_learns_from_is_said_by_the_spec(
    make_ledger: Callable[..., Ledger], learn_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = {"children": 3, "children_per_round": 3, "learn_from": learn_from}
    ledger = make_ledger("cnn", child={"epochs": EPOCHS, "rungs": RUNGS}, loop=loop)
    tokens = [0] * sum(d.choices if d.anchor else 1 for d in ledger.spec.space.decisions(0))
    searches.steps.suggest(ledger, [tokens], "Ada")
    (batch,) = searches.steps.sample_architecture(ledger)
    ledger.create_result("000000-000", Result(status="ok", reward=0.1, rungs={1: 0.1}, stopped=1))
    ledger.create_result("000000-001", Result(status="ok", reward=0.2, rungs={1: 0.2}, stopped=1))
    ledger.create_result("000000-002", Result(status="ok", reward=0.7, rungs={1: 0.3, 3: 0.4}))
    searches.steps.evaluate(ledger, batch)
    learned: list[Experience] = []
    learn = ledger.searcher.learn
    monkeypatch.setattr(
        ledger.searcher, "learn", lambda state, rounds: (learned.extend(rounds), learn(state, rounds))[1]
    )
    version = update_controller(ledger)
    assert list(learned[0].rewards) == [0.2 if learn_from == "all" else None, 0.7]
    assert [trial.reward for trial in learned[0].suggested] == [0.1 if learn_from == "all" else None]
    shown: list[tuple[dict[int, float], int | None]] = [({1: 0.1}, 1), ({1: 0.2}, 1), ({1: 0.3, 3: 0.4}, None)]
    assert [(child.rungs, child.stopped) for child in version.recent] == shown
    assert [(dict(trial.rungs), trial.stopped) for trial in ledger.history(version)] == shown


def judged(promise: float, bar: float | None) -> Verdict | None:
    """What is said at a rung whose bar is given, where the objective halves every reward."""
    trainer = SimpleNamespace(promise=lambda architecture, snapshots, data: promise)
    judge = Rungs({1: bar}, data=None).judge(trainer, None, lambda reward: reward / 2)  # type: ignore[arg-type]
    assert judge(2, lambda: b"") is None
    return judge(1, lambda: b"")


def test_a_rung_compares_what_children_promise() -> None:
    assert judged(0.9, 0.4) == Verdict(0.45, goes_on=True)
    assert judged(0.6, 0.4) == Verdict(0.3, goes_on=False)
    assert judged(0.0, None) == Verdict(0.0, goes_on=True)
    with pytest.raises(ChildFailure, match="not_finite: what it promises after epoch 1 is nan"):
        judged(math.nan, 0.4)


def test_a_child_that_was_stopped_is_below_all_that_were_trained_to_the_end(make_ledger: Callable[..., Ledger]) -> None:
    loop = {"children": 3, "children_per_round": 3}
    ledger = make_ledger("cnn", child={"epochs": EPOCHS, "rungs": RUNGS}, loop=loop)
    (batch,) = searches.steps.sample_architecture(ledger)
    ends: list[tuple[float, int | None]] = [(0.3, None), (0.9, 1), (0.4, None)]  # by the loss it promised little
    for name, (reward, stopped) in zip(batch.names, ends, strict=True):
        result = Result(status="ok", reward=reward, history=(reward,), rungs={1: 0.001}, stopped=stopped)
        ledger.create_result(name, result)
    searches.steps.evaluate(ledger, batch)
    version = update_controller(ledger)
    expected = [("000000-002", None), ("000000-000", None), ("000000-001", 1)]
    assert [(leader.child, leader.stopped) for leader in version.leaders] == expected
    assert [(leader.child, leader.stopped) for leader in read_report(ledger).leaders] == expected
    assert (version.epochs, version.epochs_saved) == (2 * EPOCHS + 1, EPOCHS - 1)


def test_searches_of_older_versions_go_on_to_compare_rewards() -> None:
    document = with_rungs("cnn").document
    assert parse_spec(document).child.rungs_by == "loss"
    assert parse_spec(document, earlier=True).child.rungs_by == "reward"


def test_bad_rungs_are_one_line() -> None:
    with pytest.raises(UserError, match=r"child.rungs: .*does not ascend; allowed"):
        make_spec("cnn", child={"epochs": 5, "rungs": [3, 1]})
    with pytest.raises(
        UserError, match=r"child.rungs: after epoch 5 no training is left of 5; allowed: epochs from 1 to 4"
    ):
        make_spec("cnn", child={"epochs": 5, "rungs": [1, 5]})
    with pytest.raises(UserError, match=r"child\.rungs"):
        make_spec("cnn", child={"epochs": 5, "rungs": [0]})


def test_the_winner_is_trained_to_the_end(bucket: Bucket) -> None:
    spec = with_rungs("cnn", loop={"children": 2, "children_per_round": 2}, finalize={"retrain": {"epochs": 2}})
    ledger = run_apart(bucket, spec)
    assert searches.finalize(ledger) is not None
