"""Two views of a search's children: the best at each size, and what became of each proposer's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlnas.objective import Objective
from rlnas.spec import SearchSpec
from rlnas.state import Summary, child_id
from rlnas.state.records import FinishedChild


@dataclass(frozen=True)
class FrontChild:
    """A child that no other beats in both score and size. The score is the reward before it was weighed by sizes."""

    child: str
    score: float
    reward: float
    size: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Proposer:
    """Who proposed children.

    Args:
        name: of a part of the searcher, or of who suggested them.
        suggested: whether they came from outside.
        count, scored: children of complete rounds, and how many of them were scored.
        best, mean: reward of these; None: there are none.
    """

    name: str
    suggested: bool
    count: int
    scored: int
    best: float | None
    mean: float | None


def size_of(spec: SearchSpec) -> str:
    """Return the metric that counts as the size of a search's children: the first of its objective's, if it has any."""
    return next(iter(spec.objective.measures), "parameters")


def front_of(summaries: Sequence[Summary], size: str, objective: Objective) -> tuple[FrontChild, ...]:
    """Return the best children at each size; empty where they are all of one size."""
    sizes = {child.result.metrics.get(size) for summary in summaries for child in summary.children} - {None}
    return tuple(pareto(summaries, size, objective)) if len(sizes) > 1 else ()


def pareto(summaries: Iterable[Summary], size: str, objective: Objective) -> list[FrontChild]:
    """Return the children that none of at most their size equals or beats in score, smallest first.

    Args:
        summaries: of complete rounds; children that were stopped are left out.
        size: the metric that is better when smaller, such as `parameters`; children without it are left out.
        objective: of the search, by which rewards were weighed.
    """
    found = [
        FrontChild(child_id(summary.round, i), objective.score(r.reward, r.metrics), r.reward, r.metrics[size], tokens)
        for summary in summaries
        for i, (r, tokens) in enumerate((child.result, child.tokens) for child in summary.children)
        if r.status == "ok" and r.reward is not None and size in r.metrics and not r.stopped
    ]
    front: list[FrontChild] = []
    for child in sorted(found, key=lambda c: (c.size, -c.score, c.child)):
        if not front or child.score > front[-1].score:
            front.append(child)
    return front


def proposers(summaries: Iterable[Summary]) -> list[Proposer]:
    """Return who proposed children and what they came to, the parts of the searcher first."""
    groups: dict[tuple[bool, str], list[FinishedChild]] = {}
    for summary in summaries:
        for child in summary.children:
            groups.setdefault((child.suggested, child.by), []).append(child)
    table = []
    for (suggested, by), children in sorted(groups.items(), key=lambda group: group[0]):
        rewards = [c.result.reward for c in children if c.result.status == "ok" and c.result.reward is not None]
        best, mean = (max(rewards), sum(rewards) / len(rewards)) if rewards else (None, None)
        table.append(Proposer(by or "the searcher", suggested, len(children), len(rewards), best, mean))
    return table
