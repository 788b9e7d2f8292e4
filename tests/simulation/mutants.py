"""Planted faults: each breaks one rule of the protocol in the product's code, in memory; the schedules must find it."""

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from simulation.patches import module


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Args:
        name: what it does wrong.
        where: module of rlnas and the function or method, as `state.ledger:Ledger.commit`.
        changes: text of the function, and what stands there instead.
    """

    name: str
    where: str
    changes: tuple[tuple[str, str], ...]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Plant it for the length of the block.

        Raises:
            LookupError: the function has no such text any more.
        """
        name, _, path = self.where.partition(":")
        owner: Any = module(name)
        *outer, last = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        healthy = inspect.getattr_static(owner, last)
        source = textwrap.dedent(inspect.getsource(healthy))
        for before, after in self.changes:
            if before not in source:
                raise LookupError(f"{self.name}: {self.where} has no {before!r}")
            source = source.replace(before, after)
        found: dict[str, Any] = {}
        exec(compile(source, f"<{self.name}>", "exec"), vars(module(name)), found)
        _replace(owner, last, found[last])
        try:
            yield
        finally:
            _replace(owner, last, healthy)


def _replace(owner: Any, name: str, function: Any) -> None:
    """Put a function in the place of another one, wherever that was imported."""
    before = inspect.getattr_static(owner, name)
    setattr(owner, name, function)
    for key, loaded in list(sys.modules.items()):
        if key.startswith("rlnas."):
            for attribute, value in list(vars(loaded).items()):
                if value is before:
                    setattr(loaded, attribute, function)


def _mutant(name: str, where: str, *changes: tuple[str, str]) -> Mutant:
    return Mutant(name, where, changes)


MUTANTS = (
    # the store
    _mutant(
        "a lost write is taken for success",
        "state.bucket:Bucket._put",
        ("        if not any(other.doubtful for other in earlier):\n            return None\n", ""),
        ("return found.etag if found is not None and found.data == data else None", "return 'won'"),
    ),
    _mutant(
        "our own write is taken for another's",
        "state.bucket:Bucket._put",
        ("return found.etag if found is not None and found.data == data else None", "return None"),
    ),
    _mutant("a create overwrites", "state.bucket:Bucket.create", ('{CREATE: "*"}', "{}")),
    _mutant("a replace overwrites", "state.bucket:Bucket.replace", ("{REPLACE: etag}", "{}")),
    # the chain
    _mutant(
        "a version is written over another",
        "state.ledger:Ledger.commit",
        ("self.bucket.create(self._version_key(version.version), data) is None",
         "self.bucket.put(self._version_key(version.version), data) is not None"),
    ),
    _mutant(
        "the hint is trusted",
        "state.ledger:Ledger.newest",
        ("found[-1]", "found[0]"),
    ),
    _mutant(
        "rounds above the low mark are forgotten",
        "state.ledger:Ledger.commit",
        ("{*parent.version.extras, *(summary.round for summary in summaries)}",
         "{summary.round for summary in summaries}"),
    ),
    _mutant(
        "the low mark runs ahead",
        "state.ledger:Ledger.commit",
        ("    while low_mark in done:\n        done.remove(low_mark)\n        low_mark += 1",
         "    low_mark = max(done) + 1\n    done = set()"),
    ),
    _mutant(
        "a version names no parent",
        "state.ledger:Ledger.commit",
        ("hashlib.sha256(parent.data)", "hashlib.sha256(b'')"),
    ),
    _mutant(
        "the worst lead",
        "state.ledger:Ledger.commit",
        ("leader.reward, leader.stopped", "-leader.reward, leader.stopped"),
    ),
    _mutant(
        "the history forgets",
        "state.ledger:Ledger._recent",
        ("[*before.recent, *(child", "[*(child"),
    ),
    _mutant(
        "a bundle is made a round too early",
        "state.ledger:Ledger._tidy",
        ("after.low_mark // self.HISTORY_ROUNDS", "(after.low_mark + 1) // self.HISTORY_ROUNDS"),
    ),
    # updates
    _mutant(
        "a round is applied twice",
        "steps.update_controller:_due",
        ("if r in window and r not in version.extras", "if r in window"),
    ),
    _mutant(
        "the last rounds wait for others that never come",
        "steps.update_controller:_due",
        ("min(loop.rounds_per_update, unapplied)", "loop.rounds_per_update"),
    ),
    _mutant(
        "an update takes all that is there",
        "steps.update_controller:_due",
        ("ready[: loop.rounds_per_update]", "ready"),
    ),
    _mutant(
        "rewards are credited to the newest policy",
        "steps.update_controller:update_controller",
        ("policies[summary.policy_version], finished)", "head.state, finished)"),
    ),
    _mutant(
        "the controller learns from children that were stopped",
        "steps.update_controller:_experience",
        ("None if finished and child.result.stopped else child.result.reward", "child.result.reward"),
    ),
    _mutant(
        "suggestions are taken for the controller's own",
        "steps.update_controller:_experience",
        ("for child, reward in told if not child.suggested]", "for child, reward in told]"),
    ),
    # plans
    _mutant(
        "one round more than the budget",
        "steps.sample_architecture:find_work",
        ("min(last, version.low_mark + loop.window)", "min(last + 1, version.low_mark + loop.window)"),
    ),
    _mutant(
        "a plan is written over another",
        "state.facts:Facts.create_plan",
        ("created = self.bucket.create(self._plan_key(plan.round), plan.to_bytes())",
         "self.bucket.put(self._plan_key(plan.round), plan.to_bytes()); created = 'won'"),
    ),
    _mutant(
        "seeds are drawn anew",
        "steps.sample_architecture:_propose",
        ('"child", number, i)', '"child", number, i, id(head) % 1000)'),
    ),
    _mutant(
        "the search ends a round too early",
        "steps.sample_architecture:find_work",
        ("if version.rounds >= ledger.rounds:", "if version.rounds >= ledger.rounds - 1:"),
    ),
    _mutant(
        "a suggestion is taken up twice",
        "steps.sample_architecture:_propose",
        ("suggestions=taken + len(suggested)", "suggestions=taken"),
    ),
    # marks
    _mutant(
        "an update does not look whether the search has ended meanwhile",
        "steps.update_controller:update_controller",
        ("renew(ledger)", "pass"),
    ),
    _mutant("a pause is not seen", "state.marks:renew", ("ledger.record.paused is None", "True")),
    _mutant(
        "the rounds of a search that was stopped are counted before it is marked",
        "state.marks:end",
        ("made = amend(", "mark = mark.model_copy(update={'rounds': ledger.first_free_round()}); made = amend("),
    ),
    # results
    _mutant(
        "a result is written over another",
        "state.facts:Facts.create_result",
        ('self.bucket.create(self.key(f"results/{child}.json"), result.to_bytes()) is not None',
         'self.bucket.put(self.key(f"results/{child}.json"), result.to_bytes()) is None'),
    ),
    _mutant(
        "a summary before all results",
        "steps.evaluate:summarise",
        ("    if len(results) < len(names):\n        return {}\n", ""),
        ("ledger.finished_children(plan.round).issuperset(unknown)", "ledger.finished_children(plan.round)"),
        ("for name, child in zip(names, plan.children, strict=True)",
         "for name, child in zip(names, plan.children, strict=True) if name in results"),
    ),
    # leases
    _mutant("a lease never ends", "state.leases:Observer._unchanged_too_long", ("now - since >=", "now - since < 0 >")),
    _mutant(
        "a lease never ends once its child is trained",
        "state.leases:Observer._unchanged_too_long",
        ("return now - since", "return child not in self.ledger.trained_children(int(child[:6])) and now - since"),
    ),
    _mutant(
        "a lease ends at once",
        "state.leases:Observer._unchanged_too_long",
        ("now - since >=", "1e9 + now - since >="),
    ),
    _mutant(
        "the time in which an observer stood still is one without a sign",
        "state.leases:Observer._unchanged_too_long",
        ("return now - since", "return self.clock() - since"),
    ),
    _mutant(
        "a sign of life is not seen",
        "state.leases:Observer._unchanged_too_long",
        ('(lease_etag, checkpoint.etag if checkpoint else "")', '("", "")'),
    ),
    _mutant(
        "a child is taken from a process that trains it",
        "state.leases:_is_open_to",
        ("lease.owner.task == owner.task", "lease.owner.task != 'nobody'"),
    ),
    _mutant(
        "the result is not looked for again after claiming",
        "state.leases:hold",
        ("None if mine is None or ledger.result(child) is not None else mine", "mine"),
    ),
    _mutant(
        "a zombie's checkpoint is accepted",
        "state.leases:Keeper._save",
        ("etag = bucket.replace(key, data, held.checkpoint_etag) if held.checkpoint_etag else bucket.create(key, data)",
         "bucket.put(key, data); etag = 'won'"),
    ),
    _mutant(
        "a child that is taken over begins anew",
        "state.leases:_take_over",
        ("checkpoint and checkpoint.data, checkpoint and checkpoint.etag", "None, checkpoint and checkpoint.etag"),
    ),
    _mutant(
        "progress does not count",
        "state.leases:_progress",
        ("0 if start > lease.start else lease.fruitless", "lease.fruitless"),
    ),
    _mutant(
        "a child that kills its process is never given up",
        "state.leases:_progress",
        ("0 if start > lease.start else lease.fruitless", "0"),
    ),
    _mutant(
        "a lost child is punished where it should count for nothing",
        "state.leases:lost_result",
        ('None if failures.lost == "neutral" else failures.reward', "failures.reward"),
    ),
    # what is left
    _mutant(
        "the winner's weights are deleted",
        "state.ledger:Ledger._tidy",
        ("sorted(displaced.union(children) - kept)", "sorted(displaced.union(children))"),
    ),
    _mutant("nothing is swept up", "state.garbage:collect_garbage", ("    bucket.delete(keys)", "    pass")),
    _mutant(
        "what a running round needs is swept up",
        "state.garbage:_Unneeded.__call__",
        ("number < self._version.low_mark or", "number <= self._version.low_mark or"),
    ),
    # the winner
    _mutant(
        "two runs take one winner two ways",
        "steps.finalize:plan_grid",
        ("number = len(known)", "number = sum(1 for _ in finals(ledger))"),
    ),
    _mutant(
        "several read the test data",
        "steps.finalize:_hold_test",
        ("if observer.is_free(name) and", "if True and"),
        ("hold(ledger, name, task)", "hold(ledger, name + task[-8:], task)"),
    ),
)  # fmt: skip
