"""Plan a run: how many turns of the loop it takes, or what each of its workers is to do."""

from rlnas.errors import UserError
from rlnas.state import Ledger
from rlnas.steps.common import may_begin
from rlnas.steps.finalize import is_over

LONGEST_WORK = 23 * 60 * 60
"""Seconds after which a worker must begin nothing new: its pod is ended after a day, see `pipelines/placement.py`."""


def plan_rounds(ledger: Ledger, rounds_per_run: int) -> int:
    """Count the turns of the loop that each replica takes in one run: a round each, and two for the winner.

    Args:
        ledger: of the search.
        rounds_per_run: so many over all replicas, rounded up so that each does the same number; 0: as many as are left.

    Returns:
        At least 1: a search that is over, or paused, has one turn with nothing to do.

    Raises:
        UserError: a negative number.
    """
    left = ledger.rounds - ledger.version().rounds
    rounds = _rounds(ledger, rounds_per_run)
    if not may_begin(ledger):
        return 1
    turns = -(-rounds // ledger.spec.loop.replicas)
    if not is_over(ledger) and left <= (rounds_per_run or left):
        turns += 2  # the winner's grid, and its last training
    return max(1, turns)


def plan_workers(ledger: Ledger, workers: int, rounds_per_run: int, seconds_per_run: int) -> list[dict[str, int]]:
    """Say what each worker of a run is to do.

    Args:
        ledger: of the search.
        workers: how many side by side.
        rounds_per_run: so many in all, rounded up to whole updates; 0: as many as are left.
        seconds_per_run: after so many, a worker begins nothing new.

    Returns:
        For each its number, `worker`, the round at which the run ends, `until`, and `seconds`.

    Raises:
        UserError: a number that cannot be.
    """
    if workers < 1:
        raise UserError(f"worker_count: {workers} is too few; allowed: 1 or more")
    if not 0 < seconds_per_run <= LONGEST_WORK:
        raise UserError(f"seconds_per_run: {seconds_per_run}; allowed: 1 to {LONGEST_WORK}, since a pod has a day")
    loop = ledger.spec.loop
    updates = -(-_rounds(ledger, rounds_per_run) // loop.rounds_per_update)
    until = min(ledger.rounds, ledger.version().rounds + updates * loop.rounds_per_update)
    if workers > (most := loop.window * loop.children_per_round):
        print(
            f"warning: {workers} workers share at most {most} children (loop.window x children_per_round)", flush=True
        )
    return [{"worker": number, "until": until, "seconds": seconds_per_run} for number in range(workers)]


def _rounds(ledger: Ledger, rounds_per_run: int) -> int:
    if rounds_per_run < 0:
        raise UserError(f"rounds_per_run: {rounds_per_run} is negative; allowed: 0 (all that are left) or more")
    left = ledger.rounds - ledger.version().rounds
    return min(left, rounds_per_run or left)
