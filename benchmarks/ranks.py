"""Whether bfloat16 ranks children as float32 does: `python -m benchmarks.ranks [--children N]`.

Trains random children of examples/digits-small.yaml, limit or not: in float32, in float32 with other seeds, and in
bfloat16 with the first seeds. Kendall's tau of the first two says how well ranks are known at all.
"""

import argparse
import multiprocessing
import random
import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.search_quality import PROCESSES
from benchmarks.search_real import EXAMPLES
from rlnas.children import TRAINERS, SilentMonitor, Trainer
from rlnas.controller.moves import draw
from rlnas.datasets import open_local
from rlnas.registry import resolve
from rlnas.seeds import derive_seed
from rlnas.spec import SearchSpec, load_spec

EXAMPLE = EXAMPLES / "digits-small.yaml"
ARMS = {"float32": ("float32", 0), "float32, other seeds": ("float32", 1), "bfloat16": ("bfloat16", 0)}
RESAMPLES = 2000


def trainer_of(spec: SearchSpec, **changes: Any) -> Trainer:
    """Return what trains a spec's children on this CPU, with other values for some fields of the recipe."""
    recipe, shape = spec.child.vary(changes), spec.dataset.shape(open_local)
    return cast(Trainer, resolve(TRAINERS, recipe.kind, "rlnas.trainers")(recipe, shape, "cpu"))


def reward(task: tuple[str, int]) -> float:
    """Train the n-th random child in one of the ways of `ARMS`; returns its reward."""
    torch.set_num_threads(1)
    arm, number = task
    precision, seed = ARMS[arm]
    spec = load_spec(EXAMPLE)
    tokens, _ = draw(spec.space.decisions(0), random.Random(number))
    trainer = trainer_of(spec, precision=precision)
    architecture = spec.space.decode(tokens)
    data = spec.dataset.train(open_local)
    snapshots = trainer.train(architecture, data, derive_seed(number, seed), None, SilentMonitor())
    return trainer.evaluate(architecture, snapshots, spec.dataset.validation(open_local)).reward


def tau(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return Kendall's tau of two columns, and its standard error: the children drawn anew."""
    generator = np.random.default_rng(0)
    drawn = [generator.integers(0, len(first), len(first)) for _ in range(RESAMPLES)]
    return (
        float(kendalltau(first, second).statistic),
        float(np.nanstd([kendalltau(first[chosen], second[chosen]).statistic for chosen in drawn])),
    )


def main(arguments: Sequence[str]) -> None:
    """Print the rank correlations."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--children", type=int, default=48, help="random children, trained three times each")
    children = parser.parse_args(arguments).children
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        rewards = {arm: np.array(pool.map(reward, [(arm, n) for n in range(children)], chunksize=1)) for arm in ARMS}
    first, *others = ARMS
    for name, found in rewards.items():
        print(f"{name}: mean reward {found.mean():.4f}, best {found.max():.4f}")
    for other in others:
        value, error = tau(rewards[first], rewards[other])
        print(f"{children} children, {first} against {other}: Kendall's tau {value:.3f} ± {error:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
