"""Play plans of chaos: `PYTHONPATH=tests python -m chaos --plans 60`. Exit status 1: there were violations."""

import argparse
import os
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from searches import FORK

from chaos.ground import Ground
from chaos.mutants import MUTANTS
from chaos.plans import draw
from chaos.play import Played, play
from rlnas.orphans import stop_with_parent

FOLDER = Path("build/chaos")


def main() -> int:
    """Play the plans that the command line asks for, and print what came of them."""
    parser = argparse.ArgumentParser(prog="python -m chaos")
    parser.add_argument("--plans", type=int, default=60, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the next ones follow")
    parser.add_argument("--lanes", type=int, default=2, help="side by side, each with a store of its own")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="", help="a fault to plant, which must be found")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.plans)
    begin, counts, done, bad = time.monotonic(), Counter[str](), 0, 0
    for played in play_all(seeds, arguments.lanes, arguments.mutant):
        counts += played.counts
        done += 1
        bad += bool(played.violations)
        print(f"plan {played.plan.seed}: {played.plan}: {played.seconds:.0f} s; {_words(played.counts)}", flush=True)
        for line in played.violations[:10]:
            print(f"  VIOLATION: {line}", flush=True)
    print(f"{done} of {len(seeds)} plans in {time.monotonic() - begin:.0f} s, {bad} with violations")
    print(_words(counts))
    return 1 if bad or done < len(seeds) else 0


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items()) if count)


def play_all(seeds: Sequence[int], lanes: int, mutant: str = "") -> Iterator[Played]:
    """Play the plans of these seeds, several at once, each lane of them on a ground of its own."""
    draw(0)  # writes the table that all share, and makes their children known
    taken, lanes_running = FORK.Value("q", 0), {}
    for _ in range(lanes):
        mine, its = FORK.Pipe(duplex=False)
        lanes_running[mine] = FORK.Process(target=_lane, args=(seeds, taken, mutant, its))
        lanes_running[mine].start()
        its.close()
    pipes = list(lanes_running)
    try:
        while pipes:
            for pipe in wait(pipes):
                try:
                    yield pipe.recv()  # type: ignore[union-attr]
                except EOFError:
                    pipes.remove(pipe)  # type: ignore[arg-type]
    finally:
        taken.value = len(seeds)  # who does not want more plans than these waits for those that are being played
        for process in lanes_running.values():
            process.join()


def _lane(seeds: Sequence[int], taken: Any, mutant: str, results: Connection) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left
    stop_with_parent(os.getppid())
    ground = Ground()
    if not ground.can_fill:
        print(f"no plan has a full disk: {ground.why_not}", flush=True)
    try:
        while (number := _next(taken)) < len(seeds):
            plan = draw(seed := seeds[number], ground.can_fill)
            folder = FOLDER / f"plan-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            try:
                played = play(plan, ground, folder, mutant)
            except Exception:
                played = Played(plan, violations=[f"the play itself failed: {traceback.format_exc()}"])
            results.send(played)
            if not played.violations:
                shutil.rmtree(folder)
    finally:
        ground.close()


def _next(taken: Any) -> int:
    with taken.get_lock():
        taken.value += 1
        return int(taken.value) - 1


if __name__ == "__main__":
    sys.exit(main())
