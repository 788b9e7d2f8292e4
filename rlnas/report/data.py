"""The numbers of a report, from the ledger alone: the same search gives the same numbers, whoever reads them."""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rlnas.report.compared import Comparison, compare
from rlnas.report.fronts import FrontChild, Proposer, front_of, proposers, size_of
from rlnas.report.spent import epochs_of, trained_on
from rlnas.report.statistics import Floats
from rlnas.report.status import HOW_TO_GO_ON
from rlnas.spaces import Description, walk
from rlnas.state import FinalRecord, Ledger, Summary, Version, child_id, left_of, marks_of
from rlnas.state.finals import finals
from rlnas.state.records import standing

VERSIONS_READ = 150  # each holds the controller's weights, and a large search has 1,600 of them
BINS = 40  # at most, of the children, for what the controller chose over time
CHILDREN_PER_BIN = 8  # at least
LEADERS = 20
DRAWN = 3


@dataclass(frozen=True)
class Leader:
    """One line of the leaderboard; `description` is of the architecture, `stopped` the epoch after which it was."""

    child: str
    reward: float
    stopped: int | None
    metrics: dict[str, float]
    seconds: float
    description: Description


@dataclass(frozen=True)
class Failure:
    """Children that ended alike, and one of them."""

    status: str
    reason: str
    count: int
    child: str
    detail: str


@dataclass(frozen=True)
class Choices:
    """What the controller chose for one kind of decision.

    Args:
        kind: of the decision; all layers share it.
        options: names of the C options.
        shares: [bins, C], of the children of each bin of equally many; NaN where none had the decision.
    """

    kind: str
    options: tuple[str, ...]
    shares: Floats


@dataclass(frozen=True)
class Habit:
    """What one decision came to: its most frequent option among the first and the last fifth of the children."""

    label: str
    first: tuple[str, float]
    last: tuple[str, float]


@dataclass(frozen=True)
class ReportData:
    """All that a page shows.

    Args:
        name, facts: of the search, and what it is in a few words each.
        controller, label: the kind of its searcher, and what that is.
        budget, rounds: in all.
        version: the newest of the controller.
        numbers: of versions of the controller, evenly spaced: name -> [2, V], children applied so far and the value.
        beside: the search and what it is compared with.
        remarks: why other searches are left out, and what is left to do of this one.
        seconds: of each child [N], short trials included.
        attempts: at training all children.
        choices, habits: see there.
        skip_rate: [bins], links chosen of those possible; NaN where none is; empty in spaces without anchor points.
        bins: [bins], the last child of each bin, from 1.
        leaders, failures: best first; most frequent first.
        front, front_size: the best children at each size, and what was taken for the size; see `front_of`.
        epochs: of a whole training, where children may be stopped before; None: all are such.
        proposers: who proposed children.
        finals: what test data said of winners, once there are any.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    controller: str
    label: str
    budget: int
    rounds: int
    version: Version
    numbers: dict[str, Floats]
    beside: Comparison
    remarks: tuple[str, ...]
    seconds: Floats
    attempts: int
    choices: tuple[Choices, ...]
    habits: tuple[Habit, ...]
    skip_rate: Floats
    bins: Floats
    leaders: tuple[Leader, ...]
    failures: tuple[Failure, ...]
    finals: tuple[FinalRecord, ...] = ()
    front: tuple[FrontChild, ...] = ()
    front_size: str = ""
    epochs: int | None = None
    proposers: tuple[Proposer, ...] = ()

    @cached_property
    def children(self) -> int:
        """Of complete rounds."""
        return len(self.beside.own[0].rewards)

    @property
    def best(self) -> str:
        """The best child's name; empty if none is scored yet."""
        return self.leaders[0].child if self.leaders else ""

    @property
    def complete(self) -> bool:
        """Whether the budget is reached."""
        return self.children >= self.budget


def read_report(ledger: Ledger, named: Sequence[Ledger] = (), versions: int = VERSIONS_READ) -> ReportData:
    """Read a search, as far as its rounds are complete, and its relatives, as far as they can be compared with it.

    Args:
        ledger: of the search.
        named: others to compare it with, see `compare`.
        versions: of the controller that are read at most, evenly spaced.

    Raises:
        UserError: a named search differs from this one in more than seed and controller.
    """
    summaries, version = ledger.summaries(), ledger.version()
    children = [child for summary in summaries for child in summary.children]
    size = size_of(ledger.spec)
    beside, left = compare(ledger, summaries, named), left_of(ledger, version)
    choices, habits, skip_rate, bins = _chosen(ledger, summaries)
    return ReportData(
        name=ledger.name,
        facts=_facts(ledger, summaries, version),
        controller=ledger.spec.controller.kind,
        label=ledger.spec.label,
        budget=ledger.children,
        rounds=ledger.rounds,
        version=version,
        numbers=read_numbers(ledger, versions),
        beside=beside,
        remarks=(*beside.remarks, *marks_of(ledger), *([f"Of this search, {left}: {HOW_TO_GO_ON}."] if left else [])),
        seconds=np.array([child.seconds for child in children]),
        attempts=sum(child.result.attempts for child in children),
        choices=choices,
        habits=habits,
        skip_rate=skip_rate,
        bins=bins,
        leaders=_leaders(ledger, summaries),
        failures=_failures(summaries),
        finals=tuple(record for final, _ in finals(ledger) if (record := final.record)),
        front=front_of(summaries, size, ledger.spec.objective),
        front_size=size,
        epochs=ledger.epochs if ledger.rungs else None,
        proposers=tuple(proposers(summaries)),
    )


def _facts(ledger: Ledger, summaries: Sequence[Summary], version: Version) -> tuple[tuple[str, str], ...]:
    spec, shape = ledger.spec, ledger.shape
    image = f"{shape.height}×{shape.width}×{shape.channels}, " if shape.height else ""
    classes = {"images": f"{image}{shape.classes} classes", "text": f"vocabulary {shape.classes:,}"}
    data = f" ({classes[shape.modality]})" if shape.modality in classes else ""
    return (
        ("space", spec.space.kind),
        ("data", f"{spec.dataset.kind}{data}"),
        ("controller", spec.controller.kind),
        *((("begins with", str(begun)),) if (begun := ledger.record.warm_start) else ()),
        ("seed", str(spec.seed)),
        ("children a round", str(spec.loop.children_per_round)),
        *((("objective", words),) if (words := spec.objective.words) else ()),
        *((("trained on", devices),) if (devices := trained_on(summaries)) else ()),
        *((("epochs", epochs),) if (epochs := epochs_of(ledger, version)) else ()),
    )


def read_numbers(ledger: Ledger, count: int = VERSIONS_READ) -> dict[str, Floats]:
    """Return the numbers of at most `count` versions of the controller: see `ReportData.numbers`."""
    wanted = np.unique(np.linspace(1, ledger.version().version, count).round()).astype(int).tolist()
    with ThreadPoolExecutor(8) as threads:
        found = [c.version for c in threads.map(ledger.controller, wanted) if c]
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for version in found:
        for name, value in version.numbers.items():
            series[name].append((version.children, value))
    return {name: np.array(points).T for name, points in series.items()}


def _chosen(
    ledger: Ledger, summaries: Sequence[Summary]
) -> tuple[tuple[Choices, ...], tuple[Habit, ...], Floats, Floats]:
    """Count what was chosen: by kind of decision over bins of children, by decision at first and at last."""
    total = sum(len(summary.children) for summary in summaries)
    bins = max(1, min(BINS, total // CHILDREN_PER_BIN))
    counts: dict[str, np.ndarray] = {}
    names: dict[str, tuple[str, ...]] = {}
    early: dict[str, Counter[str]] = defaultdict(Counter)
    late: dict[str, Counter[str]] = defaultdict(Counter)
    places: dict[str, int] = {}
    links, possible = np.zeros(bins), np.zeros(bins)
    number = 0
    decisions = ledger.spec.space.decisions(sys.maxsize)  # a suggestion may be deeper than the controller's own by then
    for summary in summaries:
        for child in summary.children:
            at, fifth = number * bins // total, number * 5 // total
            number += 1
            for position, decision, choice in walk(decisions, child.tokens):
                if isinstance(choice, tuple):
                    links[at] += sum(choice)
                    possible[at] += len(choice)
                    continue
                if decision.kind not in counts:
                    counts[decision.kind] = np.zeros((bins, decision.choices))
                    names[decision.kind] = decision.options or tuple(map(str, range(decision.choices)))
                counts[decision.kind][at, choice] += 1
                if fifth in (0, 4):
                    places[decision.label] = position
                    (late if fifth else early)[decision.label][names[decision.kind][choice]] += 1
    with np.errstate(invalid="ignore"):
        choices = tuple(
            Choices(kind, names[kind], table / table.sum(1, keepdims=True)) for kind, table in counts.items()
        )
        skip_rate = links / possible if possible.any() else np.array([])
    habits = tuple(
        Habit(label, _most(early[label]), _most(late[label])) for label in sorted(places, key=lambda name: places[name])
    )
    return choices, habits, skip_rate, np.array([-(-(b + 1) * total // bins) for b in range(bins)], dtype=float)


def _most(counter: Counter[str]) -> tuple[str, float]:
    if not counter:
        return "", 0.0
    option, count = counter.most_common(1)[0]
    return option, count / counter.total()


def _leaders(ledger: Ledger, summaries: Sequence[Summary]) -> tuple[Leader, ...]:
    space = ledger.spec.space
    scored = [
        (child.result.reward, child_id(summary.round, i), child)
        for summary in summaries
        for i, child in enumerate(summary.children)
        if child.result.status == "ok" and child.result.reward is not None
    ]
    scored.sort(key=lambda entry: standing(entry[1], entry[0], entry[2].result.stopped))
    return tuple(
        Leader(
            child=name,
            reward=reward,
            stopped=child.result.stopped,
            metrics=child.result.metrics,
            seconds=child.result.seconds,
            description=space.describe(space.decode(child.tokens), ledger.shape),
        )
        for reward, name, child in scored[:LEADERS]
    )


def _failures(summaries: Sequence[Summary]) -> tuple[Failure, ...]:
    alike: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for summary in summaries:
        for i, child in enumerate(summary.children):
            result = child.result
            if result.status != "ok":
                alike[result.status, result.reason].append((child_id(summary.round, i), result.detail))
    found = [Failure(*key, len(children), *children[0]) for key, children in alike.items()]
    return tuple(sorted(found, key=lambda failure: -failure.count))
