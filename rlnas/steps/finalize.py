"""From the winner to a tested model: a grid of recipes, the last training, and the one test.

The only module that opens test data. Each function is a task of its own; between them the children go through
*train-child* and *evaluate* like all children. Called for a winner that is tested already, they have nothing to do.
"""

import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from rlnas.datasets import Validation
from rlnas.errors import ChildFailure, StoreError, UserError
from rlnas.seeds import derive_seed
from rlnas.software import versions
from rlnas.spec import check_references
from rlnas.state import Claim, Final, FinalModel, FinalRecord, Ledger, Observer, Plan, PlannedChild, child_id, finals
from rlnas.state.finals import ways_of
from rlnas.state.leases import hold, release, show_life
from rlnas.state.records import FinishedChild, parse_child_id
from rlnas.steps.common import (
    NOTHING_TO_DO,
    POLL_SECONDS,
    Batch,
    architecture_of,
    batches,
    may_begin,
    opener,
    trainer_of,
)
from rlnas.steps.data import check_data
from rlnas.steps.processes import device

TEST = 999
"""The place in the round of the last trainings whose lease is that of the test; there are not so many trainings."""


def is_over(ledger: Ledger) -> bool:
    """Whether a search needs no more turns of the loop once its budget is reached."""
    version = ledger.version()
    if ledger.spec.final is None:
        return True
    if version.rounds < ledger.rounds:
        return False
    final = find_final(ledger) if version.leaders else None
    return not version.leaders or bool(final and final.record)


def plan_final(ledger: Ledger, sleep: Callable[[float], None] = time.sleep) -> list[Batch]:
    """Return what is next for the best child of a search whose budget is reached: its grid, or its last training.

    Returns:
        Batches of children to train and evaluate; one empty batch if there are none, or the search is paused.
    """
    if not may_begin(ledger) or is_over(ledger) or ledger.version().rounds < ledger.rounds:
        return [NOTHING_TO_DO]
    final = find_final(ledger)
    begun = final is not None and ledger.summary(final.grid_round) is not None
    try:
        return plan_retraining(ledger, sleep=sleep) if begun else plan_grid(ledger, sleep=sleep)
    except UserError:
        if ledger.version().rounds >= ledger.rounds:
            raise
        return [NOTHING_TO_DO]  # the search was extended at this very moment


def awaits_test(ledger: Ledger) -> bool:
    """Whether all trainings of the best child of a search are done, and only its test and its export are left."""
    final = find_final(ledger)
    plan = ledger.plan(final.last_round) if final else None
    return plan is not None and has_ended(ledger, plan)


def has_ended(ledger: Ledger, plan: Plan) -> bool:
    """Whether no child of a plan is still to be trained."""
    ended = ledger.finished_children(plan.round) | ledger.trained_children(plan.round)
    return all(child_id(plan.round, i) in ended for i in range(len(plan.children)))


def winner_of(ledger: Ledger, child: str = "") -> str:
    """Return the full name of a child that can be finalized; empty: of the best child of a search at its budget.

    Raises:
        UserError: there is no such child.
    """
    return _winner(ledger, child)[0]


def find_final(ledger: Ledger, child: str = "") -> Final | None:
    """Return how far a winner is (empty: the search's best child), or None if its finalization has not begun."""
    if not child and ledger.version().rounds < ledger.rounds:
        return None  # the search was extended: its best child may be another one in the end
    tries = ways_of(_winner(ledger, child)[1].tokens, finals(ledger))
    return tries[-1] if tries else None


def plan_grid(
    ledger: Ledger, child: str = "", references: Sequence[str] = (), sleep: Callable[[float], None] = time.sleep
) -> list[Batch]:
    """Plan the grid of a winner, or take up what another run left of it.

    A winner that is named, and whose last training came to nothing, gets another try.

    Args:
        ledger: of the search.
        child: the winner; empty: the best child of a search whose budget is reached.
        references: models that go the same way; none: those of the spec that there can be for this winner.
        sleep: how to wait, in seconds, where others train what is left.

    Returns:
        Batches of children to train and evaluate; one empty batch if the search's winner is tested already, or the
        search is paused.

    Raises:
        UserError: there is no such child, it cannot be finalized so, or it was named and is tested already.
    """
    settings = ledger.spec.final
    if settings is None:
        raise UserError(f"search {ledger.name}: nothing is finalized; allowed: a spec with a finalize section")
    check_references(ledger.spec.child, references)
    if not may_begin(ledger):
        return [NOTHING_TO_DO]
    winner, planned, samples = _winner(ledger, child)
    known = list(finals(ledger))  # read once: another run may begin this very winner's way at any moment
    tries = ways_of(planned.tokens, known)
    record = tries[-1].record if tries else None
    if not tries or (child and record and not record.models[0].test):
        number = len(known)
        names = ["", *_possible(ledger, planned, references)]
        models = [(name, point) for name in names for point in settings.points]
        seed = derive_seed(ledger.spec.seed, "grid", winner, len(tries))
        ledger.refresh()  # an extension may just have moved these rounds out of the way of the search's own
        if not ledger.create_plan(_plan(Final(ledger, number).grid_round, samples, winner, planned, models, seed)):
            return plan_grid(ledger, child, references, sleep)  # another winner was named at this very moment
        tries, record = [*tries, Final(ledger, number)], None
    if record:
        if child:
            raise UserError(f"{_tested(ledger, record)}; a model is tested once")
        return [NOTHING_TO_DO]
    grid = tries[-1].grid
    assert grid is not None
    begun = list(dict.fromkeys(planned.reference for planned in grid.children))[1:]
    if references and begun != list(dict.fromkeys(references)):
        allowed = ", ".join(begun) or "none"
        raise UserError(f"references: {winner} is being finalized with others already; allowed: {allowed}")
    return _to_train(ledger, grid, sleep)


def plan_retraining(ledger: Ledger, child: str = "", sleep: Callable[[float], None] = time.sleep) -> list[Batch]:
    """Choose each candidate's recipe by validation data, and plan its last training.

    Returns:
        Batches of children to train; one empty batch if there are none, if others still train the grid, or if the
        search is paused.
    """
    if not may_begin(ledger):
        return [NOTHING_TO_DO]
    tries, settings = ways_of(_winner(ledger, child)[1].tokens, finals(ledger)), ledger.spec.final
    final = tries[-1] if tries else None
    if final is None or settings is None or final.record:
        return [NOTHING_TO_DO]
    if ledger.plan(final.last_round) is None:
        best = _best_of_grid(final)
        if best is None:
            print("other runs train a part of the grid; they, or the next run, go on from here", flush=True)
            return [NOTHING_TO_DO]
        grid, last = final.grid, settings.last(ledger.spec.child)
        assert grid is not None
        models = [(name, found.recipe | last) for name, found in best.items() if found.result.status == "ok"]
        if not models:
            return [NOTHING_TO_DO]
        seed = derive_seed(ledger.spec.seed, "last training", grid.winner, len(tries) - 1)
        plan = _plan(final.last_round, grid.samples, grid.winner, grid.children[0], models, seed)
        ledger.create_plan(plan.model_copy(update={"data": settings.data}))
    return _to_train(ledger, ledger.plan(final.last_round), sleep)


def final_test(ledger: Ledger, child: str = "", sleep: Callable[[float], None] = time.sleep) -> FinalRecord | None:
    """Open the test data, once, and score the winner and its reference models; unopened if there is no winner to test.

    Of several that want to test one winner, one does; the others wait for its record, or for its lease to expire.

    Args:
        ledger: of the search.
        child: the winner; empty: the search's best.
        sleep: how to wait, in seconds.

    Returns:
        The record, whoever made it; None if others still train the models, or the search is paused.

    Raises:
        UserError: the dataset has no test data, or the data has changed since the search began.
    """
    final = find_final(ledger, child)
    best = _best_of_grid(final) if final else None
    if final is None or best is None:
        return None
    if record := _recorded(ledger, final):
        return record
    if not may_begin(ledger):
        return None
    plan = ledger.plan(final.last_round)
    trained = {c.reference: (child_id(final.last_round, i), c) for i, c in enumerate(plan.children if plan else ())}
    if plan is None and any(found.result.status == "ok" for found in best.values()):
        return None
    with_weights = ledger.trained_children(final.last_round)
    if plan and not has_ended(ledger, plan):
        print("other runs train a part of the models; they, or the next run, test them", flush=True)
        return None
    held = _hold_test(ledger, final, sleep)
    if held is None:  # another one's record is there, or the search is paused
        return _recorded(ledger, final)
    try:
        data = None
        if "" in trained and trained[""][0] in with_weights:
            check_data(ledger)
            if not show_life(ledger, held):  # it stood still, and another one tests by now
                return None
            data = Validation(ledger.spec.dataset.open_test(opener(ledger.bucket), ledger.record_test_reading).content)
        models = []
        for reference, found in best.items():
            if reference in trained:
                show_life(ledger, held)
                models.append(_test(ledger, *trained[reference], found, data))
            else:
                models.append(
                    FinalModel(child="", reference=reference, recipe=found.recipe, reason=found.result.detail)
                )
        grid = final.grid
        assert grid is not None
        # Whatever is the search's best child by now: it may have been extended meanwhile.
        ledger.create_final(final.number, FinalRecord(winner=grid.winner, models=tuple(models), software=versions()))
    finally:  # also where the data has changed: once it is put right, nobody waits for the lease to expire
        with suppress(StoreError):
            release(ledger, held)
    return _recorded(ledger, final)


def _hold_test(ledger: Ledger, final: Final, sleep: Callable[[float], None]) -> Claim | None:
    """Take the right to read test data for a winner; None: it is tested by now, or the search is paused."""
    observer, name, task = Observer(ledger), child_id(final.last_round, TEST), f"test-{secrets.token_hex(8)}"
    told = False
    while final.record is None:
        if observer.is_free(name) and (held := hold(ledger, name, task)):
            if final.record is None:
                return held
            release(ledger, held)
            continue
        if not told:
            print("another run tests the winner: waiting for its record, or for its lease to expire", flush=True)
            told = True
        sleep(min(POLL_SECONDS, ledger.spec.failures.lease_seconds / 4))
        if not may_begin(ledger):
            return None
    return None


def _winner(ledger: Ledger, child: str) -> tuple[str, PlannedChild, int]:
    """Return the winner's name, its proposal, and the number of samples before its round."""
    if not child:
        version, rounds = ledger.version(), ledger.rounds
        if version.rounds < rounds:
            raise UserError(
                f"search {ledger.name} has {rounds - version.rounds} rounds left; allowed: a search that is complete,"
                " or a child's name"
            )
        if not version.leaders:
            raise UserError(f"search {ledger.name}: no child of it was scored, so there is no winner")
        child = version.leaders[0].child
    try:
        number, index = parse_child_id(child)
    except ValueError as error:
        raise UserError(f"child: {error}") from None
    plan = ledger.plan(number) if number < ledger.finals_from else None
    if plan is None or index >= len(plan.children):
        raise UserError(f"child: search {ledger.name} has proposed no child {child}")
    return child_id(number, index), plan.children[index], plan.samples


def _possible(ledger: Ledger, planned: PlannedChild, references: Sequence[str]) -> list[str]:
    """Return the reference models that go a winner's way: those named, or what there can be of the spec's.

    Raises:
        UserError: there is no such model for this winner.
    """
    assert ledger.spec.final is not None
    trainer, found = trainer_of(ledger, "cpu", planned.recipe), []
    for name in dict.fromkeys(references or ledger.spec.final.references):
        try:
            architecture_of(ledger, planned.model_copy(update={"reference": name}), trainer)
        except UserError as error:
            if references:
                raise
            print(f"{error}; it is left out", flush=True)  # the search's winner goes its way all the same
        else:
            found.append(name)
    return found


def _plan(
    number: int,
    samples: int,
    winner: str,
    planned: PlannedChild,
    models: Iterable[tuple[str, dict]],
    seed: int,
) -> Plan:
    children = tuple(
        planned.model_copy(update={"seed": derive_seed(seed, i), "reference": reference, "recipe": recipe})
        for i, (reference, recipe) in enumerate(models)
    )
    return Plan(round=number, policy_version=0, samples=samples, children=children, winner=winner)


def _to_train(ledger: Ledger, plan: Plan | None, sleep: Callable[[float], None]) -> list[Batch]:
    """Wait until there are children to take up, or none is being trained."""
    assert plan is not None
    observer = Observer(ledger)
    while True:
        free, busy = observer.look_through(plan)
        if free or not busy:
            return batches(plan.round, free or [0], ledger.spec.loop.children_per_batch)
        sleep(min(POLL_SECONDS, ledger.spec.failures.lease_seconds / 4))
        if not may_begin(ledger):
            return [NOTHING_TO_DO]


def _best_of_grid(final: Final) -> dict[str, FinishedChild] | None:
    """Return each candidate's best child on validation data (a failed one if all failed); None: not all have ended."""
    summary = final.ledger.summary(final.grid_round)
    if summary is None:
        return None
    objective, best = final.ledger.spec.objective, dict[str, FinishedChild]()

    def score(child: FinishedChild) -> float:
        """Without its measures, which are one architecture's; where they are timed, chance would choose."""
        assert child.result.reward is not None
        return objective.score(child.result.reward, child.result.metrics)

    for child in summary.children:
        first = best.setdefault(child.reference, child)
        if child.result.status == "ok" and (first.result.status != "ok" or score(child) > score(first)):
            best[child.reference] = child
    return best


def _test(
    ledger: Ledger, name: str, planned: PlannedChild, found: FinishedChild, data: Validation | None
) -> FinalModel:
    from rlnas.children.training import child_failures

    model = FinalModel(child=name, reference=planned.reference, recipe=planned.recipe, validation=found.result.metrics)
    snapshots = ledger.snapshots(name)
    if snapshots is None:
        result = ledger.result(name)
        return model.model_copy(update={"reason": f"{result.reason}: {result.detail}" if result else "lost"})
    if data is None:
        return model.model_copy(update={"reason": "there is no winner to compare it with"})
    trainer = trainer_of(ledger, device(), planned.recipe)
    try:
        with child_failures():
            metrics = trainer.evaluate(architecture_of(ledger, planned, trainer), snapshots, data).metrics
            if not all(math.isfinite(value) for value in metrics.values()):
                raise ChildFailure("not_finite", f"a score is not finite: {list(metrics.values())[:8]}")
    except ChildFailure as failure:
        return model.model_copy(update={"reason": str(failure)})
    return model.model_copy(update={"test": dict(metrics)})


def _tested(ledger: Ledger, record: FinalRecord) -> str:
    numbers = ", ".join(f"{name} {value:.6g}" for name, value in record.models[0].test.items())
    return f"child {record.winner} of search {ledger.name} was tested already: {numbers or record.models[0].reason}"


def _recorded(ledger: Ledger, final: Final) -> FinalRecord | None:
    """Return the record of a winner's test, if there is one; its maker may have been killed before it tidied up."""
    if record := final.record:
        _tidy(ledger, final)
    return record


def _tidy(ledger: Ledger, final: Final) -> None:
    """Delete what only the trainings needed; the weights that were tested stay."""
    grid, last = final.grid, ledger.plan(final.last_round)
    of_grid = [child_id(final.grid_round, i) for i in range(len(grid.children) if grid else 0)]
    of_last = [child_id(final.last_round, i) for i in range(len(last.children) if last else 0)]
    ledger.bucket.delete(
        [ledger.checkpoint_key(name) for name in of_grid + of_last] + [ledger.snapshot_key(name) for name in of_grid]
    )
