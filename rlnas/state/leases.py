"""Leases: who trains which child. They save work; truth is in the results, whoever wrote them first.

A lease has expired when one observer has seen one unchanged lease and checkpoint for a full time to live on its own
clock; clocks are never compared. An observer on the owner's own host need not wait: it sees whether the process lives,
and the one that began it, which trains the child anew if it dies, and may score it.
A checkpoint is also the sign of life, so children that end within a third of the time to live write none.
An attempt counts as fruitless from the moment before it trains until it makes progress: one that is killed between
claiming and training says nothing against the child.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rlnas.children import Interrupted, Judge, Verdict
from rlnas.state.bucket import Object
from rlnas.state.ledger import Ledger
from rlnas.state.marks import Watch
from rlnas.state.records import Lease, Owner, Plan, Result, child_id
from rlnas.tensors import add_to_document, read_document

BEAT_SECONDS = 120.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class Claim:
    """A child that this process holds, and the checkpoint from which to go on (None: from the start)."""

    child: str
    lease: Lease
    etag: str
    checkpoint: bytes | None = None
    checkpoint_etag: str | None = None


def claim(ledger: Ledger, child: str, task: str, leader: int | None = None) -> Claim | None:
    """Take a child to train it now, or find that there is nothing to train.

    The claim is written twice: who holds the child (`hold`), and, as the last thing before it trains, that this attempt
    counts.

    Args:
        ledger: of the search.
        child: its name.
        task: who asks; the same task may take its child back at once, another one only when the lease has ended.
        leader: the process of the task, if that is another one: while it lives, the child is the task's.

    Returns:
        The claim, or None: it has ended, is trained, or is held by somebody else.
    """
    mine = hold(ledger, child, task, leader)
    if mine is None:
        return None
    mine.lease = mine.lease.model_copy(update={"fruitless": mine.lease.fruitless + 1})
    etag = ledger.bucket.replace(ledger.lease_key(child), mine.lease.to_bytes(), mine.etag)
    if etag is None:
        return None  # taken over meanwhile
    mine.etag = etag
    return mine


def hold(ledger: Ledger, child: str, task: str, leader: int | None = None) -> Claim | None:
    """Take a child, and say nothing of its training: if this process ends, that is no attempt in vain.

    A child that was trained too often without progress gets the result `lost` here. Arguments and result as of `claim`.
    """
    if begun := begin(ledger, child, task, leader):
        return begun  # what nobody has begun has not ended
    mine = _take_over(ledger, child, _owner(task, leader))
    # Between looking for work and claiming it, somebody may have finished it.
    return None if mine is None or ledger.result(child) is not None else mine


def begin(ledger: Ledger, child: str, task: str, leader: int | None = None) -> Claim | None:
    """Take a child that nobody has begun. Whatever ends a child begins it first. Arguments and result as of `claim`."""
    lease = Lease(attempt=1, owner=_owner(task, leader), state="active", start=(0, 0), fruitless=0)
    etag = ledger.bucket.create(ledger.lease_key(child), lease.to_bytes())
    return Claim(child, lease, etag) if etag else None


def _take_over(ledger: Ledger, child: str, owner: Owner) -> Claim | None:
    key = ledger.lease_key(child)
    found = ledger.bucket.get(key)
    if found is None:
        return None
    lease = Lease.from_bytes(found.data, key)
    if not _is_open_to(owner, lease):
        return None
    if child in ledger.trained_children(int(child.partition("-")[0])):
        return None
    checkpoint = ledger.bucket.get(ledger.checkpoint_key(child))
    start, fruitless = _progress(lease, checkpoint)
    failures = ledger.spec.failures
    if fruitless >= failures.attempts:
        ledger.create_result(child, lost_result(ledger, lease))
        return None
    mine = Lease(
        attempt=lease.attempt + 1,
        owner=owner,
        state="active",
        start=start,
        fruitless=fruitless,
        history=(*lease.history, f"{lease.state} at epoch {start[0]}, step {start[1]}")[-20:],
    )
    etag = ledger.bucket.replace(key, mine.to_bytes(), found.etag)
    if etag is None:
        return None
    return Claim(child, mine, etag, checkpoint and checkpoint.data, checkpoint and checkpoint.etag)


def hold_to_score(ledger: Ledger, child: str, task: str) -> bool:
    """Take a child that is trained, to score it; False: somebody else does, or has it still.

    For those whose trainers score, see `Observer`: of several that find it deserted, one scores it.
    """
    key = ledger.lease_key(child)
    found = ledger.bucket.get(key)
    if found is None:
        return False
    lease = Lease.from_bytes(found.data, key)
    owner = _owner(task, os.getpid())
    mine = lease.model_copy(update={"owner": owner, "state": "active"})
    return _is_open_to(owner, lease) and ledger.bucket.replace(key, mine.to_bytes(), found.etag) is not None


def _is_open_to(owner: Owner, lease: Lease) -> bool:
    """Whether one may take a child: its task or its process has it already, or nobody has."""
    return (
        lease.state != "active"
        or lease.owner.task == owner.task
        or _led_by(owner.leader, lease)
        or is_dead(lease.owner)
    )


def _led_by(leader: int | None, lease: Lease) -> bool:
    """Whether a process of this host leads the lease's owner. One that asks for children is at none of its own now."""
    return leader is not None and lease.owner.leader == leader and lease.owner.host == _host()


def suspects(ledger: Ledger, children: Sequence[str]) -> list[str]:
    """Return the children whose last attempt has made no progress: one of them may have taken all the others along."""
    found = []
    for child in children:
        key = ledger.lease_key(child)
        lease = ledger.bucket.get(key)
        if lease is not None:
            checkpoint = ledger.bucket.get(ledger.checkpoint_key(child))
            _, fruitless = _progress(Lease.from_bytes(lease.data, key), checkpoint)
            found += [child] if fruitless else []
    return found


def lost_result(ledger: Ledger, lease: Lease) -> Result:
    """Say that a child's process vanished too often."""
    failures = ledger.spec.failures
    return Result(
        status="lost",
        reward=None if failures.lost == "neutral" else failures.reward,
        reason="lost",
        detail=f"{lease.fruitless} attempt{'s' * (lease.fruitless > 1)} ended without progress",
        attempts=lease.attempt,
    )


def release(ledger: Ledger, held: Claim) -> None:
    """Give a child back, so that the next one need not wait for the lease to expire."""
    ended = held.lease.model_copy(update={"state": "released"})
    ledger.bucket.replace(ledger.lease_key(held.child), ended.to_bytes(), held.etag)


def show_life(ledger: Ledger, held: Claim) -> bool:
    """Renew a lease whose holder writes no checkpoints; False: somebody else has it by now."""
    owner = held.lease.owner.model_copy(update={"nonce": secrets.token_hex(8)})  # an etag is a hash of the content
    lease = held.lease.model_copy(update={"owner": owner})
    etag = ledger.bucket.replace(ledger.lease_key(held.child), lease.to_bytes(), held.etag)
    if etag is None:
        return False
    held.lease, held.etag = lease, etag
    return True


class Keeper:
    """Watches one child's training for the ledger: checkpoints, the sign of life, and when to stop.

    Args:
        ledger, held: the search and the child.
        stopping: whether this process has been told to stop.
        clock: monotonic seconds.
        judge: asked at rungs; None: there are none.
    """

    def __init__(
        self,
        ledger: Ledger,
        held: Claim,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        judge: Judge | None = None,
    ) -> None:
        self._ledger = ledger
        self._held = held
        self._stopping = stopping
        self._clock = clock
        self._judge = judge
        self._last = clock()
        self._watch = Watch(ledger, clock)

    def beat(self, state: Callable[[], bytes]) -> None:
        """Keep a checkpoint when one is due.

        Raises:
            Interrupted: this process is to stop, the search is paused or gone, or another process holds the child by
                now.
        """
        why = "told to stop" if self._stopping() else self._watch.halt
        if why:
            self._save(state())
            release(self._ledger, self._held)
            raise Interrupted(why)
        # Read anew, since a person may have changed it while the child is trained.
        if self._clock() - self._last >= min(BEAT_SECONDS, self._ledger.spec.failures.lease_seconds / 3):
            self._save(state())
            self._last = self._clock()

    def rung(self, epoch: int, weights: Callable[[], bytes]) -> Verdict | None:
        """See `Monitor.rung`."""
        return self._judge(epoch, weights) if self._judge else None

    def _save(self, data: bytes) -> None:
        held, key = self._held, self._ledger.checkpoint_key(self._held.child)
        data = add_to_document(data, owner=held.lease.owner.nonce)  # an etag is a hash of the content
        bucket = self._ledger.bucket
        etag = bucket.replace(key, data, held.checkpoint_etag) if held.checkpoint_etag else bucket.create(key, data)
        if etag is None:
            raise Interrupted("another process trains this child")
        held.checkpoint_etag = etag


@dataclass
class Observer:
    """Watches other tasks' leases from one process, over its lifetime.

    Args:
        ledger: of the search.
        clock: monotonic seconds.
        trainers_score: a child that is trained and not scored is still of whoever trained it; else it is anybody's.
    """

    ledger: Ledger
    clock: Callable[[], float] = time.monotonic
    trainers_score: bool = False
    _seen: dict[str, tuple[tuple[str, str], float]] = field(default_factory=dict)

    def is_free(self, child: str) -> bool:
        """Whether a child without a result may be trained now; an expired lease is fenced on the way."""
        # Before what it reads: a process that stands still in between must not count that time as one without a sign.
        now, key = self.clock(), self.ledger.lease_key(child)
        found = self.ledger.bucket.get(key)
        if found is None:
            return True
        lease = Lease.from_bytes(found.data, key)
        if lease.state != "active":
            return True
        if _led_by(os.getpid(), lease):
            return True  # what this process began itself and is not at any more, it takes up again as it is
        if not is_dead(lease.owner) and not self._unchanged_too_long(child, found.etag, now):
            return False
        expired = lease.model_copy(update={"state": "expired"})
        return self.ledger.bucket.replace(key, expired.to_bytes(), found.etag) is not None

    def look_through(self, plan: Plan) -> tuple[list[int], bool]:
        """Look through the children of a plan; expired leases are fenced on the way.

        Returns:
            The children to take up, those that are trained but not scored included, and whether somebody is training
            others.
        """
        finished, trained = self.ledger.finished_children(plan.round), self.ledger.trained_children(plan.round)
        free, busy = [], False
        for i in range(len(plan.children)):
            child = child_id(plan.round, i)
            if child in finished:
                continue
            if (child in trained and not self.trainers_score) or self.is_free(child):
                free.append(i)
            else:
                busy = True
        return free, busy

    def _unchanged_too_long(self, child: str, lease_etag: str, now: float) -> bool:
        checkpoint = self.ledger.bucket.get(self.ledger.checkpoint_key(child))
        etags = (lease_etag, checkpoint.etag if checkpoint else "")
        seen, since = self._seen.get(child, (None, now))
        if seen != etags:
            self._seen[child] = (etags, self.clock())
            return False
        return now - since >= self.ledger.spec.failures.lease_seconds


def this_process() -> int:
    """Return the id of this process, for those that it begins."""
    return os.getpid()


def _owner(task: str, leader: int | None) -> Owner:
    return Owner(task=task, nonce=secrets.token_hex(8), host=_host(), pid=os.getpid(), leader=leader)


def _host() -> str:
    """Say within what a process id means one process: this boot of this host, and this container of it."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(_BOOT_ID.read_text(encoding="utf-8").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def is_dead(owner: Owner) -> bool:
    """Whether the owner ran on this host and is gone for certain, and its leader, if it has one."""
    return owner.host == _host() and all(_is_gone(pid) for pid in (owner.pid, owner.leader) if pid is not None)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _progress(lease: Lease, checkpoint: Object | None) -> tuple[tuple[int, int], int]:
    """Return where a child goes on, and how many attempts in a row have made no progress, if its last has ended."""
    document = read_document(checkpoint.data) if checkpoint else {"epoch": 0, "step": 0}
    start = document["epoch"], document["step"]
    return start, 0 if start > lease.start else lease.fruitless
