"""Children that are trained elsewhere: each is asked for and learned from once, whoever is killed, late or doubled."""

import itertools
import json
import os
import signal
import socket
from typing import Any

import pytest
import searches
from searches import in_process, make_small_spec, make_spec, outcome, renamed

import rlnas
from rlnas import steps
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, Observer, StoreSettings, open_search

ASKED = "asked-by-"


def merit(tokens: tuple[int, ...]) -> float:
    return sum(token * (place % 3) for place, token in enumerate(tokens)) / 100


def ask_and_tell(settings: StoreSettings, spec: SearchSpec, task: str = "a") -> None:
    """Ask for children and tell of each, until the budget is reached; leave in the store who was asked for."""
    search, asked = rlnas.search(spec, store=settings), []
    for turn in itertools.count():
        if search.status().round == spec.loop.rounds:
            break
        assert turn < 300, "the search does not come to its end"
        for child in search.ask(2):
            asked.append(child.name)
            # Some are above the limit of the images.
            search.tell(child, reward=merit(child.tokens), metrics={"parameters": 70.0 + 10 * sum(child.tokens)})
    Bucket(settings).put(ASKED + task, json.dumps(asked).encode())


def asked_by(bucket: Bucket, task: str) -> list[str]:
    return json.loads(bucket.get(ASKED + task).data)


def once(spec: SearchSpec) -> list[str]:
    loop = spec.loop
    return [f"{r:06d}-{i:03d}" for r in range(loop.rounds) for i in range(loop.children_per_round)]


@pytest.mark.parametrize("searcher", ["reinforce", "guided"])
def test_askers_killed_at_every_write_and_two_in_turns(bucket: Bucket, searcher: str) -> None:
    spec, killed, doubled = (renamed(make_small_spec(searcher, "cnn")) for _ in range(3))
    ask_and_tell(bucket.settings, spec)
    undisturbed: dict[str, Any] = outcome(open_search(bucket, spec.name))
    assert len([key for key in undisturbed if key.startswith("results/")]) == 6

    assert searches.killed_at_every_write(lambda: ask_and_tell(bucket.settings, killed)) > 30
    assert outcome(open_search(bucket, killed.name)) == undisturbed

    steps.open_search(bucket, doubled.name, doubled)
    searches.take_turns(*(lambda task=task: ask_and_tell(bucket.settings, doubled, task) for task in ("b", "c")))
    assert outcome(open_search(bucket, doubled.name)) == undisturbed
    assert sorted(asked_by(bucket, "b") + asked_by(bucket, "c")) == once(doubled)
    assert asked_by(bucket, "b")
    assert asked_by(bucket, "c")


@pytest.mark.parametrize("rounds_per_update", [1, 2])
def test_askers_of_several_rounds_at_once_get_every_child_once(bucket: Bucket, rounds_per_update: int) -> None:
    loop = {"children": 16, "children_per_round": 2, "window": 4, "rounds_per_update": rounds_per_update}
    spec = make_spec(controller={"kind": "evolution", "population": 2}, loop=loop)
    ledger = steps.open_search(bucket, spec.name, spec)
    tasks = ("a", "b", "c")
    searches.take_turns(*(lambda task=task: ask_and_tell(bucket.settings, spec, task) for task in tasks))
    assert sorted(name for task in tasks for name in asked_by(bucket, task)) == once(spec)
    applied: list[int] = []
    for number in range(1, ledger.version().version + 1):
        version = ledger.controller(number)
        assert version is not None
        applied += version.version.applied
    assert sorted(applied) == list(range(spec.loop.rounds))
    children = [child for summary in ledger.summaries() for child in summary.children]
    assert [(t.tokens, t.reward) for t in ledger.history(ledger.version())] == [
        (c.tokens, c.result.reward) for c in children
    ]


def test_two_who_tell_of_one_child_at_once(bucket: Bucket) -> None:
    """One of them is believed, and both know who."""
    spec = make_spec(loop={"children": 1, "children_per_round": 1})
    search = rlnas.search(spec, store=bucket.settings)
    (child,) = search.ask()

    def tell(reward: float) -> None:
        accepted = rlnas.open(spec.name, store=bucket.settings).tell(child, reward=reward)
        Bucket(bucket.settings).put(f"told-{reward}", str(accepted).encode())

    searches.take_turns(lambda: tell(0.25), lambda: tell(0.75))
    believed = [reward for reward in (0.25, 0.75) if bucket.get(f"told-{reward}").data == b"True"]
    assert [search.best().result.reward] == believed
    assert search.status().children == 1


WRITES_OF_A_TELLING = ["leases/000000-001", "results/000000-001", "summaries/", "controllers/", "head.json"]


@pytest.mark.parametrize("write", WRITES_OF_A_TELLING)
def test_who_is_killed_while_telling_tells_again(bucket: Bucket, write: str) -> None:
    """The reward enters once, and the round is applied. Nobody has asked for the child: telling begins it, too."""
    undisturbed, killed = (make_spec(loop={"children": 4, "children_per_round": 2}) for _ in "12")
    first, last = once(killed)[:2]
    for spec in (undisturbed, killed):
        ledger = steps.open_search(bucket, spec.name, spec)
        steps.sample_architecture(ledger)
        assert steps.tell(ledger, first, 0.25, {})

    def tell(spec: SearchSpec) -> bool:
        return rlnas.open(spec.name, store=bucket.settings).tell(last, reward=0.75)

    def die() -> None:
        searches.on_call(lambda _, method, key: write in key and os.kill(os.getpid(), signal.SIGKILL), searches.WRITES)
        tell(killed)

    assert tell(undisturbed)
    assert in_process(die) == -signal.SIGKILL
    assert tell(killed) == (write == WRITES_OF_A_TELLING[0]), "its result was recorded, or was not"
    ledger = open_search(bucket, killed.name)
    assert [c.result.reward for s in ledger.summaries() for c in s.children] == [0.25, 0.75]
    assert (ledger.version().version, ledger.version().children) == (1, 2)
    assert outcome(ledger) == outcome(open_search(bucket, undisturbed.name))


def ask_elsewhere(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ask on another host, where nobody here can see whether the asking process lives."""
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        (name,) = steps.ask(ledger, 1, Observer(ledger))
    return name


@pytest.mark.parametrize("late", [True, False])
def test_who_tells_nothing_for_long_loses_the_child_but_may_still_be_the_first_to_tell(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    spec = make_spec(loop={"children": 1, "children_per_round": 1})
    ledger, now = steps.open_search(bucket, spec.name, spec), [0.0]
    observer = Observer(ledger, lambda: now[0])
    child = ask_elsewhere(ledger, monkeypatch)
    assert steps.ask(ledger, 1, observer) == {}
    now[0] += spec.failures.lease_seconds - 1
    assert steps.ask(ledger, 1, observer) == {}
    now[0] += 1
    assert list(steps.ask(ledger, 1, observer)) == [child]
    first, second = (0.25, 0.75) if late else (0.75, 0.25)
    assert steps.tell(ledger, child, first, {})
    assert not steps.tell(ledger, child, second, {})
    assert [c.result.reward for s in ledger.summaries() for c in s.children] == [first]
    assert ledger.version().children == 1


def test_a_process_that_ends_says_nothing_against_its_children(bucket: Bucket) -> None:
    """Where it asked for them, others ask again at once, as often as that happens."""
    spec = make_spec(failures={"attempts": 2})
    search = rlnas.search(spec, store=bucket.settings)
    for _ in range(4):
        assert in_process(lambda: rlnas.open(spec.name, store=bucket.settings).ask(2)) == 0
    assert len(search.ask(2)) == 2


def test_a_child_told_of_and_never_asked_for_is_not_trained(bucket: Bucket) -> None:
    spec = make_spec()
    ledger = steps.open_search(bucket, spec.name, spec)
    batches = steps.sample_architecture(ledger)
    first = batches[0].names[0]
    assert steps.tell(ledger, first, 0.25, {})
    for number, batch in enumerate(batches):
        steps.train_child(ledger, batch, str(number))
        steps.evaluate(ledger, batch)
    assert ledger.snapshots(first) is None
    assert ledger.summary(0).children[0].result.reward == 0.25


def test_the_rounds_of_the_winner_are_nobodys_to_ask_for(bucket: Bucket) -> None:
    spec = make_spec("cnn", loop={"children": 2, "children_per_round": 2}, finalize={})
    search = rlnas.search(spec, store=bucket.settings)
    for child in search.ask(2):
        search.tell(child, reward=0.5)
    assert search.ask(2) == []
    assert open_search(bucket, spec.name).plan(1) is None


def test_children_of_a_round_are_asked_for_before_the_next_is_planned(bucket: Bucket) -> None:
    """Later rounds know less of the rewards that are on their way."""
    spec = make_spec(loop={"children": 8, "children_per_round": 2, "window": 4})
    ledger = steps.open_search(bucket, spec.name, spec)
    asked = [name for _ in range(5) for name in steps.ask(ledger, 1, Observer(ledger))]
    assert asked == ["000000-000", "000000-001", "000001-000", "000001-001", "000002-000"]
