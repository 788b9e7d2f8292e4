"""How good searchers are at equal budgets: `python -m benchmarks.search_quality [SPACE ...] [--seeds N]`.

The searchers are the product's own, with one setting for all spaces; the ledger and the pipeline are left out. Prints a
table and paired intervals, and writes build/search_quality.json and .svg. Entries of spaces that are not run stay.

Spaces:
    table: NAS-Bench-201 on CIFAR-10. The reward is the validation accuracy after 12 epochs, and the best by reward is
        judged by its test accuracy after 200 epochs.
    large: three such cells side by side, 3.8e12 architectures. Reward and judgement are the means of the three cells'.

Both need the folder `nasbench201` below RLNAS_DATA. An entry of a table stands for one training.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlnas.controller import SEARCHERS, SETTINGS, Experience, Searcher, SearcherState, Trial
from rlnas.datasets.table import TableFile
from rlnas.registry import resolve
from rlnas.seeds import derive_seed
from rlnas.spaces import DataShape, Space, Tokens
from rlnas.spaces.tabular import TabularSpace

OUT = Path("build/search_quality.json")
PROCESSES = min(2, os.cpu_count() or 1)
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = 6  # of one cell of NAS-Bench-201
GOOD, OFTEN = 94.3, 0.9  # `reliability`: such a test accuracy in so many of the seeds
RESAMPLES = 5000
WORST = 100  # cells that an adversary suggests

Scores = Mapping[Tokens, float]
Suggest = Callable[[int], Tokens]


@dataclass(frozen=True)
class Entrant:
    """A searcher with its settings.

    Args:
        name: for people.
        kind: of the searcher.
        settings: that differ from its defaults.
        m: children per round.
        sabotaged: so many of a round are suggestions of an adversary; they count as children.
    """

    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    m: int = 1
    sabotaged: int = 0

    def children(self, own: int) -> int:
        """After how many children it has made so many proposals of its own."""
        return own + self.sabotaged * math.ceil(own / (self.m - self.sabotaged))

    def __str__(self) -> str:
        return self.name if self.m == 1 else f"{self.name}, m = {self.m}"

    def searcher(self, space: Space, shape: DataShape) -> Searcher:
        """Return its searcher in a space."""
        settings = resolve(SETTINGS, self.kind, "rlnas.controller_settings")(**self.settings)
        return resolve(SEARCHERS, self.kind, "rlnas.searchers")(space, settings, shape)


@dataclass(frozen=True)
class Arena:
    """Where searchers compete.

    Args:
        name: of the space.
        space, shape: what is searched.
        budgets: children, ascending.
        seeds: searches of each entrant.
        entrants: who competes; the first is what the others are compared with.
        open: returns the rewards and the judgements, behind functions of tokens.
        adversary: makes a suggestion that is as bad as can be from a seed.
    """

    name: str
    space: Space
    shape: DataShape
    budgets: tuple[int, ...]
    seeds: int
    entrants: tuple[Entrant, ...]
    open: Callable[[], tuple[Callable[[Tokens], float], Callable[[Tokens], float]]]
    adversary: Suggest | None = None


class Purse:
    """Pays for rewards: all that a searcher can learn of an arena goes through here, and is counted.

    Args:
        reward: of an architecture.
        budget: how many may be asked for.
    """

    def __init__(self, reward: Callable[[Tokens], float], budget: int) -> None:
        self._reward = reward
        self.budget = budget
        self.paid: list[tuple[Tokens, float]] = []

    def buy(self, tokens: Tokens) -> float:
        """Return a reward and count it, again if it was bought before."""
        if len(self.paid) >= self.budget:
            raise RuntimeError(f"the budget of {self.budget} is spent")
        self.paid.append((tokens, self._reward(tokens)))
        return self.paid[-1][1]


def play(
    searcher: Searcher,
    purse: Purse,
    m: int,
    seed: int,
    suggest: Sequence[Suggest] = (),
    earlier: Sequence[Trial] = (),
    controller: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Search until the purse is empty: what the pipeline does with one loop and rounds of m.

    Args:
        searcher, purse: who searches, and what it may spend.
        m: children per round.
        seed: of the search.
        suggest: makes the first children of each round from their seeds; the searcher proposes the others.
        earlier: children of an earlier search that this one begins with.
        controller: tensors of the earlier search's controller, in place of those of version 0.
    """
    start, history = searcher.initial(derive_seed("controller", seed)), list(earlier)
    state = SearcherState({**start.tensors, **(controller or {})}, start.memory)
    while (samples := len(purse.paid)) < purse.budget:
        seeds = [derive_seed("child", seed, k) for k in range(samples, min(samples + m, purse.budget))]
        outside = [make(s) for make, s in zip(suggest, seeds, strict=False)]
        own = seeds[len(outside) :]
        proposals = searcher.propose(state, samples, own, history if searcher.reads_history else ()) if own else []
        suggested = [Trial(tokens, purse.buy(tokens), True) for tokens in outside]
        proposed = [Trial(p.tokens, purse.buy(p.tokens), True, tried=p.tried) for p in proposals]
        tokens, rewards = [trial.tokens for trial in proposed], [trial.reward for trial in proposed]
        state, _ = searcher.learn(state, [Experience(samples, tokens, rewards, state, suggested)])
        history += [*suggested, *proposed]


def judged(paid: Sequence[tuple[Tokens, float]], judge: Callable[[Tokens], float]) -> list[float]:
    """Return after each child what the best by reward so far is worth; of equals the first counts."""
    curve: list[float] = []
    best = -math.inf
    for tokens, reward in paid:
        if reward > best:
            best, worth = reward, judge(tokens)
        curve.append(worth)
    return curve


# ---- the arenas ----


@cache
def nas_bench_201() -> tuple[Scores, Scores]:
    """Read the rewards and the judgements of all cells."""
    path = Path(os.environ.get("RLNAS_DATA", "../shared/data"), "nasbench201/cifar10.csv.gz")
    if not path.exists():
        sys.exit(f"no {path}; set RLNAS_DATA")
    reward, test = (
        TableFile(path=str(path), architecture_column="arch", operations=OPERATIONS, validation_column=c, test_column=c)
        for c in ("c10_xvalid_acc_e12", "c10_test_acc_e200")
    )

    def scores(file: TableFile) -> Scores:
        return file.validation(lambda name: Path(name).open("rb")).content.scores

    return scores(reward), scores(test)


def cells() -> tuple[Callable[[Tokens], float], Callable[[Tokens], float]]:
    """Return reward and judgement of one cell, or of several side by side: the mean over them."""

    def mean_of(scores: Scores) -> Callable[[Tokens], float]:
        return lambda tokens: float(np.mean([scores[tokens[at : at + EDGES]] for at in range(0, len(tokens), EDGES)]))

    reward, test = nas_bench_201()
    return mean_of(reward), mean_of(test)


@cache
def _worst() -> list[Tokens]:
    reward, _ = nas_bench_201()
    return sorted(reward, key=lambda cell: (reward[cell], cell))[:WORST]


def bad_cells(seed: int) -> Tokens:
    """Put three of the worst cells of the table side by side."""
    return tuple(chain.from_iterable(random.Random(seed).choices(_worst(), k=3)))


ENTRANTS = (
    Entrant("guided", "guided"),
    Entrant("guided", "guided", m=8),
    Entrant("evolution", "evolution"),
    Entrant("reinforce", "reinforce"),
    Entrant("random", "random"),
)
PARTS = (
    Entrant("guided, untrained controller", "guided", {"learning_rate": 0}),
    Entrant("guided, mutations alone", "guided", {"samples": 0, "mutations": 128}),
    Entrant("guided, sabotaged", "guided", m=8, sabotaged=2),
)
TABLE = DataShape("table", classes=0)
ARENAS = (
    Arena(
        "table",
        TabularSpace(choices=(len(OPERATIONS),) * EDGES, options=OPERATIONS),
        TABLE,
        budgets=(25, 50, 100, 200),
        seeds=200,
        entrants=ENTRANTS,
        open=cells,
    ),
    Arena(
        "large",
        TabularSpace(choices=(len(OPERATIONS),) * EDGES * 3, options=OPERATIONS),
        TABLE,
        budgets=(100, 200, 400),
        seeds=48,
        entrants=(*ENTRANTS, *PARTS),
        open=cells,
        adversary=bad_cells,
    ),
)


# ---- running and reporting ----

Curves = NDArray[np.float64]


def run(task: tuple[str, Entrant, int]) -> list[float]:
    """Play one search; returns its curve."""
    torch.set_num_threads(1)
    name, entrant, seed = task
    arena = next(arena for arena in ARENAS if arena.name == name)
    reward, judge = arena.open()
    purse = Purse(reward, arena.budgets[-1])
    adversary = [arena.adversary] * entrant.sabotaged if arena.adversary else []
    play(entrant.searcher(arena.space, arena.shape), purse, entrant.m, seed, adversary)
    return judged(purse.paid, judge)


def compete(arena: Arena, seeds: int) -> Iterator[tuple[Entrant, Curves]]:
    """Run every entrant with every seed; yields the curves [S, budget] of one after another."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for entrant in arena.entrants:
            yield entrant, np.array(pool.map(run, [(arena.name, entrant, seed) for seed in range(seeds)], chunksize=1))


def standard_error(column: Curves) -> float:
    """Return that of the mean of a column [S]."""
    return float(column.std(ddof=1)) / math.sqrt(len(column))


def reliability(curves: Curves) -> int | None:
    """Return after how many children most seeds have found a good architecture; None: not within the budget."""
    often = (curves >= GOOD).mean(0) >= OFTEN
    return int(often.argmax()) + 1 if often.any() else None


def figures(arena: Arena, entrant: Entrant, curves: Curves) -> list[dict[str, Any]]:
    """Return an entry for each budget."""
    return [
        {
            "space": arena.name,
            "searcher": entrant.name,
            "budget": budget,
            "m": entrant.m,
            "mean": round(float(at.mean()), 4),
            "std": round(float(at.std(ddof=1)), 4) if len(at) > 1 else None,
            "se": round(standard_error(at), 4) if len(at) > 1 else None,
            "seeds": len(at),
            "reliability": reliability(curves),
        }
        for budget in arena.budgets
        for at in (curves[:, budget - 1],)
    ]


def paired_interval(ours: Curves, theirs: Curves) -> tuple[float, float, float]:
    """Return the mean difference of two searchers [S] on equal seeds, and its 95% interval: the seeds drawn anew."""
    gains = ours - theirs
    drawn = gains[np.random.default_rng(0).integers(0, len(gains), (RESAMPLES, len(gains)))].mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(gains.mean()), float(low), float(high)


def table(arena: Arena, results: Mapping[str, Curves]) -> str:
    """Write means with standard errors, and paired differences with their intervals, as Markdown."""
    names = [str(entrant) for entrant in arena.entrants]
    head = "".join(f" {budget} |" for budget in arena.budgets)
    lines = [
        f"{arena.name}, {len(results[names[0]])} seeds: mean ± standard error; after: children until {GOOD} in"
        f" {OFTEN:.0%} of the seeds",
        f"| searcher |{head} after |",
        "|---|" + "---|" * (len(arena.budgets) + 1),
    ]
    for entrant in arena.entrants:
        rows = figures(arena, entrant, results[str(entrant)])
        cells = [f"{row['mean']:.2f}" + (f" ± {row['se']:.2f}" if row["se"] is not None else "") for row in rows]
        lines.append(" | ".join([f"| {entrant}", *cells, f"{rows[0]['reliability'] or 'never'} |"]))
    lines += [
        "",
        f"{arena.name}: difference on equal seeds and its 95% interval",
        f"| of |{head}",
        "|---|" + "---|" * len(arena.budgets),
    ]
    for name in names[1:]:
        lines.append(_difference(f"{names[0]} - {name}", arena, results[names[0]], results[name]))
    for entrant in arena.entrants:
        if entrant.sabotaged:
            alone = str(Entrant(entrant.kind, entrant.kind, m=entrant.m))
            for label, at in (("", arena.budgets), (", at equal own proposals", map(entrant.children, arena.budgets))):
                label = f"{alone} - {entrant}{label}"
                lines.append(_difference(label, arena, results[alone], results[str(entrant)], tuple(at)))
    return "\n".join(lines)


def _difference(label: str, arena: Arena, ours: Curves, theirs: Curves, at: Sequence[int] | None = None) -> str:
    """Write a row: our curves at the budgets minus theirs at the same, or after other numbers of children."""
    cells = [
        "{:+.2f} [{:+.2f}, {:+.2f}]".format(*paired_interval(ours[:, mine - 1], theirs[:, other - 1]))
        if other <= theirs.shape[1]
        else ""
        for mine, other in zip(arena.budgets, at or arena.budgets, strict=True)
    ]
    return " | ".join([f"| {label}", *cells]) + " |"


COLOURS = {"guided": "#1f4e9c", "evolution": "#c2570c", "reinforce": "#2f7d32", "random": "#777777"}
STYLES = {"untrained": "dotted", "mutations": "dashdot", "sabotaged": (0, (1, 4)), "m = 8": "dashed"}


def plot(results: Mapping[str, Mapping[str, Curves]], path: Path) -> None:
    """Draw what the best so far is worth against children, a panel for each arena, with bands of a standard error."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "rlnas", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(5.6 * len(results), 4.9), layout="constrained")
        _draw(figure, results)
        figure.savefig(path, metadata={"Date": None})


def _draw(figure: Any, results: Mapping[str, Mapping[str, Curves]]) -> None:
    panels = figure.subplots(1, len(results), squeeze=False)
    for axes, (name, curves_of) in zip(panels[0], results.items(), strict=True):
        for entrant, curves in curves_of.items():
            children = np.arange(1, curves.shape[1] + 1)
            mean, error = curves.mean(0), curves.std(0) / math.sqrt(len(curves))
            colour = COLOURS.get(entrant.split(",")[0])
            style = next((style for word, style in STYLES.items() if word in entrant), "solid")
            (line,) = axes.plot(children, mean, label=entrant, linewidth=1.6, color=colour, linestyle=style)
            axes.fill_between(children, mean - error, mean + error, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set(title=f"{name}: mean of {len(curves)} searches", xlabel="children", xlim=(10, len(children)))
        means = [curves.mean(0) for curves in curves_of.values()]
        axes.set_ylim(min(mean[24] for mean in means) - 0.1, max(mean.max() for mean in means) + 0.1)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2, frameon=False)
    panels[0][0].set_ylabel("test accuracy of the best by reward, %")


def main(arguments: Sequence[str]) -> None:
    """Run the arenas."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spaces", nargs="*", help=f"some of {', '.join(a.name for a in ARENAS)}; none: all")
    parser.add_argument("--seeds", type=int, help="searches of each searcher, if fewer than usual")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.spaces) - {arena.name for arena in ARENAS}:
        parser.error(f"unknown space {min(unknown)!r}; allowed: {', '.join(arena.name for arena in ARENAS)}")
    OUT.parent.mkdir(exist_ok=True)
    arenas = [arena for arena in ARENAS if arena.name in (chosen.spaces or [a.name for a in ARENAS])]
    entries = [e for e in _read() if e["space"] not in {arena.name for arena in arenas}]
    results: dict[str, dict[str, Curves]] = {}
    for arena in arenas:
        start = time.monotonic()
        results[arena.name] = {}
        for entrant, curves in compete(arena, min(arena.seeds, chosen.seeds or arena.seeds)):
            results[arena.name][str(entrant)] = curves
            entries += figures(arena, entrant, curves)
            print(f"{arena.name}, {entrant}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        print(table(arena, results[arena.name]) + "\n", flush=True)
        OUT.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    plot(results, OUT.with_suffix(".svg"))
    print(f"written: {OUT}, {OUT.with_suffix('.svg')}")


def _read() -> list[dict[str, Any]]:
    return json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else []


if __name__ == "__main__":
    main(sys.argv[1:])
