"""Ask for architectures and tell how good they are: for people who train elsewhere.

Asked children are planned, held and counted as all are, but nobody knows whether they are being trained: a process
that ends takes nothing along but its hold on them, and one that tells nothing for `failures.lease_seconds` loses it to
others that ask or train. The first result of a child stands, whoever tells it.
"""

import math
import secrets
from collections.abc import Mapping
from numbers import Real
from typing import Any

from rlnas.errors import UserError, one_line
from rlnas.spec import LARGEST_REWARD
from rlnas.state import Ledger, Observer, PlannedChild, Result, begin, child_id, hold, parse_child_id
from rlnas.steps.evaluate import summarise
from rlnas.steps.sample_architecture import find_work
from rlnas.steps.update_controller import update_controller

LONGEST_NAME = 60


def ask(ledger: Ledger, count: int, observer: Observer) -> dict[str, PlannedChild]:
    """Take up to `count` children that nobody trains.

    Args:
        ledger: of the search.
        count: how many.
        observer: of other tasks' leases, the same one for all questions of a process: it sees leases expire.

    Returns:
        What to train, by the child's name; fewer, or none, where the window of the search is full or its budget is
        reached: then tell results first. None, too, where the search is paused.

    Raises:
        UserError: `count` is no number of children.
    """
    if type(count) is not int or count < 1:
        raise UserError(f"count: {count!r} children; allowed: a whole number from 1 on")
    task = f"ask/{secrets.token_hex(8)}"  # of this question: threads of one process are two askers
    found: dict[str, PlannedChild] = {}
    applied = -1
    while len(found) < count and (batches := find_work(ledger, observer, planned_first=True)):
        taken, plan = len(found), ledger.plan(batches[0].round) if batches[0].children else None  # all of one round
        for batch in batches if plan else ():
            for index, name in zip(batch.children, batch.names, strict=True):
                if plan and len(found) < count and hold(ledger, name, task):
                    found[name] = plan.children[index]
        if len(found) > taken:
            continue
        # Whoever told the last result of a round may have been killed before it was summed up, or applied.
        if plan:
            summarise(ledger, plan)
        before, applied = applied, update_controller(ledger).rounds
        if applied == before:
            break
    return found


def tell(
    ledger: Ledger, child: str, reward: float | None, metrics: Mapping[str, float], failed: str = "", seconds: float = 0
) -> bool:
    """Record how a child ended, and let the controller learn from its round once all have.

    Args:
        ledger: of the search.
        child: its name, from `ask`.
        reward: what it earned, at most a million either way; None for a failure, which has the reward that the spec
            gives to failures. The objective of the spec is applied to it, as to all children: limits, then weights.
        metrics: further finite numbers; those that the objective is about must be among them.
        failed: why it failed.
        seconds: how long it was trained.

    Returns:
        Whether this is its result; False if it had one already.

    Raises:
        UserError: there is no such child, neither a finite reward nor a reason was given, or a metric is missing.
    """
    number, index = _parse(child)
    plan = ledger.plan(number) if number < ledger.finals_from else None
    if plan is None or index >= len(plan.children):
        raise UserError(f"child: search {ledger.name} has proposed no child {child}; allowed: what ask gave")
    if (reward is None) == (not failed):
        raise UserError(f"child {child}: a reward or the reason of a failure is needed; allowed: one of them")
    _check(child, reward, metrics, failed, seconds)
    objective, reason = ledger.spec.objective, "error" if failed else ""
    if reward is not None:
        for name in objective.measures:
            if name not in metrics:
                raise UserError(f"child {child}: the objective needs its {name}; allowed: a metric of that name")
            if metrics[name] <= 0:
                raise UserError(
                    f"child {child}: {name} is {metrics[name]:g}, and the objective needs it; allowed: above 0"
                )
        if excess := objective.excess(metrics):
            reason, failed = "over_limit", excess
    result = Result(
        status="failed" if failed else "ok",
        reward=ledger.spec.failures.reward if failed or reward is None else objective.weigh(reward, metrics),
        metrics=dict(metrics),
        reason=reason,
        detail=failed,
        seconds=seconds,
    )
    begin(ledger, child_id(number, index), f"tell/{secrets.token_hex(8)}")  # a person may tell of one never asked for
    accepted = ledger.create_result(child_id(number, index), result)
    summarise(ledger, plan)
    update_controller(ledger)
    return accepted


def _check(child: str, reward: float | None, metrics: Mapping[str, float], failed: str, seconds: float) -> None:
    """Refuse what a person, or a program, can tell wrongly."""
    largest = f"a number, at most {LARGEST_REWARD:,.0f} either way"
    if reward is not None and not (_is_number(reward) and abs(reward) <= LARGEST_REWARD):
        raise UserError(f"child {child}: reward {reward!r}; allowed: {largest}")
    if not isinstance(metrics, Mapping):
        raise UserError(f"child {child}: metrics {one_line(repr(metrics), 80)}; allowed: numbers by name")
    for name, value in metrics.items():
        if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= LONGEST_NAME):
            raise UserError(
                f"child {child}: metric {one_line(repr(name), 80)}; allowed: up to {LONGEST_NAME} printable characters"
            )
        if not _is_number(value):
            raise UserError(f"child {child}: {name} is {value!r}; allowed: a finite number")
    if not isinstance(failed, str):
        raise UserError(f"child {child}: failed is {failed!r}; allowed: the reason in words")
    if not (_is_number(seconds) and seconds >= 0):
        raise UserError(f"child {child}: seconds {seconds!r}; allowed: 0 or more")


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # 10**400
        return False


def _parse(child: str) -> tuple[int, int]:
    try:
        return parse_child_id(str(child))
    except ValueError as error:
        raise UserError(f"child: {error}") from None
