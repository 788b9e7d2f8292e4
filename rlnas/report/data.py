"""The numbers of a report, from the ledger alone: the same search gives the same numbers, whoever reads them."""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rlnas.errors import SearchDeleted, StoreError, UserError, one_line
from rlnas.report.fronts import FrontChild, Proposer, pareto, proposers
from rlnas.report.statistics import Difference, Floats, difference
from rlnas.report.status import HOW_TO_GO_ON
from rlnas.spaces import Description, walk
from rlnas.state import FinalRecord, Ledger, Summary, Version, child_id, left_of, list_searches, open_search
from rlnas.state.finals import finals
from rlnas.state.records import FinishedChild

VERSIONS_READ = 150  # each holds the controller's weights, and a large search has 1,600 of them
BINS = 40  # at most, of the children, for what the controller chose over time
CHILDREN_PER_BIN = 8  # at least
LEADERS = 20
DRAWN = 3


@dataclass(frozen=True)
class Track:
    """The children of one search in the order of their proposal.

    Args:
        name: of the search.
        rewards: of N children; NaN where a lost child counts for nothing.
        ok: [N], whether the child was scored.
    """

    name: str
    rewards: Floats
    ok: np.ndarray

    @property
    def scored(self) -> Floats:
        """The rewards, NaN where the child was not scored."""
        return np.where(self.ok, self.rewards, np.nan)


@dataclass(frozen=True)
class Leader:
    """One line of the leaderboard; `description` is of the architecture."""

    child: str
    reward: float
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
        budget, rounds: in all.
        version: the newest of the controller.
        numbers: of versions of the controller, evenly spaced: name -> [2, V], children applied so far and the value.
        own: the search, and the same search with other seeds if they have a scored child.
        controls: the random control, of one or several seeds, if it has a scored child.
        remarks: why other searches are left out, and what is left to do of this one.
        difference: of search and control; None without a control or with too few children.
        seconds: of each child [N].
        attempts: at training all children.
        choices, habits: see there.
        skip_rate: [bins], links chosen of those possible; NaN where none is; empty in spaces without anchor points.
        bins: [bins], the last child of each bin, from 1.
        leaders, failures: best first; most frequent first.
        front: the children that no smaller one beats, by parameters; empty where children have none, or all as many.
        proposers: who proposed children, where it was not the searcher as a whole.
        finals: what test data said of winners, once there are any.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    budget: int
    rounds: int
    version: Version
    numbers: dict[str, Floats]
    own: tuple[Track, ...]
    controls: tuple[Track, ...]
    remarks: tuple[str, ...]
    difference: Difference | None
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
    proposers: tuple[Proposer, ...] = ()

    @cached_property
    def children(self) -> int:
        """Of complete rounds."""
        return len(self.own[0].rewards)

    @property
    def best(self) -> str:
        """The best child's name; empty if none is scored yet."""
        return self.leaders[0].child if self.leaders else ""

    @property
    def complete(self) -> bool:
        """Whether the budget is reached."""
        return self.children >= self.budget


def relatives(ledger: Ledger) -> list[str]:
    """Name the same search with other seeds (`NAME-s2`) and its random controls (`NAME-control`, `NAME-s2-control`)."""
    names = re.compile(rf"{re.escape(ledger.name)}(-s\d+)?(-control)?")
    return [name for name in list_searches(ledger.bucket, names) if name != ledger.name]


def read_report(ledger: Ledger, named: Sequence[Ledger] = (), versions: int = VERSIONS_READ) -> ReportData:
    """Read a search, as far as its rounds are complete, and its relatives, as far as they can be compared with it.

    Args:
        ledger: of the search.
        named: others to compare it with. Those whose controller is `random` are controls, the rest are other seeds.
        versions: of the controller that are read at most, evenly spaced.

    Raises:
        UserError: a named search differs from this one in more than seed and controller.
    """
    summaries, version = ledger.summaries(), ledger.version()
    children = [child for summary in summaries for child in summary.children]
    seeds, controls, remarks = _compared(ledger, named)
    if left := left_of(ledger, version):
        remarks.append(f"Of this search, {left}: {HOW_TO_GO_ON}.")
    own = [_track(ledger.name, summaries), *seeds]
    choices, habits, skip_rate, bins = _chosen(ledger, summaries)
    return ReportData(
        name=ledger.name,
        facts=_facts(ledger),
        budget=ledger.spec.loop.children,
        rounds=ledger.spec.loop.rounds,
        version=version,
        numbers=read_numbers(ledger, versions),
        own=tuple(own),
        controls=tuple(controls),
        remarks=tuple(remarks),
        difference=difference([t.rewards for t in own], [t.rewards for t in controls]) if controls else None,
        seconds=np.array([child.result.seconds for child in children]),
        attempts=sum(child.result.attempts for child in children),
        choices=choices,
        habits=habits,
        skip_rate=skip_rate,
        bins=bins,
        leaders=_leaders(ledger, summaries),
        failures=_failures(summaries),
        finals=tuple(record for final, _ in finals(ledger) if (record := final.record)),
        front=_front(children, summaries),
        proposers=tuple(proposers(summaries)),
    )


def _front(children: Sequence[FinishedChild], summaries: Sequence[Summary]) -> tuple[FrontChild, ...]:
    sizes = {child.result.metrics.get("parameters") for child in children} - {None}
    return tuple(pareto(summaries, "parameters")) if len(sizes) > 1 else ()


def _compared(ledger: Ledger, named: Sequence[Ledger]) -> tuple[list[Track], list[Track], list[str]]:
    """Return other seeds, controls, and remarks on what is left out of both.

    A relative that nobody named may be of an older spec, or of another version of rlnas: no reason to fail.
    """
    own: list[Track] = []
    controls: list[Track] = []
    remarks: list[str] = []
    given, seen = {other.name: other for other in named}, {_randomness(ledger)}
    for name in dict.fromkeys([*given, *relatives(ledger)]):
        try:
            other = given.get(name) or open_search(ledger.bucket, name)
            _check_comparable(ledger, other)
            track = _track(name, other.summaries())
        except (UserError, StoreError, SearchDeleted) as error:
            if name in given:
                raise
            remarks.append(f"Search {name} is left out: {one_line(error, 400)}.")
            continue
        if not track.ok.any():
            remarks.append(f"Search {name} has no scored child yet.")
        elif _randomness(other) in seen:
            remarks.append(f"Search {name} is left out: its seed {other.spec.seed} counts already.")
        else:
            seen.add(_randomness(other))
            (controls if other.spec.controller.kind == "random" else own).append(track)
    return own, controls, remarks


def _randomness(ledger: Ledger) -> tuple[str, int]:
    """What must differ between searches for one to say something that the other does not."""
    return ledger.spec.controller.kind, ledger.spec.seed


def _check_comparable(ledger: Ledger, other: Ledger) -> None:
    like = {"name": ledger.spec.name, "seed": ledger.spec.seed, "finalize": ledger.spec.finalize}
    if other.spec.controller.kind == "random":
        like["controller"] = ledger.spec.controller
    spec = other.spec_beside(ledger)
    if spec is None:
        raise UserError(f"search {other.name} cannot be compared with {ledger.name}: its data is other data")
    if fields := spec.model_copy(update=like).differences(ledger.spec):
        raise UserError(
            f"search {other.name} cannot be compared with {ledger.name} ({'; '.join(fields)}); allowed: the same spec"
            " with another seed, or with the controller `random`"
        )


def _facts(ledger: Ledger) -> tuple[tuple[str, str], ...]:
    spec, shape = ledger.spec, ledger.shape
    image = f"{shape.height}×{shape.width}×{shape.channels}, " if shape.height else ""
    classes = {"images": f"{image}{shape.classes} classes", "text": f"vocabulary {shape.classes:,}"}
    data = f" ({classes[shape.modality]})" if shape.modality in classes else ""
    return (
        ("space", spec.space.kind),
        ("data", f"{spec.dataset.kind}{data}"),
        ("controller", spec.controller.kind),
        ("seed", str(spec.seed)),
        ("children a round", str(spec.loop.children_per_round)),
    )


def _track(name: str, summaries: Sequence[Summary]) -> Track:
    results = [child.result for summary in summaries for child in summary.children]
    rewards = np.array([np.nan if r.reward is None else r.reward for r in results], dtype=float)
    return Track(name, rewards, np.array([r.status == "ok" for r in results], dtype=bool))


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
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    return tuple(
        Leader(
            child=name,
            reward=reward,
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
