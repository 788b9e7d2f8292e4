"""What tells of a training to come: `python -m benchmarks.promise [--children N]`.

Trains random children of two examples to the end. After each epoch it asks what rungs would compare: the loss, or the
reward (`child.rungs_by`). Prints Kendall's tau of either with the rewards in the end.
"""

import argparse
import multiprocessing
import random
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.ranks import tau, trainer_of
from benchmarks.search_quality import PROCESSES
from benchmarks.search_real import EXAMPLES
from rlnas.children import SilentMonitor
from rlnas.controller.moves import draw
from rlnas.datasets import open_local
from rlnas.seeds import derive_seed
from rlnas.spec import load_spec

NAMES = ("digits.yaml", "digits-small.yaml")
BY = ("loss", "reward")


def promises(task: tuple[str, int]) -> tuple[list[list[float]], float]:
    """Train the n-th random child of an example; returns what it promises after each epoch, by `BY`, and its reward."""
    torch.set_num_threads(1)
    name, number = task
    spec, generator = load_spec(EXAMPLES / name), random.Random(number)
    data, validation = spec.dataset.train(open_local), spec.dataset.validation(open_local)
    trainers = [trainer_of(spec, precision="float32", rungs_by=by) for by in BY]
    found: list[list[float]] = []
    while True:
        architecture = spec.space.decode(draw(spec.space.decisions(0), generator)[0])
        if not spec.objective.excess(trainers[0].measure(architecture, spec.objective.measures)):
            break

    class Monitor(SilentMonitor):
        def rung(self, epoch: int, weights: Callable[[], bytes]) -> None:
            found.append([trainer.promise(architecture, weights(), validation) for trainer in trainers])

    snapshots = trainers[0].train(architecture, data, derive_seed(number, 0), None, Monitor())
    return found, trainers[0].evaluate(architecture, snapshots, validation).reward


def main(arguments: Sequence[str]) -> None:
    """Print the rank correlations."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--children", type=int, default=96, help="random children of each example")
    children = parser.parse_args(arguments).children
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for name in NAMES:
            found, rewards = zip(*pool.map(promises, [(name, n) for n in range(children)], chunksize=1), strict=True)
            of_epoch = np.array(found).transpose(1, 2, 0)
            print(f"{name}, {children} children: Kendall's tau with the reward in the end")
            for epoch, columns in enumerate(of_epoch, 1):
                taus = (tau(column, np.array(rewards)) for column in columns)
                words = ", ".join(
                    f"{by} {value:.2f} ± {error:.2f}" for by, (value, error) in zip(BY, taus, strict=True)
                )
                print(f"  after epoch {epoch}: {words}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
