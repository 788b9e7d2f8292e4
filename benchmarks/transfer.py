"""What an earlier search is worth: `python -m benchmarks.transfer [--seeds N]`, some minutes on one core.

The children of the new search are cells of NAS-Bench-201 with the test accuracy after 200 epochs for their reward. It
is over when one has `GOAL`, as 14 of the 15,625 have. Each earlier search was `guided`, too, and had 100 children whose
reward was the validation accuracy after 12 epochs: another split, and a training of a sixteenth of the price.

Rows:
    cold: begins with nothing.
    warm: begins with the earlier search.
    warm, its children alone: and with a fresh controller.
    permuted: the earlier objective read the edges of the cell in the opposite order, so it was another one.
    shuffled: the earlier rewards are dealt out anew, so they say nothing; the controller was trained on them as well.

Prints a table, and writes build/transfer.json. Needs the folder `nasbench201` below RLNAS_DATA.
"""

import argparse
import json
import multiprocessing
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.search_quality import (
    ARENAS,
    PROCESSES,
    Curves,
    Purse,
    nas_bench_201,
    paired_interval,
    play,
    standard_error,
)
from rlnas.controller import Experience, Trial
from rlnas.controller.guided import Guided
from rlnas.controller.settings import GuidedSettings
from rlnas.seeds import derive_seed
from rlnas.spaces import Tokens

OUT = Path("build/transfer.json")
GOAL = 94.2
CHILDREN, MOST = 100, 100
"""Of the earlier search, and of the new one; one that has not reached the goal by then counts as `MOST` + 1."""
ROWS = ("cold", "warm", "warm, its children alone", "permuted", "shuffled")

Paid = Sequence[tuple[Tokens, float]]


class Errand(Purse):
    """A purse that closes when a reward is good enough."""

    def buy(self, tokens: Tokens) -> float:
        """Return a reward and count it."""
        reward = super().buy(tokens)
        if reward >= GOAL:
            self.budget = len(self.paid)
        return reward


def guided() -> Guided:
    """Return the searcher, at its defaults."""
    return Guided(ARENAS[0].space, GuidedSettings(), ARENAS[0].shape)


def taught(paid: Paid, seed: int) -> Mapping[str, torch.Tensor]:
    """Return the controller of a search that had these children."""
    searcher = guided()
    start = state = searcher.initial(derive_seed("controller", seed))
    for number, (tokens, reward) in enumerate(paid):
        state, _ = searcher.learn(state, [Experience(number, [tokens], [reward], state)])
    return {name: state.tensors[name] for name in start.tensors}


def until_goal(earlier: Paid, controller: Mapping[str, torch.Tensor], seed: int) -> int:
    """Return how many children a search needs."""
    searcher, (_, long) = guided(), nas_bench_201()
    errand = Errand(long.__getitem__, MOST)
    trials = [Trial(tokens, reward, True, {}, searcher.space) for tokens, reward in earlier]
    play(searcher, errand, 1, seed, earlier=trials, controller=controller)
    return len(errand.paid) if errand.paid[-1][1] >= GOAL else MOST + 1


def run(seed: int) -> list[int]:
    """Return how many children the search of each row needs."""
    torch.set_num_threads(1)
    short, _ = nas_bench_201()
    purse, before = Purse(short.__getitem__, CHILDREN), derive_seed("earlier", seed)
    play(guided(), purse, 1, before)
    rewards = [reward for _, reward in purse.paid]
    random.Random(seed).shuffle(rewards)
    permuted = [(tokens[::-1], reward) for tokens, reward in purse.paid]
    shuffled = [(tokens, reward) for (tokens, _), reward in zip(purse.paid, rewards, strict=True)]
    return [
        until_goal((), {}, seed),
        until_goal(purse.paid, taught(purse.paid, before), seed),
        until_goal(purse.paid, {}, seed),
        until_goal(permuted, taught(permuted, before), seed),
        until_goal(shuffled, taught(shuffled, before), seed),
    ]


def needed_by(seeds: int) -> Curves:
    """Return how many children the search of each row needs, for each seed [S, R]."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        return np.array(pool.map(run, range(seeds), chunksize=1), dtype=float)


def main(arguments: Sequence[str]) -> None:
    """Run all rows with all seeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=48, help="searches of each row")
    seeds, start = parser.parse_args(arguments).seeds, time.monotonic()
    needed = needed_by(seeds)
    print(f"children until a reward of {GOAL}, {seeds} seeds; {MOST + 1}: not within {MOST}")
    print("| begins | median | mean ± standard error | in nine of ten | minus cold, mean |\n|---|---|---|---|---|")
    entries = []
    for name, column in zip(ROWS, needed.T, strict=True):
        median, mean, often = float(np.median(column)), float(column.mean()), float(np.quantile(column, 0.9))
        error = standard_error(column)
        gain = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*paired_interval(column, needed[:, 0])) if name != "cold" else ""
        print(f"| {name} | {median:.1f} | {mean:.1f} ± {error:.1f} | {often:.0f} | {gain} |")
        entry = {"begins": name, "median": median, "mean": round(mean, 2), "se": round(error, 2), "often": often}
        entries.append(entry | {"seeds": seeds, "needed": column.astype(int).tolist()})
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    print(f"written: {OUT}; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
