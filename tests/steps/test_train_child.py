"""Training real children through kills, stops and failures (protocol tests 6, 7, 9)."""

import itertools
import multiprocessing
import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest
import searches
from searches import checkpoint_every_step, in_process, outcome, run, start
from waiting import LIMIT, join, wait_for

from rlnas.errors import StoreError, UserError
from rlnas.state import Bucket, Ledger, Observer, leases, open_search
from rlnas.state.records import Lease
from rlnas.steps import evaluate, finish, processes, sample_architecture, train_child, update_controller
from rlnas.steps.common import Batch
from rlnas.tensors import read_document


def lease_of(ledger, child):
    return Lease.from_bytes(ledger.bucket.get(ledger.lease_key(child)).data, child)


@pytest.fixture
def lease_seconds():
    """No lease expires while a test lasts, unless it is about that."""
    return 3600


@pytest.fixture(params=["cnn", "rnn"])
def ledger(request, make_ledger, lease_seconds):
    """A search of some steps: one round of one child."""
    return make_ledger(
        request.param,
        child={"epochs": 3, "snapshots": 2},
        loop={"children": 1, "children_per_round": 1},
        failures={"lease_seconds": lease_seconds},
    )


KNOWN = {}


@pytest.fixture
def undisturbed(bucket, ledger):
    """What the search comes to when nobody disturbs it; its name and its lease make no difference."""
    kind = ledger.spec.space.kind
    if kind not in KNOWN:
        twin = searches.renamed(ledger.spec)
        assert in_process(run, bucket.settings, twin) == 0
        KNOWN[kind] = outcome(open_search(bucket, twin.name))
    return KNOWN[kind]


@pytest.fixture
def barrier(tmp_path):
    """While this file is there, children stop after a few steps, to be disturbed."""
    path = tmp_path / "barrier"
    path.touch()
    return path


def train_to(barrier, ledger, task):
    """Train in a process of its own: a checkpoint each step; it stops at the barrier until that, or itself, is gone."""

    def train():
        checkpoint_every_step()
        beat, steps = leases.Keeper.beat, itertools.count(1)

        def stop_at_barrier(keeper, state):
            beat(keeper, state)
            while next(steps) > 2 and barrier.exists() and not keeper._stopping():
                time.sleep(0.01)

        leases.Keeper.beat = stop_at_barrier
        mine = Ledger(Bucket(ledger.bucket.settings), ledger.record)
        train_child(mine, Batch(0, (0,)), task)

    return start(train)


def has_checkpoint(ledger, epoch=0, step=2, owner_is_not=None):
    found = ledger.bucket.get(ledger.checkpoint_key("000000-000"))
    if found is None or (owner_is_not and read_document(found.data)["owner"] == owner_is_not.nonce):
        return False
    return position(found) >= (epoch, step)


def position(found):
    document = read_document(found.data)
    return document["epoch"], document["step"]


def bring_to_its_end(ledger):
    (batch,) = sample_architecture(ledger)
    train_child(ledger, batch, "last")
    evaluate(ledger, batch)
    update_controller(ledger)
    finish(ledger)


def test_sigterm_in_the_middle(bucket, ledger, undisturbed, barrier):
    """A checkpoint is kept, the lease is given back, and the child becomes what it would have become."""
    sample_architecture(ledger)
    process = train_to(barrier, ledger, "a")
    wait_for(lambda: has_checkpoint(ledger))
    os.kill(process.pid, signal.SIGTERM)
    assert join(process) == 0, "no failure: the task writes its outputs"
    lease = lease_of(ledger, "000000-000")
    assert lease.state == "released"
    assert ledger.trained_children(0) == ledger.finished_children(0) == set()
    at = position(bucket.get(ledger.checkpoint_key("000000-000")))
    bring_to_its_end(ledger)
    assert outcome(ledger) == undisturbed
    lease = lease_of(ledger, "000000-000")
    assert (lease.attempt, lease.start, lease.fruitless) == (2, at, 1)
    assert ledger.result("000000-000").attempts == 2


def test_worker_killed_in_the_middle(bucket, ledger, undisturbed, barrier):
    """As by the kernel when memory is short: the same step goes on from the checkpoint."""
    sample_architecture(ledger)
    process = train_to(barrier, ledger, "a")
    wait_for(lambda: has_checkpoint(ledger))
    os.kill(lease_of(ledger, "000000-000").owner.pid, signal.SIGKILL)
    barrier.unlink()
    assert join(process) == 0
    lease = lease_of(ledger, "000000-000")
    assert (lease.attempt, lease.fruitless) == (2, 1)
    assert lease.start >= (0, 2)
    evaluate(ledger, Batch(0, (0,)))
    update_controller(ledger)
    finish(ledger)
    assert outcome(ledger) == undisturbed


@pytest.mark.parametrize("heir_is_ahead", [True, False])
@pytest.mark.parametrize("lease_seconds", [1])
def test_zombie(bucket, ledger, undisturbed, monkeypatch, barrier, heir_is_ahead):
    """Protocol test 6: frozen, expired, replaced, thawed. One result, and the checkpoint never goes back.

    Whoever of the two is the first to replace the checkpoint trains on: mostly the heir.
    """
    sample_architecture(ledger)
    zombie = train_to(barrier, ledger, "zombie")
    wait_for(lambda: has_checkpoint(ledger))
    os.killpg(zombie.pid, signal.SIGSTOP)
    frozen = lease_of(ledger, "000000-000").owner
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    observer = Observer(ledger)
    assert not observer.is_free("000000-000")
    wait_for(lambda: observer.is_free("000000-000"))
    before = position(bucket.get(ledger.checkpoint_key("000000-000")))
    heir = train_to(barrier, ledger, "heir")
    wait_for(lambda: lease_of(ledger, "000000-000").owner.nonce != frozen.nonce)
    if heir_is_ahead:
        wait_for(lambda: has_checkpoint(ledger, *before, owner_is_not=frozen))
    barrier.unlink()
    os.killpg(zombie.pid, signal.SIGCONT)
    seen = [before]
    while heir.is_alive() or zombie.is_alive():
        if found := bucket.get(ledger.checkpoint_key("000000-000")):
            seen.append(position(found))
        time.sleep(0.01)
    assert (heir.exitcode, zombie.exitcode) == (0, 0)
    assert seen == sorted(seen)
    assert lease_of(ledger, "000000-000").history == (f"expired at epoch {before[0]}, step {before[1]}",)
    evaluate(ledger, Batch(0, (0,)))
    assert ledger.result("000000-000").attempts in ((2,) if heir_is_ahead else (1, 2))
    update_controller(ledger)
    finish(ledger)
    assert outcome(ledger) == undisturbed


@pytest.mark.parametrize("ledger", ["cnn"], indirect=True)
def test_retry_while_the_old_process_lives(ledger, undisturbed, barrier):
    """Protocol test 7: the same task again, the first one still at work on the same host."""
    sample_architecture(ledger)
    old = train_to(barrier, ledger, "task")
    wait_for(lambda: has_checkpoint(ledger))
    new = train_to(barrier, ledger, "task")
    wait_for(lambda: lease_of(ledger, "000000-000").attempt == 2)
    barrier.unlink()
    assert (join(old), join(new)) == (0, 0)
    assert ledger.trained_children(0) == {"000000-000"}
    evaluate(ledger, Batch(0, (0,)))
    update_controller(ledger)
    finish(ledger)
    assert outcome(ledger) == undisturbed


@pytest.mark.parametrize("ledger", ["cnn"], indirect=True)
def test_another_task_leaves_a_held_child_alone(ledger, barrier):
    sample_architecture(ledger)
    first = train_to(barrier, ledger, "a")
    wait_for(lambda: has_checkpoint(ledger))
    train_child(ledger, Batch(0, (0,)), "b")
    assert evaluate(ledger, Batch(0, (0,))) == {}
    assert lease_of(ledger, "000000-000").attempt == 1
    barrier.unlink()
    assert join(first) == 0
    train_child(ledger, Batch(0, (0,)), "b")  # trained: nothing to do
    assert lease_of(ledger, "000000-000").attempt == 1
    assert evaluate(ledger, Batch(0, (0,)))["000000-000"].status == "ok"


def test_killed_every_time(bucket, make_ledger):
    """Protocol tests 8, 9: a child that kills its process is lost, the step ends well, the budget counts it."""
    ledger = make_ledger(failures={"attempts": 2, "reward": -1.0}, loop={"children": 2, "children_per_round": 2})
    sample_architecture(ledger)

    def deadly():
        train = searches.TRAIN.trainer_of

        def trainer_of(*args):
            trainer = train(*args)
            tokens = ledger.plan(0).children[0].tokens

            def die(architecture, *_):
                if architecture.tokens == tokens:
                    os.kill(os.getpid(), signal.SIGKILL)
                return type(trainer).train(trainer, architecture, *_)

            trainer.train = die
            return trainer

        searches.TRAIN.trainer_of = trainer_of
        mine = Ledger(Bucket(bucket.settings), ledger.record)
        train_child(mine, Batch(0, (0, 1)), "a")

    assert in_process(deadly) == 0
    results = evaluate(ledger, Batch(0, (0, 1)))
    lost, fine = results["000000-000"], results["000000-001"]
    assert (lost.status, lost.reward, lost.attempts) == ("lost", -1.0, 2)
    assert fine.status == "ok"
    version = update_controller(ledger)
    assert (version.children, version.failed, version.rounds) == (2, 1, 1)
    assert [leader.child for leader in version.leaders] == ["000000-001"]


def test_child_that_takes_the_whole_pod_along_is_lost_alone(bucket, make_ledger, tmp_path):
    """As the kernel does to a pod whose memory is short: with the first death all are suspects, then one at a time."""
    ledger = make_ledger(
        child={"children_at_once": 4}, loop={"children": 4, "children_per_round": 4}, failures={"attempts": 3}
    )
    sample_architecture(ledger)
    sick = ledger.plan(0).children[1]

    def pod(number):
        original = searches.TRAIN.trainer_of

        def trainer_of(*args):
            trainer = original(*args)

            def train(architecture, data, seed, *rest):
                (tmp_path / f"{number}-{seed}").touch()
                if number == 0:  # all at once; later they are suspects, each by itself
                    wait_for(lambda: len(list(tmp_path.glob("0-*"))) == 4)
                if seed == sick.seed:
                    os.killpg(0, signal.SIGKILL)
                time.sleep(
                    1 if number else LIMIT
                )  # and if they are not by themselves, others are killed in this second
                return type(trainer).train(trainer, architecture, data, seed, *rest)

            trainer.train = train
            return trainer

        searches.TRAIN.trainer_of = trainer_of
        train_child(Ledger(Bucket(bucket.settings), ledger.record), Batch(0, (0, 1, 2, 3)), "a")

    assert [in_process(pod, number) for number in range(4)] == [-signal.SIGKILL] * 3 + [0]
    statuses = [result.status for result in evaluate(ledger, Batch(0, (0, 1, 2, 3))).values()]
    assert statuses == ["ok", "lost", "ok", "ok"]


@pytest.mark.parametrize(
    ("reason", "sections"),
    [
        ("not_finite", {"child": {"learning_rate": 1e30}}),
        ("timeout", {"child": {"time_limit": 1e-6}}),
        ("out_of_memory", {"space": {"filters": [1024]}, "child": {"batch": 1000}}),
        ("bad_shape", {"space": {"filters": [2], "layers": 1}}),
    ],
)
def test_children_that_fail(bucket, make_ledger, reason, sections):
    """Protocol test 9, with real children: recorded, with the spec's reward, and the search goes on."""
    ledger = make_ledger("cnn", **sections, failures={"reward": -0.25}, loop={"children": 2, "children_per_round": 2})
    sample_architecture(ledger)

    def step():
        if reason == "out_of_memory":
            limit = 4096 * int(Path("/proc/self/statm").read_text().split()[0]) + 200 * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if reason == "bad_shape":
            images = searches.importlib.import_module("rlnas.children.images")
            images.build_cnn = lambda architecture, shape: searches.torch.nn.Linear(3, shape.classes)
        mine = Ledger(Bucket(bucket.settings), ledger.record)
        train_child(mine, Batch(0, (0, 1)), "a")

    assert in_process(step) == 0
    results = evaluate(ledger, Batch(0, (0, 1)))
    assert [(result.status, result.reason) for result in results.values()] == [("failed", reason)] * 2
    assert all(result.reward == -0.25 and result.detail for result in results.values())
    version = update_controller(ledger)
    assert (version.children, version.failed, version.rounds, version.leaders) == (2, 2, 1, ())
    assert version.memory["baseline"] == -0.25


@pytest.mark.parametrize("method", ["train", "evaluate"])
def test_whatever_a_trainer_raises_is_its_childs_failure(bucket, make_ledger, method):
    """A trainer of a user's own knows nothing of child failures."""
    ledger = make_ledger(loop={"children": 2, "children_per_round": 2})
    (batch,) = sample_architecture(ledger)

    def step():
        searches.odd_trainers()
        searches.Odd.errors = {method: KeyError("no such layer")}
        mine = Ledger(Bucket(bucket.settings), ledger.record)
        train_child(mine, batch, "a")
        evaluate(mine, batch)

    assert in_process(step) == 0
    results = evaluate(ledger, batch).values()
    assert [(result.status, result.reason) for result in results] == [("failed", "error")] * 2
    assert all("no such layer" in result.detail for result in results)


@pytest.mark.parametrize("method", ["train", "evaluate"])
def test_input_that_a_person_can_mend_is_no_childs_failure(bucket, make_ledger, method):
    ledger = make_ledger(loop={"children": 2, "children_per_round": 2})
    (batch,) = sample_architecture(ledger)

    def step():
        searches.odd_trainers()
        mine = Ledger(Bucket(bucket.settings), ledger.record)
        if method == "evaluate":
            train_child(mine, batch, "a")
        searches.Odd.errors = {method: UserError("dataset: gone")}
        with pytest.raises(UserError, match="dataset: gone"):
            train_child(mine, batch, "a") if method == "train" else evaluate(mine, batch)

    assert in_process(step) == 0
    assert ledger.finished_children(0) == set()


def test_one_thread_a_child_where_processes_are_spawned(bucket, make_ledger, monkeypatch):
    """As on macOS: what the parent has set is not inherited."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(processes, "_CONTEXT", multiprocessing.get_context("spawn"))
    for module in (searches.TRAIN, searches.EVALUATE):
        monkeypatch.setattr(module, "trainer_of", module.trainer_of)  # put back in the end
    ledger = make_ledger(loop={"children": 1, "children_per_round": 1})
    (batch,) = sample_architecture(ledger)
    searches.odd_trainers()
    train_child(ledger, batch, "a")
    (result,) = evaluate(ledger, batch).values()
    assert result.metrics == {"trained": 1, "evaluated": 1}


def test_store_that_goes_down(make_ledger, proxied, proxy):
    """The step fails with one line that names the store; nothing is blamed on the child."""
    ledger = make_ledger()
    (batch,) = sample_architecture(ledger)
    slow = Ledger(proxied, ledger.record)

    def step():
        # Workers connect anew; what they ask first is refused, again and again.
        searches.TRAIN.Bucket = lambda settings: Bucket(settings, patience=0)
        with pytest.raises(StoreError, match=f"cannot write searches/.*{proxy.endpoint}"):
            train_child(slow, batch, "a")

    original = proxy.RequestHandlerClass.do_PUT
    proxy.RequestHandlerClass.do_PUT = lambda handler: handler.reply(503, [], b"")
    try:
        assert in_process(step) == 0
    finally:
        proxy.RequestHandlerClass.do_PUT = original
    assert ledger.finished_children(0) == set()
