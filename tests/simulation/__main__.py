"""Play schedules of the product's own code, and say whether every promise was kept.

python -m simulation [--schedules N] [--first SEED]   so many schedules
python -m simulation --replay SEED                    one again, made as short as it can be, with its log
python -m simulation --mutants                        plant faults, one after another: each must be found
python -m simulation --large                          12,800 children by 64 workers
"""

import argparse
import os
import sys
from collections import Counter
from itertools import islice

if os.environ.get("PYTHONHASHSEED") != "0":  # a set of names has an order then, in every process the same
    os.execve(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]], os.environ | {"PYTHONHASHSEED": "0"})

import simulation
from simulation.campaign import hunt, run, shortest, total
from simulation.large import large
from simulation.schedules import play, verdict

PIECE = 5000
KILLS, ZOMBIES = ("kill", "kill-after", "kill-in-flight", "kill-node"), ("freeze", "freeze-after")


def main() -> int:
    """Return 0 if every promise was kept, or every fault found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--schedules", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=int, metavar="SEED")
    parser.add_argument("--mutants", action="store_true")
    parser.add_argument("--large", action="store_true")
    chosen = parser.parse_args()
    if chosen.replay is not None:
        return _replay(chosen.replay)
    if chosen.mutants:
        return _mutants(chosen.schedules, chosen.processes)
    return large() if chosen.large else _simulate(chosen.first, chosen.schedules, chosen.processes)


def _simulate(first: int, schedules: int, processes: int) -> int:
    start, done, counts = simulation.REAL_MONOTONIC(), 0, Counter[str]()
    outcomes = run(iter(range(first, first + schedules)), processes)
    while done < schedules:
        number, more, broken = total(islice(outcomes, PIECE))
        done, counts = done + number, counts + more
        seconds = simulation.REAL_MONOTONIC() - start
        operations = sum(counts[method] for method in ("GET", "PUT", "LIST", "DELETE"))
        print(
            f"{done:,} schedules, {operations:,} operations, {sum(counts[k] for k in KILLS):,} kills,"
            f" {sum(counts[k] for k in ZOMBIES):,} zombies, {counts['overlap']:,} overlaps,"
            f" {counts['lost'] + counts['cut']:,} lost answers, {len(broken)} violations;"
            f" {done / seconds * 3600:,.0f} schedules an hour",
            flush=True,
        )
        if broken:
            outcomes.close()
            for outcome in broken:
                print(f"seed {outcome.seed}: {outcome.broken}")
            return _replay(min(broken, key=lambda outcome: len(outcome.disturbances)).seed)
    return 0


def _replay(seed: int) -> int:
    outcome = play(seed)
    if broken := verdict(seed, outcome):
        outcome = shortest(outcome)
        print(*outcome.log, sep="\n")
        print(f"seed {seed}: {outcome.broken or broken}")
        print(*(f"  {disturbance}" for disturbance in outcome.disturbances), sep="\n")
        return 1
    print(f"seed {seed}: every promise was kept")
    return 0


def _mutants(schedules: int, processes: int) -> int:
    found = number = 0
    for mutant, outcome in hunt(schedules, processes):
        number, found = number + 1, found + (outcome is not None)
        said = f"found by schedule {outcome.seed + 1}: {outcome.broken[:100]}" if outcome else "NOT FOUND"
        print(f"{mutant.name}: {said}", flush=True)
    print(f"mutation score: {found} of {number}")
    return found < number


if __name__ == "__main__":
    sys.exit(main())
