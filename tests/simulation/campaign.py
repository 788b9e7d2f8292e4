"""Many schedules, on all cores; and the shortest schedule that still breaks a promise."""

import multiprocessing
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import nullcontext

from simulation.mutants import MUTANTS, Mutant
from simulation.schedules import Outcome, play, verdict
from simulation.world import Disturbance

MOST_TRIES = 300
"""To make a schedule shorter."""


def run(seeds: Iterator[int], processes: int) -> Generator[Outcome]:
    """Play schedules, and yield those that broke a promise in full, of the others the counts.

    The processes live as long as there are seeds: what undisturbed searches come to is known in them by then.
    """
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(_judged, seeds, chunksize=8)


def _judged(
    seed: int, mutant: Mutant | None = None, only: frozenset[Disturbance] | None = None, log: bool = False
) -> Outcome:
    with mutant.planted() if mutant else nullcontext():
        outcome = play(seed, only, log)
    broken = verdict(seed, outcome)  # compared with what the code comes to as it is
    return Outcome(seed, broken, outcome.counts, outcome.disturbances if broken else (), (), outcome.log)


def shortest(outcome: Outcome, mutant: Mutant | None = None) -> Outcome:
    """Leave out disturbances as long as a promise is still broken, and play that with its log."""
    kept = list(outcome.disturbances)
    size, tries = max(1, len(kept) // 2), 0
    while kept and size and tries < MOST_TRIES:
        for start in range(0, len(kept), size):
            fewer = kept[:start] + kept[start + size :]
            tries += 1
            if _judged(outcome.seed, mutant, frozenset(fewer)).broken:
                kept = fewer
                break
        else:
            size //= 2
    return _judged(outcome.seed, mutant, frozenset(kept), log=True)


def hunt(schedules: int, processes: int) -> Iterator[tuple[Mutant, Outcome | None]]:
    """Plant each fault and play schedules until one breaks a promise; None: none did."""
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap(hunted, [(number, schedules) for number in range(len(MUTANTS))], chunksize=1)


def hunted(what: tuple[int, int]) -> tuple[Mutant, Outcome | None]:
    """Plant the fault of this number, and play so many schedules; see `hunt`."""
    number, schedules = what
    mutant = MUTANTS[number]
    outcomes = (_judged(seed, mutant) for seed in range(schedules))
    return mutant, next((outcome for outcome in outcomes if outcome.broken), None)


def total(outcomes: Iterator[Outcome], most_broken: int = 5) -> tuple[int, Counter[str], list[Outcome]]:
    """Add up outcomes, until so many schedules have broken a promise."""
    number, counts, broken = 0, Counter[str](), list[Outcome]()
    for outcome in outcomes:
        number += 1
        counts.update(outcome.counts)
        broken += [outcome] if outcome.broken else []
        if len(broken) >= most_broken:
            break
    return number, counts, broken
