"""Run schedules: `python -m simulation --schedules N`."""

import argparse
import sys
import time
from collections import Counter

import simulation
from simulation.schedules import Draw, play, reference


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    total: Counter[str] = Counter()
    start, bad = simulation.REAL_TIME(), 0
    for seed in range(chosen.first, chosen.first + chosen.schedules):
        outcome = play(seed)
        total.update(outcome.counts)
        draw = Draw(seed)
        broken = outcome.broken
        if not broken and draw.synchronous and draw.patient and not draw.suggestions and outcome.chain != reference(seed):
            broken = "controllers differ from those of an undisturbed search"
        if broken:
            bad += 1
            print(seed, broken[:300], flush=True)
    print(dict(total), bad, f"{simulation.REAL_TIME() - start:.1f} s")


if __name__ == "__main__":
    main()
