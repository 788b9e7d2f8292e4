"""Evaluate trained children on validation data; children in training are scored on it at their rungs only."""

import math
from collections.abc import Collection, Mapping
from functools import partial
from types import MappingProxyType

from rlnas.children import Trainer
from rlnas.datasets import Validation
from rlnas.errors import ChildFailure
from rlnas.spec import LARGEST_REWARD
from rlnas.state import (
    Bucket,
    Ledger,
    Plan,
    PlannedChild,
    Result,
    SearchRecord,
    StoreSettings,
    Summary,
    child_id,
    hold_to_score,
)
from rlnas.state.records import FinishedChild
from rlnas.steps.common import Batch, architecture_of, opener, trainer_of
from rlnas.steps.processes import children_at_once, device, ends_well_if_told_to_stop, run_in_processes, settle
from rlnas.steps.train_child import failed_result
from rlnas.tensors import read_document


def evaluate(ledger: Ledger, batch: Batch) -> dict[str, Result]:
    """Score the trained children of a batch, and sum the round up if it is complete.

    Args:
        ledger: of the search.
        batch: the children.

    Returns:
        The batch's results by child; fewer than children if some are still being trained, or if it was told to stop.

    Raises:
        StoreError: the store failed; nothing finished is lost.
    """
    plan = _plan_of(ledger, batch)
    if plan is None:
        return {}
    trained = ledger.trained_children(batch.round) - ledger.finished_children(batch.round)
    known = _score_and_sum_up(ledger, plan, [name for name in batch.names if name in trained])
    return {name: result for name in batch.names if (result := known.get(name) or ledger.result(name)) is not None}


def evaluate_own(ledger: Ledger, batch: Batch, task: str, trained: Collection[str]) -> None:
    """Do as `evaluate` where whoever trains a child scores it: leave those of others to them while they live.

    Args:
        ledger: of the search.
        batch: the children.
        task: who asks, as of `train_child`.
        trained: those that it has just trained.
    """
    plan = _plan_of(ledger, batch)
    if plan is None:
        return
    todo = [name for name in batch.names if name in trained]
    if len(todo) < len(batch.names):
        others = ledger.trained_children(batch.round) - ledger.finished_children(batch.round) - set(trained)
        todo += [name for name in batch.names if name in others and hold_to_score(ledger, name, task)]
    _score_and_sum_up(ledger, plan, todo)


def _plan_of(ledger: Ledger, batch: Batch) -> Plan | None:
    """Return the plan of a batch; None: there is nothing to score, since validation data says nothing of its models."""
    plan = ledger.plan(batch.round) if batch.children else None
    return plan if plan and plan.data == "train" else None


def _score_and_sum_up(ledger: Ledger, plan: Plan, todo: list[str]) -> dict[str, Result]:
    """Score children; return the results that are known now."""
    scored: dict[str, Result] = {}
    if todo:
        with ends_well_if_told_to_stop():
            scored = _score(ledger, plan, todo)
    return summarise(ledger, plan, scored) or scored


def summarise(ledger: Ledger, plan: Plan, known: Mapping[str, Result] = MappingProxyType({})) -> dict[str, Result]:
    """Sum a round up if all its children have ended.

    Args:
        ledger: of the search.
        plan: of the round.
        known: results that need not be read, by child.

    Returns:
        The results by child; empty if some have not.
    """
    names = [child_id(plan.round, i) for i in range(len(plan.children))]
    unknown = [name for name in names if name not in known]
    if unknown and not ledger.finished_children(plan.round).issuperset(unknown):
        return {}
    results = {name: result for name in names if (result := known.get(name) or ledger.result(name)) is not None}
    if len(results) < len(names):
        return {}
    children = tuple(
        FinishedChild(**child.model_dump(), result=results[name])
        for name, child in zip(names, plan.children, strict=True)
    )
    ledger.create_summary(
        Summary(round=plan.round, policy_version=plan.policy_version, samples=plan.samples, children=children)
    )
    return results


def _score(ledger: Ledger, plan: Plan, todo: list[str]) -> dict[str, Result]:
    """Score children; return the results that are recorded, as far as they are known without reading them."""
    import torch

    torch.set_num_threads(1)  # the same sums on every machine
    on = device()
    spec = ledger.spec
    data = spec.dataset.validation(opener(ledger.bucket))
    planned = {child_id(plan.round, i): child for i, child in enumerate(plan.children)}
    trainers = {name: trainer_of(ledger, on, planned[name].recipe) for name in todo}

    at_once = children_at_once(spec.child, on)
    work = partial(_evaluate_in_process, ledger.bucket.settings, ledger.record, trainers, data, planned, at_once)
    ended = run_in_processes(work, todo, at_once, spec.failures.attempts)
    for child in ended.died:
        failure = ChildFailure("out_of_memory", "the process that evaluated it was killed every time")
        ledger.create_result(child, failed_result(ledger, failure, 0.0))
    return {child: result for child, result in ended.said.items() if result is not None}


def _evaluate_in_process(
    settings: StoreSettings,
    record: SearchRecord,
    trainers: dict[str, Trainer],
    data: Validation,
    planned: dict[str, PlannedChild],
    at_once: int,
    child: str,
) -> Result | None:
    settle(trainers[child], at_once)
    ledger = Ledger(Bucket(settings), record)  # connections are not shared between processes
    return evaluate_one(ledger, trainers[child], data, child, planned[child])


def evaluate_one(
    ledger: Ledger, trainer: Trainer, data: Validation, child: str, planned: PlannedChild
) -> Result | None:
    """Score a child's snapshots and record its result; return it, or None if somebody else had recorded one."""
    from rlnas.children.training import child_failures

    snapshots = ledger.snapshots(child)
    if snapshots is None:
        return None
    trained = read_document(snapshots)
    try:
        with child_failures():
            evaluation = trainer.evaluate(architecture_of(ledger, planned, trainer), snapshots, data)
            numbers = [evaluation.reward, *evaluation.history, *evaluation.metrics.values()]
            if not all(math.isfinite(number) for number in numbers):
                raise ChildFailure("not_finite", f"its reward or a score is not finite: {numbers[:8]}")
            measures = trained.get("measures", {})
            if abs(reward := ledger.spec.objective.weigh(evaluation.reward, measures)) > LARGEST_REWARD:
                allowed = f"at most {LARGEST_REWARD:,.0f} either way"
                raise ChildFailure("error", f"its reward is {reward:.3g}; allowed: {allowed}")
            result = Result(
                status="ok",
                reward=reward,
                history=evaluation.history,
                metrics={**measures, **evaluation.metrics},
                seconds=trained.get("seconds", 0.0),
                attempts=trained["attempts"],
                rungs=dict(trained.get("rungs", ())),
                stopped=trained.get("stopped"),
                device=trained.get("device", ""),
                precision=trained.get("precision", ""),
            )
    except ChildFailure as failure:
        result, line = failed_result(ledger, failure, trained.get("seconds", 0.0)), f"failed: {failure}"
    else:
        stopped = f", stopped after epoch {result.stopped}" if result.stopped else ""
        line = f"reward {result.reward:.4f}{stopped}"
    created = ledger.create_result(child, result)
    print(f"child {child}: {line}", flush=True)
    return result if created else None
