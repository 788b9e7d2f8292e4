"""One state of a search, one next step: every state of the ledger with every state of the newest run."""

from dataclasses import replace

import pytest

from rlnas.cli.standing import standing
from rlnas.report import SearchStatus
from rlnas.state import Left
from rlnas.state.records import End, Leader, Pause

LEADER = Leader(child="000001-000", reward=0.9, tokens=(1,), metrics={})


def status(children: int = 16, round: int = 2, winner_left: bool = False, running: int = 0, leaders=(LEADER,)):
    return SearchStatus(
        name="mine",
        controller="reinforce",
        label="",
        warm_start=None,
        children=children,
        budget=16,
        failed=0,
        running=running,
        round=round,
        rounds=2,
        version=round,
        numbers={},
        leaders=leaders,
        left=Left(2 - round, winner_left),
    )


UNBORN = None
NOTHING = status(0, 0, True, leaders=())
BEGUN = status(3, 0, True, running=2, leaders=())
MIDWAY = status(8, 1, True)
WINNER = status(winner_left=True)
COMPLETE = status()
NO_WINNER = status(leaders=())
LOOK = "rlnas status mine"
RUN, SUBMIT = "rlnas run SPEC", "rlnas submit SPEC"


@pytest.mark.parametrize("now", [UNBORN, NOTHING, BEGUN, MIDWAY, WINNER, COMPLETE, NO_WINNER])
@pytest.mark.parametrize("run", ["PENDING", "RUNNING", "PAUSED", "CANCELING"])
def test_while_a_run_is_under_way_there_the_next_step_is_to_look_again(now, run):
    stand = standing("mine", now, run, here=False, there=True)
    assert (stand.what, stand.command) == ("a run is under way on Kubeflow", LOOK)


@pytest.mark.parametrize("now", [NOTHING, BEGUN, MIDWAY, WINNER, COMPLETE, NO_WINNER])
@pytest.mark.parametrize(("run", "there"), [(None, False), (None, True), ("FAILED", True), ("SUCCEEDED", True)])
def test_while_a_run_is_under_way_here_likewise(now, run, there):
    stand = standing("mine", now, run, here=True, there=there)
    assert (stand.what, stand.command) == ("a run is under way here", LOOK)


KEPT = "; what is finished is kept"
LEFT = f"1 round and the winner's training and test are left{KEPT}"
FAILED, STOPPED = "its newest run failed; ", "its newest run was stopped; "


@pytest.mark.parametrize(
    ("now", "run", "what", "here", "there"),
    [
        (UNBORN, "FAILED", f"{FAILED}no round is begun", None, SUBMIT),
        (NOTHING, None, "no round is begun", RUN, SUBMIT),
        (NOTHING, "FAILED", f"{FAILED}no round is begun", None, SUBMIT),
        (NOTHING, "CANCELED", f"{STOPPED}no round is begun", None, SUBMIT),
        (BEGUN, None, f"2 rounds and the winner's training and test are left{KEPT}", RUN, SUBMIT),
        (MIDWAY, None, LEFT, RUN, SUBMIT),
        (MIDWAY, "SUCCEEDED", LEFT, None, SUBMIT),
        (MIDWAY, "FAILED", FAILED + LEFT, None, SUBMIT),
        (MIDWAY, "CANCELED", STOPPED + LEFT, None, SUBMIT),
        (status(8, 1), "FAILED", f"{FAILED}1 round is left{KEPT}", None, SUBMIT),
        (WINNER, None, f"the winner's training and test are left{KEPT}", RUN, SUBMIT),
        (WINNER, "FAILED", f"{FAILED}the winner's training and test are left{KEPT}", None, SUBMIT),
        (COMPLETE, None, "complete", "rlnas leaderboard mine", "rlnas leaderboard mine"),
        (COMPLETE, "SUCCEEDED", "complete", None, "rlnas leaderboard mine"),
        (COMPLETE, "SKIPPED", "complete", None, "rlnas leaderboard mine"),
        (COMPLETE, "FAILED", f"complete: {FAILED}nothing of it is missing", None, "rlnas leaderboard mine"),
        (NO_WINNER, None, "complete", "rlnas report mine", "rlnas report mine"),
        (NO_WINNER, "FAILED", f"complete: {FAILED}nothing of it is missing", None, "rlnas report mine"),
    ],
)
def test_while_none_is_it_is_what_the_ledger_lacks(now, run, what, here, there):
    stand = standing("mine", now, run, here=False, there=True)
    assert (stand.what, stand.command) == (what, there)
    if here:
        stand = standing("mine", now, run, here=False, there=False)
        assert (stand.what, stand.command) == (what, here)


def test_a_search_that_is_paused_is_resumed_next_whatever_runs():
    paused = replace(MIDWAY, paused=Pause(by="Ada", at=0.0))
    for run, here in ((None, False), ("RUNNING", False), ("FAILED", True)):
        stand = standing("mine", paused, run, here=here, there=True)
        left = "1 round and the winner's training and test are left"
        assert stand.what == f"paused by Ada, 1970-01-01 00:00 UTC; {left}"
        assert stand.command == "rlnas resume mine"


def test_a_search_that_was_ended_says_why():
    ended = End(why="loop.hours", at=0.0, rounds=2)
    why = "loop.hours was reached, 1970-01-01 00:00 UTC; "
    stand = standing("mine", replace(WINNER, ended=ended), None, here=False, there=False)
    assert stand.what == f"{why}the winner's training and test are left{KEPT}"
    assert standing("mine", replace(COMPLETE, ended=ended), None, False, False).what.startswith(f"complete: {why}")
