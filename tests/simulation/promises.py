"""What every schedule must keep, seen from outside: on the objects of the store, and on each write to them."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rlnas.controller import Experience, SearcherState, Trial
from rlnas.spec import MOST_ROUNDS, SearchSpec, parse_spec
from rlnas.state.records import (
    KEPT_SNAPSHOTS,
    FinalRecord,
    History,
    Lease,
    Plan,
    Result,
    SearchRecord,
    Summary,
    Version,
    child_id,
)
from rlnas.state.suggestions import Suggestion
from rlnas.tensors import read_document
from simulation.parts import Tally

if TYPE_CHECKING:
    from simulation.world import World

FACTS = ("plans", "results", "summaries", "controllers", "history", "finals", "suggestions", "snapshots")
"""Folders whose objects are created once and never change."""
HISTORY_ROUNDS = 3
"""Summaries in a bundle of a simulated search, which is short."""


class Broken(Exception):
    """A promise was broken."""


class Watch:
    """Looks at every write to the store, and knows which processes live.

    Args:
        world: to be watched.
        lease: seconds without a sign of life after which a child may be taken from a process that lives.
        rounds: of the search.
    """

    def __init__(self, world: "World", lease: float, rounds: int) -> None:
        self._world, self._lease, self._rounds = world, lease, rounds
        self._first = ""
        self._paused: float | None = None
        self._signs_of_life: dict[str, list[float]] = defaultdict(lambda: [0.0])
        self._too_late: set[tuple[str, str]] = set()  # claims of children that had a result by then
        world.store.watchers.append(self._look)

    def raise_first(self) -> None:
        """Raise `Broken` if something was seen."""
        if self._first:
            raise Broken(self._first)

    def _look(self, key: str, before: bytes | None, after: bytes | None) -> None:
        if key.endswith("/search.json"):
            self._record(key, before, after)
        if key.count("/") < 4:
            return
        root, _, name = key.partition(f"{key.split('/')[2]}/")
        folder, _, file = name.partition("/")
        child, root = file.partition(".")[0], key.removesuffix(name)
        if folder in FACTS and before is not None and after is not None:
            self._say(f"{name} was written again")
        running = self._world.running
        if folder == "plans" and running and self._paused is not None and running.began > self._paused:
            self._say(f"{name} was made by a task that began when the search was paused")
        if folder == "controllers" and int(child) > self._rounds:
            self._say(f"{name}: there are {self._rounds} rounds")
        if folder == "snapshots" and after is None and f"{root}results/{child}.json" not in self._world.store.objects:
            self._say(f"{name} was deleted before the child had a result")
        elif folder in FACTS[:-1] and after is None:
            self._say(f"{name} was deleted")
        if folder == "checkpoints" and after is not None:
            self._signs_of_life[child].append(self._world.now)
            if before is not None and read_document(after)["epoch"] < read_document(before)["epoch"]:
                self._say(f"{name} went back from epoch {read_document(before)['epoch']}")
        if folder == "results" and before is None and after is not None:
            self._ended(root, child, after)
        if folder == "leases" and after is not None:
            self._leased(root, child, before, after)

    def _record(self, key: str, before: bytes | None, after: bytes | None) -> None:
        if before is not None and after is not None:
            old, new = SearchRecord.from_bytes(before, key), SearchRecord.from_bytes(after, key)
            if old.incarnation != new.incarnation and not old.deleting:
                self._say("the search was replaced by another one")
            self._paused = self._paused or self._world.now if new.paused else None

    def _ended(self, root: str, child: str, result: bytes) -> None:
        lease = self._world.store.objects.get(f"{root}leases/{child}.json")
        checkpoint = self._world.store.objects.get(f"{root}checkpoints/{child}.safetensors")
        if lease is None:
            self._say(f"{child} has ended, and nobody has begun it: it may be trained for nothing")
        if Result.from_bytes(result, child).status != "lost" or not (lease and checkpoint and self._world.running):
            return
        start, now = Lease.from_bytes(lease.data, child).start[0], read_document(checkpoint.data)["epoch"]
        if now > start and self._signs_of_life[child][-1] < self._world.running.began:
            self._say(f"{child} was given up though it had come from epoch {start} to {now}")

    def _leased(self, root: str, child: str, before: bytes | None, after: bytes) -> None:
        new, old = Lease.from_bytes(after, child), before and Lease.from_bytes(before, child)
        since = self._silence_seen(root, child)
        self._signs_of_life[child].append(self._world.now)
        claim, ended = (child, new.owner.nonce), f"{root}results/{child}.json" in self._world.store.objects
        if not old or old.owner.nonce != new.owner.nonce:
            if ended:
                self._too_late.add(claim)
        elif claim in self._too_late and new.state == "active" and new.fruitless > old.fruitless:
            self._say(f"{child} had its result when it was claimed, and is trained again")
        if old and old.state == "expired" and new.state == "active":
            self._world.counts["overlap"] += self._lives(old)  # a zombie, which may thaw
        if not old or old.state != "active" or not self._lives(old):
            return
        if new.state == "expired" and since < self._lease and not ended:  # who has a result is nobody's any more
            self._say(f"the lease of {child} was declared dead {since:.0f} s after a sign of life")
        if new.owner.pid != old.owner.pid:
            self._world.counts["overlap"] += 1
        if new.owner.task != old.owner.task:
            self._say(f"{child} was taken from {old.owner.task}, which trains it, by {new.owner.task}")

    def _silence_seen(self, root: str, child: str) -> float:
        """For how long a child had given no sign of life, as far as who writes now can know: when it looked last."""
        if self._world.running is None:
            return math.inf  # it comes late, from somebody who is dead
        looked = self._world.running.looked.get(f"{root}checkpoints/{child}.safetensors", self._world.now)
        return looked - max(sign for sign in self._signs_of_life[child] if sign <= looked)

    def _lives(self, lease: Lease) -> bool:
        process = self._world.by_pid.get(lease.owner.pid)
        return process is not None and not process.ended and not process.dead

    def _say(self, what: str) -> None:
        self._first = self._first or what
        self._world.stopped = True


def check(
    objects: Mapping[str, bytes], record: SearchRecord, interrupted_tests: int = 0, mild: bool = False
) -> tuple[bytes, ...]:
    """Check the objects of a search that has come to its end.

    Args:
        objects: below the search's incarnation, by key.
        record: of the search; its searcher is a `Tally`.
        interrupted_tests: tests of the winner that were killed, or stood still: another one may have read test
            data then.

        mild: only requests were disturbed, so that no child needed a second attempt.

    Returns:
        The chain of controllers.

    Raises:
        Broken: a promise was not kept.
    """
    spec, chain = parse_spec(record.spec, "record"), _chain(objects)
    ended = record.ended.rounds if record.ended else None
    rounds = spec.loop.rounds if ended is None else min(ended, spec.loop.rounds)
    versions = [Version.model_validate(read_document(data)) for data in chain]
    plans = [Plan.from_bytes(_there(objects, f"plans/{r:06d}.json"), "") for r in range(rounds)]
    summaries = [Summary.from_bytes(_there(objects, f"summaries/{r:06d}.json"), "") for r in range(rounds)]
    _budget(objects, versions, plans, may_lie_beyond=ended is not None)
    if not versions:  # stopped before its first round: workers begin nothing then
        return chain
    _replay(spec, chain, versions, summaries, bool(record.ended or record.changes))
    _rounds(objects, spec, plans, summaries)
    if mild and any(child.result.attempts > 1 for summary in summaries for child in summary.children):
        raise Broken("an answer that was lost has cost an attempt")
    _suggestions(objects, plans)
    _leaders(objects, versions[-1], summaries)
    if spec.final is not None and versions[-1].leaders:
        _tested_once(objects, interrupted_tests)
    for k in range(versions[-1].low_mark // HISTORY_ROUNDS):
        bundle = History.from_bytes(_there(objects, f"history/{k:06d}.json"), "").summaries
        if list(bundle) != summaries[k * HISTORY_ROUNDS : (k + 1) * HISTORY_ROUNDS]:
            raise Broken(f"bundle {k} is not its summaries")
    return chain


def _there(objects: Mapping[str, bytes], key: str) -> bytes:
    if key not in objects:
        raise Broken(f"{key} is missing")
    return objects[key]


def _chain(objects: Mapping[str, bytes]) -> tuple[bytes, ...]:
    names = [key for key in sorted(objects) if key.startswith("controllers/")]
    if names != [f"controllers/{i:06d}.safetensors" for i in range(len(names))]:
        raise Broken(f"the chain has a gap: {names}")
    return tuple(objects[name] for name in names)


def _budget(objects: Mapping[str, bytes], versions: list[Version], plans: list[Plan], may_lie_beyond: bool) -> None:
    """Every reward is in exactly one update, and there are no more children than the budget has.

    Where a search was stopped, a plan may lie beyond its end, by a process that did not know of it yet.
    """
    rounds, applied = len(plans), [number for version in versions for number in version.applied]
    if sorted(applied) != list(range(rounds)):
        raise Broken(f"rounds applied: {applied}, not each of {rounds} once")
    children = versions[-1].children if versions else 0
    if children != sum(len(plan.children) for plan in plans):
        raise Broken(f"{children} children, not those of {rounds} rounds")
    beyond = [key for key in objects if key.startswith("plans/") and int(key[6:12]) >= rounds]
    if strange := [key for key in beyond if not (may_lie_beyond or Plan.from_bytes(objects[key], "").winner)]:
        raise Broken(f"{strange[0]} is beyond the budget")


def _replay(
    spec: SearchSpec, chain: tuple[bytes, ...], versions: list[Version], summaries: list[Summary], other_budgets: bool
) -> None:
    """Each version is what its records say, learned from with the policies that proposed them.

    Where there were other budgets in between, the last rounds of one of them were applied without waiting for more.
    """
    tally, loop = Tally(spec.space, spec.controller), spec.loop
    states = [SearcherState(memory=version.memory) for version in versions]
    for parent, data, version in zip(versions, chain, versions[1:], strict=False):
        if version.parent_sha256 != hashlib.sha256(data).hexdigest():
            raise Broken(f"version {version.version} is not of the parent that is there")
        window = range(parent.low_mark, min(loop.rounds, parent.low_mark + loop.window))
        left = len(window) - len(parent.extras)
        few = len(version.applied) < min(loop.rounds_per_update, left) and not other_budgets
        if few or len(version.applied) > loop.rounds_per_update:
            raise Broken(f"version {version.version} applies {len(version.applied)} rounds")
        told = []
        for number in version.applied:
            summary = summaries[number]
            if summary.policy_version > parent.version:
                raise Broken(f"round {number} was proposed by the future")
            rewards = [
                None if loop.learn_from == "finished" and child.result.stopped else child.result.reward
                for child in summary.children
            ]
            pairs = list(zip(summary.children, rewards, strict=True))
            told.append(
                Experience(
                    number * loop.children_per_round,
                    [child.tokens for child, _ in pairs if not child.suggested],
                    [reward for child, reward in pairs if not child.suggested],
                    states[summary.policy_version],
                    [Trial(child.tokens, reward, True) for child, reward in pairs if child.suggested],
                )
            )
        if version.memory != tally.learn(states[parent.version], told)[0].memory:
            raise Broken(f"version {version.version} is not what its records say")


def _rounds(objects: Mapping[str, bytes], spec: SearchSpec, plans: list[Plan], summaries: list[Summary]) -> None:
    """A summary is its plan and its results; a child was given up only after so many attempts without progress."""
    failures = spec.failures
    for plan, summary in zip(plans, summaries, strict=True):
        if len(plan.children) != len(summary.children) or plan.policy_version != summary.policy_version:
            raise Broken(f"summary {plan.round} is not of its plan")
        for i, (planned, child) in enumerate(zip(plan.children, summary.children, strict=True)):
            name = child_id(plan.round, i)
            result = Result.from_bytes(_there(objects, f"results/{name}.json"), "")
            if child.result != result or type(planned).model_validate(child.model_dump(exclude={"result"})) != planned:
                raise Broken(f"summary of {name} is not its plan and its result")
            if result.status == "ok" and result.reward is None:
                raise Broken(f"{name} is scored and has no reward")
            if result.status == "lost":
                lease = Lease.from_bytes(_there(objects, f"leases/{name}.json"), "")
                starts = [entry.partition(" at ")[2] for entry in lease.history]
                last = f"epoch {lease.start[0]}, step {lease.start[1]}"
                if starts.count(last) + 1 < failures.attempts:
                    raise Broken(f"{name} was given up after {starts.count(last) + 1} attempts at {last}")
                if result.reward != (None if failures.lost == "neutral" else failures.reward):
                    raise Broken(f"{name} is lost and has reward {result.reward}")


def _suggestions(objects: Mapping[str, bytes], plans: list[Plan]) -> None:
    """Those that were taken up are the first of the queue, in order, each once."""
    taken = [(child.tokens, child.by) for plan in plans for child in plan.children if child.suggested]
    waiting = [Suggestion.from_bytes(objects[key], "") for key in sorted(objects) if key.startswith("suggestions/")]
    if taken != [(suggestion.tokens, suggestion.by) for suggestion in waiting[: len(taken)]]:
        raise Broken(f"suggestions {taken} were taken up of {waiting}")


def _leaders(objects: Mapping[str, bytes], last: Version, summaries: list[Summary]) -> None:
    """The best are known, what they need is kept, and nothing else lies there."""
    rounds = len(summaries)
    scored = sorted(
        (child.result.stopped is not None, -child.result.reward, child_id(summary.round, i))
        for summary in summaries
        for i, child in enumerate(summary.children)
        if child.result.status == "ok" and child.result.reward is not None
    )
    leaders = [(leader.stopped is not None, -leader.reward, leader.child) for leader in last.leaders]
    if leaders != scored[:20]:
        raise Broken(f"leaderboard {leaders}, not {scored[:20]}")
    tested = {FinalRecord.from_bytes(data, "").winner for key, data in objects.items() if key.startswith("finals/")}
    plans = {key[6:12]: Plan.from_bytes(data, "") for key, data in objects.items() if key.startswith("plans/")}
    # Beyond the end of a search that was stopped, and on the way of a winner that is none any more, somebody may go on.
    over = [r for r, plan in plans.items() if int(r) < rounds or (plan.winner in tested and int(r) % 2 == 0)]
    if left := [key for key in objects if key.startswith("checkpoints/") and key[12:18] in over]:
        raise Broken(f"left behind: {left}")
    snapshots = {key for key in objects if key.startswith("snapshots/") and key[10:16] in over}
    if snapshots != {f"snapshots/{child}.safetensors" for *_, child in leaders[:KEPT_SNAPSHOTS]}:
        raise Broken(f"snapshots {sorted(snapshots)}, not of {leaders[:KEPT_SNAPSHOTS]}")


def _tested_once(objects: Mapping[str, bytes], interrupted: int) -> None:
    """Each winner went its way once, and test data was read once for it, or once more for each that was interrupted."""
    grids = [Plan.from_bytes(data, "").winner for key, data in objects.items() if _is_grid(key)]
    tested = [FinalRecord.from_bytes(data, "").winner for key, data in objects.items() if key.startswith("finals/")]
    readings = sum(key.startswith("test-readings/") for key in objects)
    if not tested or len(set(tested)) < len(tested) or len(set(grids)) < len(grids):
        raise Broken(f"winners: {grids} went their way, {tested} were tested")
    if readings > len(tested) + interrupted:
        raise Broken(f"test data was read {readings} times for {tested}")


def _is_grid(key: str) -> bool:
    return key.startswith("plans/") and int(key[6:12]) >= MOST_ROUNDS and int(key[6:12]) % 2 == 0
