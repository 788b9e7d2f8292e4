"""Workers: the same search as the loop's, whoever works, is killed, is told to stop, or comes late."""

import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import searches
import torch
from searches import make_small_spec, make_spec, outcome, renamed, run_apart
from waiting import join, wait_for

from rlnas import steps
from rlnas.errors import Unforeseen, UserError
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, Observer, StoreSettings, marks, open_search, pause, resume
from rlnas.state.records import Lease
from rlnas.steps.work import Spent

HOUR = 3600.0
WINNER = {"grid": {"learning_rate": [0.05, 0.1]}, "retrain": {"epochs": 3}, "references": ["no_skips"]}


def work(settings: StoreSettings, spec: SearchSpec, task: str = "a", until: int | None = None) -> Spent:
    ledger = steps.open_search(Bucket(settings), spec.name, spec)
    spent = steps.work(ledger, task, HOUR, until or spec.loop.rounds)
    if ledger.spec.final:
        steps.final_test(ledger)
    steps.finish(ledger)
    return spent


def run_by_workers(bucket: Bucket, spec: SearchSpec, workers: int = 1) -> Ledger:
    steps.open_search(bucket, spec.name, spec)
    searches.take_turns(*(lambda task=str(i): work(bucket.settings, spec, task) for i in range(workers)))
    return open_search(bucket, spec.name)


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_at_window_one_workers_do_what_the_loop_does(bucket: Bucket, kind: str) -> None:
    by_loop, by_one, by_two = (
        renamed(make_small_spec("guided" if kind == "rnn" else "reinforce", kind)) for _ in "123"
    )
    expected = outcome(run_apart(bucket, by_loop))
    assert outcome(run_by_workers(bucket, by_one)) == expected
    assert outcome(run_by_workers(bucket, by_two, workers=2)) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_they_share_the_trainings_of_the_winner_and_of_its_references(bucket: Bucket, workers: int) -> None:
    by_loop, by_workers = (renamed(make_spec("cnn", finalize=WINNER, loop={"children": 2})) for _ in "12")
    expected = outcome(run_apart(bucket, by_loop))
    steps.open_search(bucket, by_workers.name, by_workers)

    def train(task: str) -> None:
        ledger = open_search(Bucket(bucket.settings), by_workers.name)
        steps.work(ledger, task, HOUR, by_workers.loop.rounds)

    searches.take_turns(*(lambda task=str(i): train(task) for i in range(workers)))
    ledger = open_search(bucket, by_workers.name)
    assert steps.finalize.awaits_test(ledger)
    assert ledger.test_readings() == 0, "that is a task of its own"
    assert steps.final_test(ledger)
    steps.finish(ledger)
    assert outcome(ledger) == expected


def test_a_run_of_fewer_rounds_than_an_update_takes_has_those_of_one(bucket: Bucket) -> None:
    loop = {"children": 16, "children_per_round": 2, "window": 4, "rounds_per_update": 4}
    spec = make_spec(loop=loop)
    ledger = steps.open_search(bucket, spec.name, spec)
    (share,) = steps.plan_workers(ledger, 1, 1, 60)
    assert share["until"] == 4
    work(bucket.settings, spec, until=share["until"])
    assert ledger.version().rounds == 4
    work(bucket.settings, spec, until=6)  # as another run left it: what is missing for an update is beyond it
    assert ledger.version().rounds == 4
    work(bucket.settings, spec)
    assert ledger.version().rounds == 8


def test_paused_while_children_train_it_ends_as_if_undisturbed(bucket: Bucket) -> None:
    """Real processes: each child has the search paused at the moment at which its training begins."""
    undisturbed, paused = (renamed(make_spec("cnn", loop={"children": 2})) for _ in "12")
    expected = outcome(run_apart(bucket, undisturbed))
    steps.open_search(bucket, paused.name, paused)

    def worker() -> None:
        marks.LOOK_SECONDS = 0.0
        searches.checkpoint_never()

        def act(number: int, method: str, key: str) -> None:
            if "/leases/" in key:
                pause(open_search(Bucket(bucket.settings), paused.name), "me")

        searches.on_call(act, ("replace",))
        work(bucket.settings, paused)

    assert searches.in_process(worker) == 0
    ledger = open_search(bucket, paused.name)
    begun = ledger.claimed_children(0)
    assert begun
    assert ledger.trained_children(0) == ledger.finished_children(0) == set()
    for child in begun:
        assert Lease.from_bytes(bucket.get(ledger.lease_key(child)).data, child).state == "released"
        assert bucket.get(ledger.checkpoint_key(child))
    resume(ledger)
    assert outcome(run_apart(bucket, paused)) == expected


def test_killed_at_every_write(bucket: Bucket) -> None:
    undisturbed, killed = (renamed(make_small_spec("guided", "cnn")) for _ in "12")
    expected = outcome(run_apart(bucket, undisturbed))
    steps.open_search(bucket, killed.name, killed)
    assert searches.killed_at_every_write(lambda: work(bucket.settings, killed)) > 20
    assert outcome(open_search(bucket, killed.name)) == expected


def test_a_scorer_that_is_killed_on_another_host_is_followed_by_one_when_its_lease_has_run_out(bucket: Bucket) -> None:
    """Of two that see it run out, one scores: the first is overtaken between its look at the lease and its hold."""
    undisturbed, killed = (make_spec(loop={"children": 1, "children_per_round": 1}) for _ in "12")
    expected = outcome(run_apart(bucket, undisturbed))
    ledger = steps.open_search(bucket, killed.name, killed)
    lease_key, seconds = ledger.lease_key("000000-000"), killed.failures.lease_seconds
    looked, overtaken, told = searches.FORK.Event(), searches.FORK.Event(), searches.FORK.SimpleQueue()

    def lease() -> Lease:
        return Lease.from_bytes(bucket.get(lease_key).data, lease_key)

    def die(task: str, when: Callable[[str], bool]) -> None:
        searches.inline()
        socket.gethostname = lambda: "elsewhere"
        searches.on_call(lambda _, method, key: when(key) and os.kill(os.getpid(), signal.SIGKILL), searches.WRITES)
        work(bucket.settings, killed, task)

    def follow(task: str) -> None:
        now, marked = [0.0], False  # the lease, as expired

        def sleep(_: float) -> None:
            now[0] += seconds / 6

        def act(_: int, method: str, key: str) -> None:
            nonlocal marked
            marked = marked or (method, key) == ("replace", lease_key)
            if method == "create" and "/results/" in key:
                told.put(task)
            elif task == "first" and marked and (method, key) == ("get", lease_key) and not looked.is_set():
                told.put(now[0])
                looked.set()
                overtaken.wait()

        searches.inline()
        searches.WORK.Observer = partial(Observer, clock=lambda: now[0])  # type: ignore[attr-defined]
        searches.on_call(act)
        mine = open_search(Bucket(bucket.settings), killed.name)
        steps.work(mine, task, 24 * HOUR, 1, clock=lambda: now[0], sleep=sleep)

    assert searches.in_process(die, "trainer", lambda key: "/snapshots/" in key) == -signal.SIGKILL
    assert searches.in_process(die, "scorer", lambda key: lease().owner.task == "scorer") == -signal.SIGKILL
    assert (lease().owner.task, lease().state, ledger.finished_children(0)) == ("scorer", "active", set())

    first = searches.start(follow, "first")
    wait_for(lambda: looked.is_set() or not first.is_alive())
    second = searches.in_process(follow, "second")
    overtaken.set()
    assert (join(first), second) == (0, 0)
    assert [told.get() for _ in iter(told.empty, True)] == [seconds, "second"], "not before it has run out, and once"
    assert outcome(ledger) == expected


def test_workers_of_several_rounds_and_a_loop_are_one_search(bucket: Bucket) -> None:
    spec = make_spec(loop={"children": 24, "children_per_round": 3, "window": 4, "rounds_per_update": 2})
    steps.open_search(bucket, spec.name, spec)
    searches.take_turns(
        lambda: work(bucket.settings, spec, "a"),
        lambda: searches.run(bucket.settings, spec, "b"),
        lambda: work(bucket.settings, spec, "c"),
    )
    ledger = open_search(bucket, spec.name)
    versions = [ledger.controller(number) for number in range(ledger.version().version + 1)]
    applied = Counter(number for version in versions if version for number in version.version.applied)
    assert applied == Counter(range(8)), "each round in one update"
    assert ledger.version().children == 24


def test_a_run_ends_at_its_round(bucket: Bucket) -> None:
    spec = make_spec(loop={"children": 8, "children_per_round": 2, "window": 3})
    work(bucket.settings, spec, until=2)
    ledger = open_search(bucket, spec.name)
    assert ledger.version().low_mark == 2
    assert ledger.plan(2) is None


def test_after_its_time_nothing_is_begun(bucket: Bucket) -> None:
    spec = make_spec(loop={"children": 8, "children_per_round": 2})
    ledger = steps.open_search(bucket, spec.name, spec)
    now = iter(range(1000))
    spent = steps.work(ledger, "a", 10.0, 4, clock=lambda: float(next(now)))
    assert 0 < ledger.version().rounds < 4
    assert spent.seconds["sampling"] > 0


def test_it_waits_for_others_and_says_so(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """All children of the window are held by others."""
    spec = make_spec(loop={"children": 2, "children_per_round": 2})
    ledger = steps.open_search(bucket, spec.name, spec)
    (batch,) = steps.sample_architecture(ledger)
    for child in batch.names:
        assert searches.TRAIN.claim(ledger, child, "another")  # type: ignore[attr-defined]
    slept, now = [], [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    spent = steps.work(ledger, "a", 1.0, 1, clock=lambda: now[0], sleep=sleep)
    assert spent.seconds["idle"] == pytest.approx(sum(slept))
    assert sum(slept) == pytest.approx(1.0, abs=0.11)
    assert spent.busy == 0
    assert "idle" in capsys.readouterr().out


def test_told_to_stop_it_gives_its_children_back_and_ends_well(bucket: Bucket) -> None:
    child = {"epochs": 100_000, "batch": 16, "learning_rate": 0.001}
    spec = make_spec("cnn", child=child, loop={"children": 4, "children_per_round": 4})
    ledger = steps.open_search(bucket, spec.name, spec)

    def step() -> None:
        work(bucket.settings, spec)
        bucket.put(f"went-on-{spec.name}", b"")

    process = searches.start(step)
    wait_for(lambda: ledger.claimed_children(0))
    os.kill(process.pid, signal.SIGTERM)
    assert join(process) == 0
    assert bucket.get(f"went-on-{spec.name}"), "its task writes its outputs"
    plan = ledger.plan(0)
    assert plan is not None
    free, busy = Observer(ledger).look_through(plan)
    assert (len(free), busy) == (4, False)


def test_what_each_worker_is_to_do(bucket: Bucket) -> None:
    ledger = steps.open_search(bucket, (spec := make_spec(loop={"children": 8})).name, spec)
    assert steps.plan_workers(ledger, 2, 3, 60) == [{"worker": i, "until": 3, "seconds": 60} for i in range(2)]
    assert steps.plan_workers(ledger, 1, 0, 60)[0]["until"] == spec.loop.rounds
    for numbers, words in (
        ((0, 0, 60), "worker_count: 0 is too few; allowed: 1 or more"),
        ((1, -1, 60), "rounds_per_run: -1 is negative; allowed"),
        ((1, 0, 0), "seconds_per_run: 0; allowed: 1 to 82800"),
        ((1, 0, 90_000), "seconds_per_run: 90000; allowed"),
    ):
        with pytest.raises(UserError, match=words):
            steps.plan_workers(ledger, *numbers)


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Callable[[], list[str]]]:
    """Let workers believe in a GPU, and do something whenever a controller learns; returns who learns, each time."""

    def watch(meanwhile: Callable[[int], object] = lambda number: None) -> Callable[[], list[str]]:
        autograd, learned = torch.autograd.grad, tmp_path / "learned"

        def grad(*arguments: Any, **options: Any) -> Any:
            with learned.open("a") as file:
                file.write(f"{os.getpid()}\n")
            meanwhile(len(learned.read_text().split()))
            return autograd(*arguments, **options)

        monkeypatch.setattr(torch.autograd, "grad", grad)
        monkeypatch.setattr(searches.WORK, "device", lambda: "cuda")
        return lambda: learned.read_text().split()

    return watch


@pytest.mark.parametrize("searcher", ["reinforce", "guided"])
def test_on_a_gpu_the_process_that_forks_children_runs_no_autograd(
    bucket: Bucket, learning: Callable[..., Callable[[], list[str]]], searcher: str
) -> None:
    """Autograd touches the GPU, wherever its tensors are. Seen on an H100: the children of the second round failed."""
    by_loop, by_worker = (renamed(make_small_spec(searcher, "cnn")) for _ in "12")
    expected = outcome(run_apart(bucket, by_loop))
    who = learning()
    ledger = steps.open_search(bucket, by_worker.name, by_worker)
    steps.work(ledger, "a", HOUR, by_worker.loop.rounds)
    steps.finish(ledger)
    assert outcome(ledger) == expected
    assert len(set(who())) == by_worker.loop.rounds
    assert str(os.getpid()) not in who()


def test_a_controller_that_is_killed_while_it_learns_apart_learns_again(
    bucket: Bucket, learning: Callable[..., Callable[[], list[str]]]
) -> None:
    by_loop, by_worker = (renamed(make_small_spec("reinforce", "cnn")) for _ in "12")
    expected = outcome(run_apart(bucket, by_loop))
    who = learning(lambda number: number == 1 and os.kill(os.getpid(), signal.SIGKILL))
    work(bucket.settings, by_worker)
    assert outcome(open_search(bucket, by_worker.name)) == expected
    assert len(who()) == by_worker.loop.rounds + 1


def test_a_controller_that_is_killed_whenever_it_learns_apart_is_said(
    bucket: Bucket, learning: Callable[..., Callable[[], list[str]]]
) -> None:
    spec = renamed(make_small_spec("reinforce", "cnn"))
    learning(lambda number: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(Unforeseen, match="update of the controller: its process was killed 3 times"):
        work(bucket.settings, spec)
    assert open_search(bucket, spec.name).version().version == 0


def test_a_worker_that_is_told_to_stop_while_it_learns_apart(
    bucket: Bucket, learning: Callable[..., Callable[[], list[str]]]
) -> None:
    by_loop, by_worker = (renamed(make_small_spec("reinforce", "cnn")) for _ in "12")
    expected = outcome(run_apart(bucket, by_loop))
    here = os.getpid()

    def stop(number: int) -> None:
        if number == 1:
            os.kill(here, signal.SIGTERM)
            signal.pause()  # the worker tells this process, too

    learning(stop)
    ledger = steps.open_search(bucket, by_worker.name, by_worker)
    steps.work(ledger, "a", HOUR, by_worker.loop.rounds)
    assert open_search(bucket, by_worker.name).version().version == 0
    work(bucket.settings, by_worker, "b")
    assert outcome(open_search(bucket, by_worker.name)) == expected


def test_short_trials_and_a_gpu_are_no_matter_of_workers(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that forks children must not have touched the GPU."""
    spec = make_small_spec("guided", "rnn")
    ledger = steps.open_search(bucket, spec.name, spec)
    monkeypatch.setattr(searches.WORK, "device", lambda: "cuda")
    with pytest.raises(UserError, match=r"controller.trials: workers make no short trials on a GPU; allowed: 0"):
        steps.work(ledger, "a", HOUR, 1)
    assert ledger.plan(0) is None
