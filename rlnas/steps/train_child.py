"""Train the children of a batch that nobody has trained yet."""

import signal
import time
from functools import partial
from types import FrameType
from typing import Any

from rlnas.children import Interrupted, Trainer
from rlnas.datasets import Train, join
from rlnas.errors import ChildFailure
from rlnas.state import (
    Bucket,
    Claim,
    Keeper,
    Ledger,
    Plan,
    PlannedChild,
    Result,
    SearchRecord,
    StoreSettings,
    Watch,
    claim,
    parse_child_id,
    paused_line,
    suspects,
    this_process,
)
from rlnas.steps.common import Batch, architecture_of, opener, trainer_of
from rlnas.steps.processes import children_at_once, device, ends_well_if_told_to_stop, run_in_processes, settle
from rlnas.steps.rungs import Rungs
from rlnas.tensors import add_to_document


def train_child(ledger: Ledger, batch: Batch, task: str) -> set[str]:
    """Train a batch, as many children at once as cores or GPU memory allow, and store their snapshots.

    A child that fails by itself gets its result here; one that is killed is taken up again from its checkpoint, by
    this call or a later one. Where memory is short the kernel may kill the whole pod: the children whose attempts ended
    without progress are trained one at a time then, so that the one that needs too much is lost alone. Where the search
    is paused, those in training are given back, and no other is begun.

    Args:
        ledger: of the search.
        batch: the children.
        task: who asks: equal for two attempts of one task, different for any two tasks.

    Returns:
        The children whose training came to its end here, and well: their snapshots are stored.

    Raises:
        StoreError: the store failed; nothing finished is lost.
    """
    plan = ledger.plan(batch.round) if batch.children else None
    if plan is None:
        return set()
    begun = ledger.claimed_children(batch.round)
    done: set[str] = set()
    if not begun.isdisjoint(batch.names):  # what nobody has begun has not ended
        done = ledger.finished_children(batch.round) | ledger.trained_children(batch.round)
    todo = [name for name in batch.names if name not in done]
    if ledger.record.paused:
        print(paused_line(ledger), flush=True)
        todo = []
    trained: set[str] = set()
    if todo:
        with ends_well_if_told_to_stop():
            trained = _train(ledger, batch, plan, todo, begun, task)
    return trained


def _train(ledger: Ledger, batch: Batch, plan: Plan, todo: list[str], begun: set[str], task: str) -> set[str]:
    import torch

    watch = Watch(ledger)  # from here on: to read the data may take long
    torch.set_num_threads(1)  # one thread a child: faster side by side, and the same sums on every machine
    on = device()
    spec, files = ledger.spec, opener(ledger.bucket)
    data = spec.dataset.train(files)
    if plan.data == "train_and_validation":
        data = join(data, spec.dataset.validation(files))
    rungs = Rungs(plan.bars, spec.dataset.validation(files)) if plan.bars else None
    planned = dict(zip(batch.names, (plan.children[i] for i in batch.children), strict=True))
    trainers = {name: trainer_of(ledger, on, child.recipe) for name, child in planned.items()}

    at_once = children_at_once(spec.child, on)
    here = this_process()
    work = partial(
        _train_in_process, ledger.bucket.settings, ledger.record, trainers, data, rungs, planned, at_once, task, here
    )
    alone = suspects(ledger, [name for name in todo if name in begun])
    ended = run_in_processes(work, todo, at_once, spec.failures.attempts + 1, alone, lambda: not watch.halt)
    return {child for child, trained in ended.said.items() if trained}


def _train_in_process(
    settings: StoreSettings,
    record: SearchRecord,
    trainers: dict[str, Trainer],
    data: Train,
    rungs: Rungs | None,
    planned: dict[str, PlannedChild],
    at_once: int,
    task: str,
    leader: int,
    child: str,
) -> bool:
    settle(trainers[child], at_once)
    ledger = Ledger(Bucket(settings), record)  # connections are not shared between processes
    return train_one(ledger, trainers[child], data, child, planned[child], task, leader, rungs)


def train_one(
    ledger: Ledger,
    trainer: Trainer,
    data: Train,
    child: str,
    planned: PlannedChild,
    task: str,
    leader: int,
    rungs: Rungs | None = None,
) -> bool:
    """Claim a child, train it and store its snapshots, or its failure; return whether there are snapshots now."""
    from rlnas.children.precision import device_class
    from rlnas.children.training import child_failures

    stopping = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    held = claim(ledger, child, task, leader)
    if held is None:
        return False
    start = time.monotonic()
    print(f"child {child}: attempt {held.lease.attempt}, from epoch {held.lease.start[0]}", flush=True)
    try:
        with child_failures():
            architecture = architecture_of(ledger, planned, trainer)
            measures = _measures(ledger, trainer, architecture, child)
            weigh = partial(ledger.spec.objective.weigh, measures=measures)
            judge = rungs.judge(trainer, architecture, weigh) if rungs else None
            keeper = Keeper(ledger, held, lambda: stopping, judge=judge)
            snapshots = trainer.train(architecture, data, planned.seed, held.checkpoint, keeper)
            on = device_class(trainer.device) if trainer.recipe.trains else ""
            precision = trainer.precision(architecture)
            snapshots = add_to_document(
                snapshots, attempts=held.lease.attempt, measures=measures, device=on, precision=precision
            )
    except ChildFailure as failure:
        print(f"child {child}: failed: {failure}", flush=True)
        ledger.create_result(child, failed_result(ledger, failure, time.monotonic() - start, held))
    except Interrupted as interruption:
        print(f"child {child}: interrupted: {interruption}", flush=True)
    else:
        ledger.create_snapshots(child, snapshots)
        print(f"child {child}: trained in {time.monotonic() - start:.1f} s", flush=True)
        return True
    return False


def _measures(ledger: Ledger, trainer: Trainer, architecture: Any, child: str) -> dict[str, float]:
    """Measure what the search's objective asks for.

    Raises:
        ChildFailure: the child is above a limit; a winner's trainings never are.
    """
    objective = ledger.spec.objective
    measures = trainer.measure(architecture, objective.measures) if objective.measures else {}
    of_the_search = parse_child_id(child)[0] < ledger.finals_from
    if of_the_search and (excess := objective.excess(measures)):
        raise ChildFailure("over_limit", excess)
    return measures


def failed_result(ledger: Ledger, failure: ChildFailure, seconds: float, held: Claim | None = None) -> Result:
    """Say why a child failed; its reward is the spec's for failures."""
    return Result(
        status="failed",
        reward=ledger.spec.failures.reward,
        reason=failure.reason,
        detail=failure.detail,
        seconds=round(seconds, 3),
        attempts=held.lease.attempt if held else 1,
    )
