"""How good searchers are where children are trained for real: `python -m benchmarks.search_real [SPACE ...]`.

Searchers, trainers and recipes are the product's own; the ledger and the pipeline are left out. What a searcher is
worth after so many children is the best reward so far. Prints a table with paired differences, and writes
build/search_real.json. Entries of spaces that are not run stay.

Spaces:
    digits: the networks of examples/digits-small.yaml, under its limit of parameters.
    text: the cells of examples/text-rnn.yaml, all of one size.

A child's seed is that of its architecture, so the same network always scores alike. What was trained is remembered
below build/search_real, for all searchers, and a benchmark that was stopped goes on; another recipe has a memory of
its own.
"""

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.search_quality import PROCESSES, Entrant, Purse, play, standard_error
from rlnas.children import TRAINERS, SilentMonitor
from rlnas.children.training import child_failures
from rlnas.controller import Foresight
from rlnas.datasets import open_local
from rlnas.errors import ChildFailure
from rlnas.registry import resolve
from rlnas.seeds import derive_seed
from rlnas.spaces import Space, Tokens
from rlnas.spec import SearchSpec, load_spec

OUT = Path("build/search_real.json")
MEMORY = Path("build/search_real")
EXAMPLES = Path(__file__).parents[1] / "examples"
BUDGETS, SEEDS = (16, 32, 48), 12
CONTROLS = (Entrant("evolution", "evolution"), Entrant("reinforce", "reinforce"), Entrant("random", "random"))
GUIDED, LARGEST = Entrant("guided", "guided"), Entrant("largest", "largest")
SPACES: dict[str, tuple[str, tuple[Entrant, ...]]] = {
    "digits": ("digits-small.yaml", (GUIDED, LARGEST, *CONTROLS)),
    "text": ("text-rnn.yaml", (GUIDED, *CONTROLS)),
}
"""By name: the spec, and who competes; the first is what the others are compared with."""

Curves = NDArray[np.float64]


class Children(Foresight):
    """The children of a spec, each trained once, and tried once.

    Args:
        spec: of the search; its searcher and its budget make no difference.
    """

    def __init__(self, spec: SearchSpec) -> None:
        # float32, so that what is remembered is the same on machines that are faster in other numbers.
        self.spec = spec = spec.model_copy(update={"child": spec.child.vary({"precision": "float32"})})
        self.shape = spec.dataset.shape(open_local)
        self.trainer = resolve(TRAINERS, spec.child.kind, "rlnas.trainers")(spec.child, self.shape, "cpu")
        parts = [part.model_dump(mode="json") for part in (spec.space, spec.dataset, spec.child)]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        self.folder = MEMORY / f"{spec.name}-{digest[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.spent = 0.0
        """What a search has cost so far, in trainings: children, and short trials."""

    @cached_property
    def _data(self) -> tuple[Any, Any]:
        return self.spec.dataset.train(open_local), self.spec.dataset.validation(open_local)

    def reward(self, tokens: Tokens) -> float:
        """Return the reward of an architecture; one above a limit is not trained, as in a search."""
        self.spent += 1
        objective, failed = self.spec.objective, self.spec.failures.reward
        measures: dict[str, float] = {}
        if objective.measures:
            measures = self.trainer.measure(self.spec.space.decode(tokens), objective.measures)
        if objective.excess(measures):
            return failed
        reward = self.trained(tokens)["reward"]
        return failed if reward is None else objective.weigh(reward, measures)

    def trained(self, tokens: Tokens) -> dict[str, Any]:
        """Return what became of a child, trained now unless it is remembered; its reward is None if it failed."""
        return self._remembered(tokens, "", self._train)

    def _train(self, tokens: Tokens) -> dict[str, Any]:
        entry: dict[str, Any] = {"reward": None}
        architecture, (train, validation) = self.spec.space.decode(tokens), self._data
        try:
            with child_failures():
                snapshots = self.trainer.train(architecture, train, derive_seed(*tokens), None, SilentMonitor())
                evaluation = self.trainer.evaluate(architecture, snapshots, validation)
            entry |= {"reward": evaluation.reward, "metrics": dict(evaluation.metrics)}
        except ChildFailure as failure:
            entry["reason"] = failure.reason
        return entry

    def scores(self, tokens: Tokens, space: Space | None = None) -> Mapping[str, float]:
        """Return what an untrained child shows."""
        return self.trainer.scores((space or self.spec.space).decode(tokens))

    def trial(self, tokens: Tokens) -> float:
        """Return the loss of a short trial; its seed is not that of the child's training."""
        self.spent += self.spec.child.trial
        return self._remembered(tokens, "trial-", self._try)["loss"]

    def _try(self, tokens: Tokens) -> dict[str, Any]:
        seed = derive_seed("trial", *tokens)
        return {"loss": self.trainer.trial(self.spec.space.decode(tokens), self._data[0], seed)}

    def _remembered(self, tokens: Tokens, prefix: str, make: Callable[[Tokens], dict[str, Any]]) -> dict[str, Any]:
        path = self.folder / f"{prefix}{hashlib.sha256(str(tokens).encode()).hexdigest()[:24]}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        start = time.process_time()
        entry = {"tokens": tokens, **make(tokens), "seconds": round(time.process_time() - start, 2)}
        written = path.with_suffix(f".{multiprocessing.current_process().pid}")  # two processes may train one child
        written.write_text(json.dumps(entry))
        written.replace(path)
        return entry


def run(task: tuple[str, Entrant, int]) -> list[float]:
    """Play one search; returns the best reward at the cost of so many trainings, 1 to the budget."""
    torch.set_num_threads(1)
    space, entrant, seed = task
    children = Children(load_spec(EXAMPLES / SPACES[space][0]))
    searcher = entrant.searcher(children.spec.space, children.shape)
    searcher.limit = dict[str, float](children.spec.objective.limit.items())
    searcher.foresight = children
    paid: list[tuple[float, float]] = []

    def reward(tokens: Tokens) -> float:
        found = children.reward(tokens)
        paid.append((children.spent, found))
        return found

    play(searcher, Purse(reward, BUDGETS[-1]), entrant.m, seed)
    failed = children.spec.failures.reward
    return [max((r for spent, r in paid if spent <= budget), default=failed) for budget in range(1, BUDGETS[-1] + 1)]


def compete(space: str, seeds: int, processes: int) -> Iterator[tuple[Entrant, Curves]]:
    """Run every entrant with every seed; yields the curves [S, budget] of one after another."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for entrant in SPACES[space][1]:
            yield entrant, np.array(pool.map(run, [(space, entrant, seed) for seed in range(seeds)], chunksize=1))


def difference(ours: Curves, theirs: Curves) -> dict[str, float]:
    """Return the mean and the standard error of the difference of two columns [S] on equal seeds."""
    gains = ours - theirs
    return {"mean": float(gains.mean()), "se": standard_error(gains)}


def figures(space: str, results: Mapping[str, Curves]) -> list[dict[str, Any]]:
    """Return an entry for each searcher and budget, with how far the first searcher is ahead on equal seeds."""
    first = next(iter(results.values()))
    return [
        {
            "space": space,
            "searcher": name,
            "budget": budget,
            "mean": float(at.mean()),
            "se": standard_error(at),
            "seeds": len(at),
            "guided_minus_it": difference(first[:, budget - 1], at) if curves is not first else None,
            "guided_after_16_minus_it": difference(first[:, BUDGETS[0] - 1], at) if curves is not first else None,
        }
        for name, curves in results.items()
        for budget in BUDGETS
        for at in (curves[:, budget - 1],)
    ]


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """Write the entries of one space as Markdown."""
    last = BUDGETS[-1]
    lines = [
        f"{entries[0]['space']}, {entries[0]['seeds']} seeds: mean best reward ± standard error; paired differences",
        "| searcher |"
        + "".join(f" {budget} |" for budget in BUDGETS)
        + f" guided minus it, at {last} | guided at {BUDGETS[0]} minus it at {last} |",
        "|---|" + "---|" * (len(BUDGETS) + 2),
    ]
    for name in dict.fromkeys(entry["searcher"] for entry in entries):
        rows = [entry for entry in entries if entry["searcher"] == name]
        cells = [f"{row['mean']:.4f} ± {row['se']:.4f}" for row in rows]
        for key in ("guided_minus_it", "guided_after_16_minus_it"):
            gain = rows[-1][key]
            cells.append(f"{gain['mean']:+.4f} ± {gain['se']:.4f}" if gain else "")
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Run the spaces."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spaces", nargs="*", help=f"some of {', '.join(SPACES)}; none: all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"searches of each searcher; {SEEDS} unless given")
    parser.add_argument("--processes", type=int, default=PROCESSES, help=f"at once; {PROCESSES} unless given")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.spaces) - set(SPACES):
        parser.error(f"unknown space {min(unknown)!r}; allowed: {', '.join(SPACES)}")
    if chosen.seeds < 2:
        parser.error("--seeds: a standard error takes two; allowed: 2 or more")
    if chosen.processes < 1:
        parser.error("--processes: allowed: 1 or more")
    OUT.parent.mkdir(exist_ok=True)
    spaces = chosen.spaces or list(SPACES)
    entries = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else []
    entries = [entry for entry in entries if entry["space"] not in spaces]
    for space in spaces:
        start, results = time.monotonic(), dict[str, Curves]()
        for entrant, curves in compete(space, chosen.seeds, chosen.processes):
            results[str(entrant)] = curves
            print(f"{space}, {entrant}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        found = figures(space, results)
        entries += found
        print(table(found) + "\n", flush=True)
        OUT.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    print(f"written: {OUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
