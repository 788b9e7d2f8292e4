"""Updates: what is due, each reward once, and that the chain can be replayed from what it says."""

import hashlib
import itertools
import random

import pytest

from rlnas.controller import Experience, SearcherState
from rlnas.errors import StoreError
from rlnas.state import Result
from rlnas.state.ledger import Controller
from rlnas.steps import evaluate, finish, sample_architecture, train_child, update_controller
from rlnas.steps.common import Batch
from rlnas.tensors import pack, unpack


def complete(ledger, number, reward=0.5):
    """Give every child of a planned round a result, and sum the round up."""
    children = len(ledger.plan(number).children)
    for i in range(children):
        ledger.create_result(f"{number:06d}-{i:03d}", Result(status="ok", reward=reward + i / 10))
    evaluate(ledger, _batch(number, children))


def _batch(number, children):
    return Batch(number, tuple(range(children)))


def test_synchronous(make_ledger):
    ledger = make_ledger(loop={"children": 4, "children_per_round": 2})
    assert update_controller(ledger).version == 0
    sample_architecture(ledger)
    assert update_controller(ledger).version == 0
    complete(ledger, 0)
    version = update_controller(ledger)
    assert (version.version, version.applied, version.children, version.rounds) == (1, (0,), 2, 1)
    assert update_controller(ledger) == version


def test_due_in_a_window(make_ledger):
    """Window 5, two rounds an update, nine rounds: by twos, in whatever order they end, and the last alone."""
    ledger = make_ledger(loop={"children": 18, "children_per_round": 2, "window": 5, "rounds_per_update": 2})
    for _ in range(5):
        sample_architecture(ledger)
    complete(ledger, 3)
    assert update_controller(ledger).version == 0  # one is not enough
    complete(ledger, 1)
    assert update_controller(ledger).applied == (1, 3)
    assert (ledger.version().low_mark, ledger.version().extras) == (0, (1, 3))
    complete(ledger, 0)
    complete(ledger, 4)
    assert update_controller(ledger).applied == (0, 4)
    assert (ledger.version().low_mark, ledger.version().extras) == (2, (3, 4))
    for number in (5, 6):
        assert sample_architecture(ledger)[0].round == number
    complete(ledger, 5)
    complete(ledger, 6)
    assert update_controller(ledger).applied == (5, 6)
    complete(ledger, 2)  # all of the window has been applied but this one: nothing else can arrive
    assert update_controller(ledger).applied == (2,)
    assert ledger.version().low_mark == 7
    for number in (7, 8):
        assert sample_architecture(ledger)[0].round == number
    complete(ledger, 8)
    assert update_controller(ledger).version == 4
    complete(ledger, 7)
    version = update_controller(ledger)
    assert (version.applied, version.rounds, version.children) == ((7, 8), 9, 18)
    assert finish(ledger).rounds == ledger.spec.loop.rounds
    assert replay(ledger) == ledger.head().data


def test_full_window_is_flushed(make_ledger):
    """Fewer rounds than an update wants, but the window is full of them: waiting would be for ever."""
    ledger = make_ledger(loop={"children": 12, "children_per_round": 2, "window": 3, "rounds_per_update": 3})
    for _ in range(3):
        sample_architecture(ledger)
    for number in (1, 2):
        complete(ledger, number)
    assert update_controller(ledger).version == 0
    complete(ledger, 0)
    assert update_controller(ledger).applied == (0, 1, 2)
    ledger = make_ledger(loop={"children": 8, "children_per_round": 2, "window": 3, "rounds_per_update": 3})
    for _ in range(3):
        sample_architecture(ledger)
    for number in range(3):
        complete(ledger, number)
    assert update_controller(ledger).applied == (0, 1, 2)
    sample_architecture(ledger)
    complete(ledger, 3)
    assert update_controller(ledger).applied == (3,)  # the last of the budget
    assert replay(ledger) == ledger.head().data


def replay(ledger):
    """Compute the newest version from version 0, what the chain says was applied, and the summaries."""
    summaries = {summary.round: summary for summary in ledger.summaries()}
    searcher, versions = ledger.searcher, [ledger.controller(0)]
    while following := ledger.controller(len(versions)):
        parent, applied = versions[-1], [summaries[r] for r in following.version.applied]
        rounds = [
            Experience(
                samples=summary.samples,
                tokens=[child.tokens for child in summary.children],
                rewards=[child.result.reward for child in summary.children],
                policy=versions[summary.policy_version].state,
            )
            for summary in applied
        ]
        state, numbers = searcher.learn(parent.state, rounds)
        staleness = float(max(parent.version.version - summary.policy_version for summary in applied))
        version = following.version.model_copy(
            update={
                "parent_sha256": hashlib.sha256(parent.data).hexdigest(),
                "memory": dict(state.memory),
                "numbers": numbers | {"staleness": staleness},
            }
        )
        data = pack(state.tensors, version.model_dump(mode="json"))
        assert data == following.data
        versions.append(Controller(version, data))
    return versions[-1].data


@pytest.mark.parametrize("seed", range(3))
def test_asynchronous_search_ends_and_replays(make_ledger, seed):
    """Several loops take their steps in a random order; every reward is applied once, and the chain replays."""
    ledger = make_ledger(
        loop={"children": 18, "children_per_round": 2, "children_per_batch": 1, "window": 5, "rounds_per_update": 2}
    )
    order, waiting = random.Random(seed), []
    for turn in itertools.count():
        assert turn < 500, "the search does not come to its end"
        if ledger.version().rounds == ledger.spec.loop.rounds:
            break
        act = order.choice(["sample", "train", "evaluate", "update"])
        if act == "sample":
            waiting += [("train", batch) for batch in sample_architecture(ledger) if batch.children]
            order.shuffle(waiting)
        elif act == "update":
            update_controller(ledger)
        elif todo := [entry for entry in waiting if entry[0] == act]:
            waiting.remove(todo[0])
            if act == "train":
                train_child(ledger, todo[0][1], f"task {turn}")
                waiting.append(("evaluate", todo[0][1]))
            else:
                evaluate(ledger, todo[0][1])
    applied = [r for v in range(1, ledger.version().version + 1) for r in ledger.controller(v).version.applied]
    assert sorted(applied) == list(range(9))
    assert all(len(ledger.controller(v).version.applied) <= 2 for v in range(1, ledger.version().version + 1))
    assert ledger.version().children == 18
    assert replay(ledger) == ledger.head().data


def test_gradient_at_the_policy_that_proposed(make_ledger):
    """A round that version 0 proposed and version 1 comes before is scored by version 0."""
    ledger = make_ledger(loop={"children": 8, "children_per_round": 2, "window": 2})
    for _ in range(2):
        sample_architecture(ledger)
    complete(ledger, 0, reward=0.1)
    update_controller(ledger)
    complete(ledger, 1, reward=0.9)
    version = update_controller(ledger)
    assert version.numbers["staleness"] == 1.0
    summary, parent = ledger.summary(1), ledger.controller(1)
    experience = Experience(
        samples=2,
        tokens=[child.tokens for child in summary.children],
        rewards=[0.9, 1.0],
        policy=ledger.controller(0).state,
    )
    right, _ = ledger.searcher.learn(parent.state, [experience])
    wrong, _ = ledger.searcher.learn(parent.state, [Experience(**vars(experience) | {"policy": parent.state})])
    found = unpack(ledger.controller(2).data)
    assert pack(right.tensors, {}) == pack(found, {})
    assert pack(wrong.tensors, {}) != pack(found, {})


def test_lost_child_counts_for_nothing_where_the_spec_says_so(make_ledger):
    """`neutral`: the same weights as if its reward were the baseline, and the average does not move by it."""
    ends = {}
    for lost, reward in (("neutral", None), ("penalty", -1.0)):
        ledger = make_ledger(loop={"children": 2, "children_per_round": 2}, failures={"lost": lost, "reward": -1.0})
        sample_architecture(ledger)
        ledger.create_result("000000-000", Result(status="ok", reward=0.5))
        ledger.create_result("000000-001", Result(status="lost", reward=reward, reason="lost"))
        evaluate(ledger, _batch(0, 2))
        version = update_controller(ledger)
        assert (version.children, version.failed, len(version.leaders)) == (2, 1, 1)
        ends[lost] = version.memory["baseline"]
    assert ends["neutral"] == 0.5
    assert ends["penalty"] == pytest.approx(0.95 * 0.5 - 0.05)


def test_missing_policy_is_damage(bucket, make_ledger):
    ledger = make_ledger(loop={"children": 8, "children_per_round": 2, "window": 2})
    for _ in range(2):
        sample_architecture(ledger)
    complete(ledger, 0)
    update_controller(ledger)
    bucket.delete([ledger.key("controllers/000000.safetensors")])
    complete(ledger, 1)
    with pytest.raises(StoreError, match="controller 0 is missing"):
        update_controller(ledger)


def test_random_search_keeps_the_same_books(make_ledger):
    ledger = make_ledger(controller={"kind": "random"}, loop={"children": 4, "children_per_round": 2})
    for _ in range(2):
        (batch,) = sample_architecture(ledger)
        train_child(ledger, batch, "a")
        evaluate(ledger, batch)
        update_controller(ledger)
    assert ledger.version().children == 4
    assert unpack(ledger.head().data) == SearcherState().tensors
    assert replay(ledger) == ledger.head().data
