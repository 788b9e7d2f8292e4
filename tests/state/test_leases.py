"""Leases: who trains a child, when it may be taken over, and what never happens however they race."""

import json
import os
import signal
import socket
import time

import pytest
from searches import WRITES, checkpoint_every_step, in_process, make_spec, on_call, start
from state.made_up import create

from rlnas.children import Interrupted
from rlnas.state import Bucket, Keeper, Ledger, Observer, Result, claim, leases, suspects
from rlnas.state.leases import Claim, release
from rlnas.state.records import Lease
from rlnas.tensors import pack, read_document

CHILD = "000000-001"


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_ledger(bucket):
    def make(**failures):
        spec = make_spec(failures={"lease_seconds": 60, "attempts": 3} | failures)
        return create(bucket, spec)

    return make


@pytest.fixture
def ledger(make_ledger):
    return make_ledger()


@pytest.fixture
def elsewhere(monkeypatch):
    """From here on this process takes itself to be on another host, which sees no processes of this one."""

    def move(host="elsewhere"):
        monkeypatch.setattr(socket, "gethostname", lambda: host)

    return move


def checkpoint(epoch, step=0):
    return pack({}, {"epoch": epoch, "step": step, "seconds": 1.0})


def keeper(ledger, held, clock, stopping=lambda: False):
    return Keeper(ledger, held, stopping, clock)


def lease_of(ledger):
    return Lease.from_bytes(ledger.bucket.get(ledger.lease_key(CHILD)).data, "lease")


def position(ledger):
    found = ledger.bucket.get(ledger.checkpoint_key(CHILD))
    return found and read_document(found.data)["epoch"]


# --- claiming ---


def test_first_claim(ledger):
    held = claim(ledger, CHILD, "a")
    assert (held.lease.attempt, held.lease.start, held.lease.fruitless) == (1, (0, 0), 1)
    assert (held.checkpoint, held.checkpoint_etag) == (None, None)
    assert lease_of(ledger) == held.lease
    assert held.lease.owner.pid == os.getpid()


def test_held_by_a_living_task(ledger, elsewhere):
    claim(ledger, CHILD, "a")
    assert claim(ledger, CHILD, "b") is None
    elsewhere()
    assert claim(ledger, CHILD, "b") is None
    assert lease_of(ledger).owner.task == "a"


def test_finished_or_trained(ledger):
    release(ledger, claim(ledger, CHILD, "a"))
    ledger.create_result(CHILD, Result(status="ok", reward=1.0))
    assert claim(ledger, CHILD, "a") is None
    ledger.create_snapshots("000000-000", b"weights")
    ledger.bucket.create(ledger.lease_key("000000-000"), claim(ledger, "000000-002", "a").lease.to_bytes())
    assert claim(ledger, "000000-000", "a") is None  # the same task, retried


def test_finished_between_looking_and_claiming(ledger, monkeypatch):
    """The result is looked for again after the claim."""
    first = claim(ledger, CHILD, "a")
    release(ledger, first)
    replace = ledger.bucket.replace

    def finish_then_replace(*args):
        ledger.create_result(CHILD, Result(status="ok", reward=1.0))
        return replace(*args)

    monkeypatch.setattr(ledger.bucket, "replace", finish_then_replace)
    assert claim(ledger, CHILD, "b") is None


def test_released(ledger):
    release(ledger, claim(ledger, CHILD, "a"))
    assert lease_of(ledger).state == "released"
    held = claim(ledger, CHILD, "b")
    assert (held.lease.attempt, held.lease.fruitless) == (2, 2)
    assert held.lease.history == ("released at epoch 0, step 0",)


def test_dead_process_of_this_host(bucket, ledger):
    assert in_process(claim, Ledger(Bucket(bucket.settings), ledger.record), CHILD, "a") == 0
    assert lease_of(ledger).state == "active"
    assert Observer(ledger).is_free(CHILD)
    assert claim(ledger, CHILD, "b").lease.attempt == 2


@pytest.mark.parametrize("other", ["boot", "container"])
def test_process_of_the_same_host_name_whose_id_means_another(bucket, ledger, monkeypatch, tmp_path, other):
    """Containers may share a host's name, and a host keeps it: what is not seen there may live all the same."""
    assert in_process(claim, Ledger(Bucket(bucket.settings), ledger.record), CHILD, "a") == 0
    with monkeypatch.context() as changed:
        if other == "boot":
            (tmp_path / "boot_id").write_text("another\n")
            changed.setattr(leases, "_BOOT_ID", tmp_path / "boot_id")
        else:
            changed.setattr(os, "readlink", lambda path: "pid:[1]")
        assert not Observer(ledger).is_free(CHILD)
    assert Observer(ledger).is_free(CHILD)


def test_while_its_leader_lives_a_child_is_nobody_elses(bucket, ledger):
    """A worker trains in a process of its own, which ends before it scores the child, and begins another if it dies."""
    others = Ledger(Bucket(bucket.settings), ledger.record)
    leader = start(time.sleep, 600)
    assert in_process(lambda: claim(others, CHILD, "worker", leader.pid)) == 0
    assert not Observer(ledger, trainers_score=True).is_free(CHILD)
    assert claim(ledger, CHILD, "another") is None
    os.kill(leader.pid, signal.SIGKILL)
    leader.join()
    assert Observer(ledger, trainers_score=True).is_free(CHILD)


def test_what_this_process_began_itself_it_may_take_up_again(bucket, ledger):
    others, here = Ledger(Bucket(bucket.settings), ledger.record), os.getpid()
    assert in_process(lambda: claim(others, CHILD, "worker", here)) == 0
    assert Observer(ledger, trainers_score=True).is_free(CHILD)
    # So may another task of it: in a container that was started again, the process has the number of the one before.
    assert claim(ledger, CHILD, "another", here + 1) is None
    assert claim(ledger, CHILD, "another", here)


def test_two_that_take_over_at_once(bucket, ledger, monkeypatch):
    """One wins; the other finds the lease changed."""
    release(ledger, claim(ledger, CHILD, "a"))
    other = Ledger(Bucket(bucket.settings), ledger.record)
    replace = ledger.bucket.replace
    rivals = []

    def rival_first(*args):
        monkeypatch.setattr(ledger.bucket, "replace", replace)
        rivals.append(claim(other, CHILD, "b"))
        return replace(*args)

    monkeypatch.setattr(ledger.bucket, "replace", rival_first)
    assert claim(ledger, CHILD, "c") is None
    assert lease_of(ledger).owner.nonce == rivals[0].lease.owner.nonce


def test_retry_of_the_same_task_while_the_old_process_lives(bucket, ledger, clock, elsewhere):
    """Protocol test 7: the retry goes on from the checkpoint at once, the old one's next checkpoint is refused."""
    old = claim(ledger, CHILD, "a")
    tick = keeper(ledger, old, clock)
    clock.now = 30
    tick.beat(lambda: checkpoint(3))
    elsewhere()
    new = claim(ledger, CHILD, "a")
    assert (new.lease.attempt, new.lease.start, new.lease.fruitless) == (2, (3, 0), 1)
    assert read_document(new.checkpoint)["epoch"] == 3
    new_keeper = keeper(ledger, new, clock)
    clock.now = 60
    new_keeper.beat(lambda: checkpoint(4))
    with pytest.raises(Interrupted, match="another process trains this child"):
        tick.beat(lambda: checkpoint(7))
    assert position(ledger) == 4
    release(ledger, old)  # what the old one does on its way out
    assert lease_of(ledger).state == "active"
    assert lease_of(ledger).owner.nonce == new.lease.owner.nonce


# --- attempts ---


def attempts_until_lost(ledger):
    count = 0
    while (held := claim(ledger, CHILD, "a")) is not None:
        count += 1
        assert held.lease.attempt == count
        assert count < 20
    return count


@pytest.mark.parametrize(("lost", "reward"), [("penalty", -0.5), ("neutral", None)])
def test_limit(make_ledger, lost, reward):
    """Protocol test 8: so many attempts without progress, and the child is lost."""
    ledger = make_ledger(attempts=3, lost=lost, reward=-0.5)
    assert attempts_until_lost(ledger) == 3
    result = ledger.result(CHILD)
    assert (result.status, result.reward, result.attempts) == ("lost", reward, 3)
    assert result.detail == "3 attempts ended without progress"
    assert claim(ledger, CHILD, "b") is None


@pytest.mark.parametrize(("writes", "counts"), [(1, False), (2, True)])
def test_only_an_attempt_that_came_to_train_counts(bucket, make_ledger, writes, counts):
    """Killed right after it has claimed the child, or as it begins to train, again and again."""
    ledger = make_ledger(attempts=3)

    def killed(writes):
        on_call(lambda number, *_: os.kill(os.getpid(), signal.SIGKILL) if number == writes else None, WRITES)
        claim(Ledger(Bucket(bucket.settings), ledger.record), CHILD, "a")

    for number in range(4):
        refused = number > 0  # the first write, if the child is claimed already
        lost = counts and number == 3  # then there is one write less: the result
        assert in_process(killed, writes + refused - lost) == -signal.SIGKILL
    result, held = ledger.result(CHILD), claim(ledger, CHILD, "b")
    if counts:
        assert (result.status, result.detail) == ("lost", "3 attempts ended without progress")
    else:
        assert (result, held.lease.attempt, held.lease.fruitless) == (None, 5, 1)


def test_who_is_overtaken_before_it_trains_does_not(bucket, ledger, monkeypatch):
    """The last write of a claim is refused to one that was slow."""
    replace = ledger.bucket.replace

    def rival_first(*args):
        monkeypatch.setattr(ledger.bucket, "replace", replace)
        assert claim(Ledger(Bucket(bucket.settings), ledger.record), CHILD, "a") is not None
        return replace(*args)

    monkeypatch.setattr(ledger.bucket, "replace", rival_first)
    assert claim(ledger, CHILD, "a") is None
    assert (lease_of(ledger).attempt, lease_of(ledger).fruitless) == (2, 1)


def test_a_lease_of_an_older_commit_is_taken_over(ledger):
    """Its count came one attempt later; nothing else differs, so either may read what the other wrote."""
    owner = {"task": "a", "nonce": "1", "host": "gone", "pid": 1}
    old = {"attempt": 1, "owner": owner, "state": "released", "start": [0, 0], "fruitless": 0, "history": []}
    ledger.bucket.put(ledger.lease_key(CHILD), json.dumps(old).encode())
    held = claim(ledger, CHILD, "b")
    assert (held.lease.attempt, held.lease.fruitless) == (2, 1)


def test_progress_resets_the_count(make_ledger, clock):
    ledger = make_ledger(attempts=2)
    for epoch in range(1, 6):
        held = claim(ledger, CHILD, "a")
        assert (held.lease.start, held.lease.fruitless) == ((epoch - 1, 0), 1)
        tick = keeper(ledger, held, clock)
        clock.now += 30
        tick.beat(lambda epoch=epoch: checkpoint(epoch))
    assert claim(ledger, CHILD, "a").lease.fruitless == 1
    assert claim(ledger, CHILD, "a").lease.fruitless == 2
    assert claim(ledger, CHILD, "a") is None
    assert ledger.result(CHILD).status == "lost"


def test_suspects(make_ledger, clock):
    """Those whose last attempt made no progress, whatever became of it."""
    ledger = make_ledger()
    children = [f"000000-{i:03d}" for i in range(4)]
    claim(ledger, children[0], "a")
    release(ledger, claim(ledger, children[1], "a"))
    tick = keeper(ledger, claim(ledger, children[2], "a"), clock)
    clock.now += 30
    tick.beat(lambda: checkpoint(0, step=1))
    assert suspects(ledger, children) == children[:2]
    claim(ledger, children[2], "a")
    assert suspects(ledger, children) == children[:3]


def test_steps_are_progress_too(ledger, clock):
    held = claim(ledger, CHILD, "a")
    tick = keeper(ledger, held, clock)
    clock.now = 30
    tick.beat(lambda: checkpoint(0, step=1))
    assert claim(ledger, CHILD, "a").lease.fruitless == 1


@pytest.mark.parametrize("first", ["lost", "ok"])
def test_lost_races_a_late_result(make_ledger, first):
    """Protocol test 8: one key, one winner, and the loser changes nothing."""
    ledger = make_ledger(attempts=1)
    claim(ledger, CHILD, "a")
    late = Result(status="ok", reward=1.0)
    if first == "ok":
        assert ledger.create_result(CHILD, late)
    assert claim(ledger, CHILD, "a") is None  # at the limit: tries to say `lost`
    if first == "lost":
        assert not ledger.create_result(CHILD, late)
    assert ledger.result(CHILD).status == first


def test_trained_child_is_not_lost(make_ledger):
    ledger = make_ledger(attempts=1)
    claim(ledger, CHILD, "a")
    ledger.create_snapshots(CHILD, b"weights")
    assert claim(ledger, CHILD, "a") is None
    assert ledger.result(CHILD) is None


def test_lost_answers_cost_no_attempt(bucket, proxied, proxy, ledger, clock):
    """Protocol test 5: claim, take-over, checkpoints and release, the answer to each first try lost."""
    slow = Ledger(proxied, ledger.record)
    proxy.lose = range(1, 999, 2)
    held = claim(slow, CHILD, "a")
    assert lease_of(ledger) == held.lease
    tick = keeper(slow, held, clock)
    for epoch in (1, 2):
        clock.now += 30
        tick.beat(lambda epoch=epoch: checkpoint(epoch))
        assert position(ledger) == epoch
    release(slow, held)
    again = claim(slow, CHILD, "b")
    assert (again.lease.attempt, again.lease.fruitless, again.lease.start) == (2, 1, (2, 0))
    assert Bucket(bucket.settings).get(ledger.lease_key(CHILD)).etag == again.etag
    assert proxy.conditional == 2 * 8  # the create that was refused to b included


# --- watching others ---


def test_free_children(ledger):
    observer = Observer(ledger)
    assert observer.is_free(CHILD)
    held = claim(ledger, CHILD, "a")
    assert not observer.is_free(CHILD)
    release(ledger, held)
    assert observer.is_free(CHILD)


def test_expiry_by_the_observers_own_clock(ledger, clock, elsewhere):
    """Protocol test 6: seen unchanged for a full time to live, then fenced; a sign of life starts it anew."""
    held = claim(ledger, CHILD, "a")
    beats = Clock()
    tick = keeper(ledger, held, beats)
    elsewhere()
    observer = Observer(ledger, clock)
    clock.now = 1000.0  # what the owner's clock says makes no difference
    assert not observer.is_free(CHILD)
    clock.now += 59
    assert not observer.is_free(CHILD)
    beats.now = 25
    tick.beat(lambda: checkpoint(1))
    clock.now += 30
    assert not observer.is_free(CHILD)
    clock.now += 59
    assert not observer.is_free(CHILD)
    late = Observer(ledger, clock)  # another one begins to count only now
    assert not late.is_free(CHILD)
    clock.now += 1
    assert observer.is_free(CHILD)
    assert lease_of(ledger).state == "expired"
    new = claim(ledger, CHILD, "b")
    assert new.lease.start == (1, 0)
    assert new.lease.history == ("expired at epoch 1, step 0",)

    # The zombie awakes. It still may have the last word, or not, but the checkpoint never goes back.
    new_tick = keeper(ledger, new, clock)
    clock.now += 20
    new_tick.beat(lambda: checkpoint(2))
    beats.now = 60
    with pytest.raises(Interrupted):
        tick.beat(lambda: checkpoint(9))
    assert position(ledger) == 2


def test_zombie_without_a_checkpoint(ledger, clock, elsewhere):
    """Both start from nothing; whoever stores the first checkpoint trains on."""
    zombie = keeper(ledger, claim(ledger, CHILD, "a"), clock)
    elsewhere()
    new = keeper(ledger, claim(ledger, CHILD, "a"), clock)
    clock.now = 30
    zombie.beat(lambda: checkpoint(1))
    with pytest.raises(Interrupted):
        new.beat(lambda: checkpoint(1))
    clock.now = 60
    zombie.beat(lambda: checkpoint(2))
    assert position(ledger) == 2


@pytest.mark.parametrize("look", [1, 2])
def test_time_in_which_the_observer_stood_still_is_not_one_without_a_sign(ledger, clock, elsewhere, monkeypatch, look):
    held = claim(ledger, CHILD, "one")
    elsewhere()
    observer, looks, get = Observer(ledger, clock), 0, ledger.bucket.get

    def get_and_stand_still(key):
        nonlocal looks
        found = get(key)
        looks += key == ledger.checkpoint_key(CHILD)
        if looks == look:  # it has read that nothing is new, and stands still
            clock.now += 100
            looks += 1
        return found

    monkeypatch.setattr(ledger.bucket, "get", get_and_stand_still)
    assert not observer.is_free(CHILD)
    clock.now += 59
    assert not observer.is_free(CHILD)
    assert lease_of(ledger).owner == held.lease.owner
    clock.now += 100
    assert observer.is_free(CHILD)


def test_expired_lease_is_not_fenced_twice(bucket, ledger, clock, elsewhere):
    """Of two observers one fences; the other sees that and finds the child taken."""
    claim(ledger, CHILD, "a")
    elsewhere()
    one, two = Observer(ledger, clock), Observer(Ledger(Bucket(bucket.settings), ledger.record), clock)
    assert not one.is_free(CHILD)
    assert not two.is_free(CHILD)
    clock.now = 60
    assert one.is_free(CHILD)
    assert claim(ledger, CHILD, "b") is not None
    assert not two.is_free(CHILD)


# --- keeping ---


def test_checkpoints_when_due(make_ledger, clock):
    """Every third of the time to live, at most every two minutes; a short child leaves none."""
    for lease_seconds, interval in ((60, 20), (600, 120), (3600, 120)):
        ledger = make_ledger(lease_seconds=lease_seconds)
        tick = keeper(ledger, claim(ledger, CHILD, "a"), clock)
        clock.now += interval - 1
        tick.beat(lambda: pytest.fail("no checkpoint is due"))
        assert position(ledger) is None
        clock.now += 1
        tick.beat(lambda: checkpoint(1))
        tick.beat(lambda: pytest.fail("no checkpoint is due"))
        clock.now += interval
        tick.beat(lambda: checkpoint(2))
        assert position(ledger) == 2


def test_told_to_stop(ledger, clock):
    held = claim(ledger, CHILD, "a")
    with pytest.raises(Interrupted, match="told to stop"):
        keeper(ledger, held, clock, stopping=lambda: True).beat(lambda: checkpoint(0, step=3))
    assert lease_of(ledger).state == "released"
    again = claim(ledger, CHILD, "b")
    assert (again.lease.start, again.lease.fruitless) == ((0, 3), 1)
    assert read_document(again.checkpoint)["owner"] == held.lease.owner.nonce


def test_equal_checkpoints_of_two_owners_differ(ledger, clock):
    """An etag is a hash of the content: an owner's nonce keeps a zombie from taking another's for its own."""
    first = claim(ledger, CHILD, "a")
    tick = keeper(ledger, first, clock)
    clock.now = 30
    tick.beat(lambda: checkpoint(1))
    second = claim(ledger, CHILD, "a")
    again = keeper(ledger, second, clock)
    clock.now = 60
    again.beat(lambda: checkpoint(1))
    assert first.checkpoint_etag != second.checkpoint_etag
    with pytest.raises(Interrupted):
        tick.beat(lambda: checkpoint(1))


def test_process_that_is_killed_while_it_holds(bucket, ledger):
    """A real one: seen dead on its host, and taken over from its checkpoint."""

    def hold():
        checkpoint_every_step()
        mine = Ledger(Bucket(bucket.settings), ledger.record)
        held = claim(mine, CHILD, "a")
        Keeper(mine, held, lambda: False).beat(lambda: checkpoint(5))
        os.kill(os.getpid(), signal.SIGKILL)

    process = start(hold)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    held = claim(ledger, CHILD, "b")
    assert isinstance(held, Claim)
    assert held.lease.start == (5, 0)
