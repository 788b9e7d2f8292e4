"""Two views of a search's children: the best at each size, and what became of each proposer's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlnas.state import Summary, child_id
from rlnas.state.records import FinishedChild

SIZES = ("parameters", "flops", "latency_1", "latency_64")


@dataclass(frozen=True)
class FrontChild:
    """A child that no other beats in both: its name, reward and size, and its tokens."""

    child: str
    reward: float
    size: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Proposer:
    """Who proposed children: how many of a search, how many of them were scored, their best and their mean reward."""

    name: str
    count: int
    scored: int
    best: float | None
    mean: float | None


def pareto(summaries: Iterable[Summary], size: str) -> list[FrontChild]:
    """Return the children that no smaller (or equal) child equals or beats in reward, smallest first.

    Args:
        summaries: of complete rounds.
        size: the metric that is better when smaller, such as `parameters`; children without it are left out.
    """
    found = [
        FrontChild(child_id(summary.round, i), child.result.reward, child.result.metrics[size], child.tokens)
        for summary in summaries
        for i, child in enumerate(summary.children)
        if child.result.status == "ok" and child.result.reward is not None and size in child.result.metrics
    ]
    front: list[FrontChild] = []
    for child in sorted(found, key=lambda c: (c.size, -c.reward, c.child)):
        if not front or child.reward > front[-1].reward:
            front.append(child)
    return front


def proposers(summaries: Sequence[Summary]) -> list[Proposer]:
    """Return who proposed children and what they came to; empty where the searcher alone did, as a whole."""
    by_name: dict[str, list[FinishedChild]] = {}
    for summary in summaries:
        for child in summary.children:
            by_name.setdefault(child.by or "the searcher", []).append(child)
    if list(by_name) in ([], ["the searcher"]):
        return []
    table = []
    for name, children in by_name.items():
        rewards = [c.result.reward for c in children if c.result.status == "ok" and c.result.reward is not None]
        best, mean = (max(rewards), sum(rewards) / len(rewards)) if rewards else (None, None)
        table.append(Proposer(name, len(children), len(rewards), best, mean))
    return table
