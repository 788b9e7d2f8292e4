"""Ask for architectures and tell how good they are: for people who train elsewhere.

Asked children are planned, held and counted as all are: pods that work on the same search leave them alone while the
asking process lives, and the first result of a child stands, whoever told it.
"""

from collections.abc import Mapping

from rlnas.errors import UserError
from rlnas.state import Ledger, PlannedChild, Result, child_id, claim, parse_child_id
from rlnas.steps.evaluate import summarise
from rlnas.steps.sample_architecture import sample_architecture
from rlnas.steps.update_controller import update_controller


class _AllHeld(Exception):
    """Every child of the window is held by somebody."""


def ask(ledger: Ledger, count: int, task: str) -> dict[str, PlannedChild]:
    """Take up to `count` children that nobody trains.

    Args:
        ledger: of the search.
        count: how many.
        task: who asks; equal for all questions of one process, different for any two processes.

    Returns:
        What to train, by the child's name; fewer, or none, where the window of the search is full or its budget is
        reached: then tell results first.
    """
    found: dict[str, PlannedChild] = {}
    while len(found) < count and ledger.version().rounds < ledger.spec.loop.rounds:
        try:
            batches = sample_architecture(ledger, sleep=_give_up)
        except _AllHeld:
            break
        taken = len(found)
        for batch in batches:
            plan = ledger.plan(batch.round)
            for index, name in zip(batch.children, batch.names, strict=True):
                if plan is not None and len(found) < count and claim(ledger, name, task):
                    found[name] = plan.children[index]
        if len(found) == taken:  # nothing but what is trained and waits to be evaluated, or applied
            break
    return found


def tell(
    ledger: Ledger, child: str, reward: float | None, metrics: Mapping[str, float], failed: str = "", seconds: float = 0
) -> bool:
    """Record how a child ended, and let the controller learn from its round once all have.

    Args:
        ledger: of the search.
        child: its name, from `ask`.
        reward: what it earned, finite; None for a failure, which has the reward that the spec gives to failures. The
            objective of the spec is applied to it, as to all children: limits, then weights.
        metrics: further finite numbers; those that the objective is about must be among them.
        failed: why it failed.
        seconds: how long it was trained.

    Returns:
        Whether this is its result; False if it had one already.

    Raises:
        UserError: there is no such child, neither a finite reward nor a reason was given, or a metric is missing.
    """
    number, index = _parse(child)
    plan = ledger.plan(number) if number < ledger.spec.loop.rounds else None
    if plan is None or index >= len(plan.children):
        raise UserError(f"child: search {ledger.name} has proposed no child {child}; allowed: what ask gave")
    if (reward is None) == (not failed):
        raise UserError(f"child {child}: a reward or the reason of a failure is needed; allowed: one of them")
    objective, reason = ledger.spec.objective, "error" if failed else ""
    if reward is not None:
        if missing := [name for name in objective.measures if name not in metrics]:
            raise UserError(f"child {child}: the objective needs its {missing[0]}; allowed: a metric of that name")
        if excess := objective.excess(metrics):
            reason, failed = "over_limit", excess
        else:
            reward = objective.weigh(reward, metrics)
    try:
        result = Result(
            status="failed" if failed else "ok",
            reward=ledger.spec.failures.reward if failed else reward,
            metrics=dict(metrics),
            reason=reason,
            detail=failed,
            seconds=seconds,
        )
    except ValueError as error:
        raise UserError(f"child {child}: {' '.join(str(error).split())[:200]}; allowed: finite numbers") from None
    accepted = ledger.create_result(child_id(number, index), result)
    summarise(ledger, plan)
    update_controller(ledger)
    return accepted


def _parse(child: str) -> tuple[int, int]:
    try:
        return parse_child_id(child)
    except ValueError as error:
        raise UserError(f"child: {error}") from None


def _give_up(seconds: float) -> None:
    raise _AllHeld
