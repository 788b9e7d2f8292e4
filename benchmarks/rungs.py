"""What rungs save, and what they cost: `python -m benchmarks.rungs [SPACE ...] [--seeds N]`.

Runs whole searches by the product's own steps on a real store, each seed with and without rungs. Prints the seconds of
all children, and the reward of the winner, which is trained to the end in both. Only the pipeline is left out.

Spaces:
    digits: 48 children of examples/digits.yaml, 6 epochs, rungs after 1, 2 and 4, from each of which .4 go on.
    small: 48 children of examples/digits-small.yaml, 12 epochs, rungs after 1, 2, 4 and 8.
    text: 32 cells of examples/text-rnn-long.yaml, 6 epochs as in its grid, rungs after 1, 2 and 4.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.search_quality import PROCESSES, standard_error
from benchmarks.search_real import EXAMPLES
from rlnas import steps
from rlnas.spec import load_spec
from rlnas.state import Bucket, EmbeddedStore, StoreSettings

OUT = Path("build/rungs.json")
ROUND = 4  # children; the first round cannot be stopped


@dataclass(frozen=True)
class Space:
    """Where searches run: the example, its children, rungs, how many seeds, and what is otherwise in the recipe."""

    example: str
    children: int
    rungs: tuple[int, ...]
    seeds: int
    recipe: Mapping[str, float] = field(default_factory=dict)


SPACES = {
    "digits": Space("digits.yaml", 48, (1, 2, 4), 8, {"going_on": 0.4}),
    "small": Space("digits-small.yaml", 48, (1, 2, 4, 8), 8),
    "text": Space("text-rnn-long.yaml", 32, (1, 2, 4), 4, {"epochs": 6, "flat_epochs": 2, "decay": 2}),
}


def search(settings: StoreSettings, name: str, rungs: bool, seed: int) -> tuple[float, float, int]:
    """Run one search.

    Returns:
        The winner's reward, the seconds of all children, and their epochs.
    """
    space = SPACES[name]
    spec = load_spec(EXAMPLES / space.example)
    changes = {**space.recipe, "children_at_once": 1, "rungs": space.rungs if rungs else (), "precision": "float32"}
    loop = spec.loop.model_copy(update={"children": space.children, "children_per_round": ROUND})
    update = {"name": f"{name}-{seed}-{'rungs' if rungs else 'whole'}", "seed": seed, "loop": loop, "finalize": None}
    spec = spec.model_copy(update=update | {"child": spec.child.vary(changes)})
    ledger = steps.open_search(Bucket(settings), spec.name, spec)
    while ledger.version().rounds < loop.rounds:
        for batch in steps.sample_architecture(ledger):
            steps.train_child(ledger, batch, spec.name)
            steps.evaluate(ledger, batch)
        steps.update_controller(ledger)
    results = [child.result for summary in ledger.summaries() for child in summary.children]
    whole = [r.reward for r in results if r.status == "ok" and not r.stopped and r.reward is not None]
    return max(whole), sum(r.seconds for r in results), ledger.version().epochs


def main(arguments: Sequence[str]) -> None:
    """Run the searches."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spaces", nargs="*", help=f"some of {', '.join(SPACES)}; none: all")
    parser.add_argument("--seeds", type=int, help="searches of each kind, if fewer than usual")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.spaces) - set(SPACES):
        parser.error(f"unknown space {min(unknown)!r}; allowed: {', '.join(SPACES)}")
    OUT.parent.mkdir(exist_ok=True)
    entries = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder))
        try:
            for name in chosen.spaces or SPACES:
                entries = [entry for entry in entries if entry["space"] != name]
                seeds = min(chosen.seeds or SPACES[name].seeds, SPACES[name].seeds)
                entries.append(_compare(store.start(), name, seeds))
                OUT.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
        finally:
            store.stop()
    print(f"written: {OUT}")


def _quiet() -> None:
    """Keep what the steps print of every child from the table."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives


def _compare(settings: StoreSettings, name: str, seeds: int) -> dict[str, object]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context, initializer=_quiet) as pool:
        running = {
            (rungs, seed): pool.submit(search, settings, name, rungs, seed)
            for seed in range(seeds)
            for rungs in (False, True)
        }
        whole, stopped = (np.array([running[rungs, seed].result() for seed in range(seeds)]) for rungs in (False, True))
    part, error = stopped[:, 1].sum() / whole[:, 1].sum(), standard_error(whole[:, 0]) if seeds > 1 else 0.0
    print(
        f"{name}, {seeds} seeds of {SPACES[name].children} children in rounds of {ROUND}: with rungs {part:.0%} of the"
        f" seconds ({whole[:, 1].sum():.0f} s without) and {stopped[:, 2].sum() / whole[:, 2].sum():.0%} of the epochs;"
        f" winner's reward {stopped[:, 0].mean():.4f}, without rungs {whole[:, 0].mean():.4f} ± {error:.4f}",
        flush=True,
    )
    return {
        "space": name,
        "seeds": seeds,
        "part_of_seconds": float(part),
        "reward": float(stopped[:, 0].mean()),
        "reward_without": float(whole[:, 0].mean()),
        "se_without": error,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
