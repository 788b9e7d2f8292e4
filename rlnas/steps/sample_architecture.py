"""Sample architectures: plan the next round, take up what another run left behind, or go on with the winner."""

import time
from collections.abc import Callable, Iterator, Sequence

from rlnas.controller import Trial
from rlnas.seeds import derive_seed
from rlnas.state import Controller, Ledger, Observer, Plan, PlannedChild, Version, end_at_budget, ended_line
from rlnas.state.suggestions import read_suggestions
from rlnas.steps.common import NOTHING_TO_DO, POLL_SECONDS, Batch, batches, may_begin
from rlnas.steps.deserted import Deserted
from rlnas.steps.finalize import plan_final
from rlnas.steps.foresight import TrainersForesight
from rlnas.steps.rungs import bars
from rlnas.steps.suggest import most_suggested


def sample_architecture(ledger: Ledger, replica: int = 0, sleep: Callable[[float], None] = time.sleep) -> list[Batch]:
    """Propose a round of architectures by the newest controller.

    If the window is full, the first replica is given the children of its incomplete rounds that nobody trains; if all
    are being trained, it waits for one to end or its lease to expire. With the budget reached it is the winner's turn.

    Args:
        ledger: of the search.
        replica: which of the loops side by side asks; only the first tends what others left behind.
        sleep: how to wait, in seconds.

    Returns:
        Batches of children to train; one empty batch if there is nothing to do, or the search is paused.
    """
    observer = Observer(ledger)
    while (found := find_work(ledger, observer, replica)) == []:
        sleep(min(POLL_SECONDS, ledger.spec.failures.lease_seconds / 4))
    if found is not None:
        return found
    return plan_final(ledger, sleep) if replica == 0 else [NOTHING_TO_DO]


def find_work(
    ledger: Ledger,
    observer: Observer,
    replica: int = 0,
    until: int | None = None,
    planned_first: bool = False,
    deserted: Deserted | None = None,
    clock: Callable[[], float] = time.time,
) -> list[Batch] | None:
    """Plan the next round, or find what is left behind.

    Args:
        ledger: of the search.
        observer: of other tasks' leases, the same one for all questions of a process: it sees leases expire.
        replica: as of `sample_architecture`.
        until: no round from this number on is begun; None: all that there are.
        planned_first: a new round is planned only when nothing of an earlier one is free.
        deserted: a new round is planned only when this finds no batch that is left behind.
        clock: seconds since 1970.

    Returns:
        Batches of children to train; one empty batch if there is nothing to do before an update, or the search is
        paused; an empty list if others train all that is left of the window; None if the budget is reached.
    """
    if not may_begin(ledger):
        return [NOTHING_TO_DO]
    head = ledger.head()
    version = head.version
    if version.rounds < ledger.rounds and end_at_budget(ledger, clock):
        print(ended_line(ledger), flush=True)
    if version.rounds >= ledger.rounds:
        return None
    loop = ledger.spec.loop
    last = ledger.rounds if until is None else min(until, ledger.rounds)
    window = range(version.low_mark, min(last, version.low_mark + loop.window))
    planned = ledger.next_round()
    if deserted and (left := deserted.find(version, window, planned)):
        return left
    if planned_first:
        for plan, free, _ in _under_way(ledger, version, window, observer):
            if free:
                return batches(plan.round, free, loop.children_per_batch)
    if proposed := _propose(ledger, head, window, planned):
        return batches(proposed.round, list(range(len(proposed.children))), loop.children_per_batch)
    return _left_behind(ledger, version, window, observer) if replica == 0 else [NOTHING_TO_DO]


def _propose(ledger: Ledger, head: Controller, window: range, planned: int) -> Plan | None:
    """Plan the first round of the window that is free, or find that there is none; those below `planned` are not."""
    children_per_round, searcher = ledger.spec.loop.children_per_round, ledger.searcher
    number, history = max(planned, window.start), None
    while number < window.stop:
        samples = number * children_per_round
        seeds = [derive_seed(ledger.spec.seed, "child", number, i) for i in range(children_per_round)]
        taken, suggested = _suggested(ledger, number, seeds)
        own = seeds[len(suggested) :]
        looks_back = bool(own) and searcher.reads_history
        if history is None and (looks_back or ledger.rungs):
            history = ledger.history(head.version)
        known = _known(ledger, history or (), head.version, number, suggested) if looks_back else []
        foresight = searcher.foresight = TrainersForesight(ledger, known)
        proposals = searcher.propose(head.state, samples, own, known) if own else []
        proposed = [
            PlannedChild(
                tokens=made.tokens,
                log_probability=made.log_probability,
                seed=seed,
                by=made.by,
                tried=foresight.short_trials(made.tried),
            )
            for made, seed in zip(proposals, own, strict=True)
        ]
        children = [*suggested, *proposed]
        if searcher.foresees:
            children = [child.model_copy(update={"scores": foresight.scores(child.tokens)}) for child in children]
        plan = Plan(
            round=number,
            policy_version=head.version.version,
            samples=samples,
            children=tuple(children),
            suggestions=taken + len(suggested),
            bars=bars(ledger.spec.child, history or ()),
        )
        if ledger.create_plan(plan):
            return plan
        number = max(number + 1, ledger.next_round())  # somebody was first, and may be far ahead by now
    return None


def _known(
    ledger: Ledger, history: Sequence[Trial], version: Version, number: int, suggested: Sequence[PlannedChild]
) -> list[Trial]:
    """Return what a version has learned from, and what else is on its way to a reward before a round's own children."""
    waiting = list(suggested)
    for earlier in range(version.low_mark, number):
        if earlier not in version.extras and (plan := ledger.plan(earlier)):
            waiting += plan.children
    pending = [Trial(c.tokens, None, False, scores=c.scores, tried=c.losses) for c in waiting]
    return [*ledger.earlier.trials, *history, *pending]


def _suggested(ledger: Ledger, number: int, seeds: Sequence[int]) -> tuple[int, list[PlannedChild]]:
    """Return how many suggestions earlier rounds have taken, and the children that the next ones make of this round."""
    before = ledger.plan(number - 1) if number else None
    taken = before.suggestions if before else 0
    found = read_suggestions(ledger, taken, most_suggested(ledger.spec.loop, number))
    return taken, [
        PlannedChild(tokens=s.tokens, log_probability=None, seed=seed, by=s.by, suggested=True)
        for s, seed in zip(found, seeds, strict=False)
    ]


def _left_behind(ledger: Ledger, version: Version, window: range, observer: Observer) -> list[Batch]:
    """Find the first round of the window with children to train, or that is ready to be evaluated or applied."""
    planned = False
    for plan, free, busy in _under_way(ledger, version, window, observer):
        planned = True
        if free or not busy:  # none: only the summary is missing
            return batches(plan.round, free or [0], ledger.spec.loop.children_per_batch)
    return [] if planned else [NOTHING_TO_DO]  # an update is all that is missing


def _under_way(
    ledger: Ledger, version: Version, window: range, observer: Observer
) -> Iterator[tuple[Plan, list[int], bool]]:
    """Yield each planned round of the window that is not summed up, and what `look_through` says of it."""
    complete = {*version.extras, *ledger.complete_rounds(version.low_mark)}
    for number in window:
        if number not in complete and (plan := ledger.plan(number)):
            yield plan, *observer.look_through(plan)
