"""Try the architecture of a lost child again, as another child.

A result is created once, and whoever has read it builds on it: a summary, a version. So it is never taken away. The
architecture waits in the queue of suggestions instead, and enters a later round.
"""

from collections.abc import Sequence
from itertools import count

from rlnas.errors import UserError
from rlnas.spaces import Tokens
from rlnas.state import Ledger, child_id, parse_child_id
from rlnas.state.suggestions import read_suggestions
from rlnas.steps.suggest import suggest

PAGE = 1000


def retry(ledger: Ledger, children: Sequence[str]) -> dict[str, str | None]:
    """Put the architectures of lost children into the queue; once for each child, however often this is called.

    Args:
        ledger: of the search.
        children: their names.

    Returns:
        By child, what is doubtful about it; empty: nothing is; None: it was put into the queue before.

    Raises:
        UserError: one of them is not lost, or no round is left to take them up; then none is put into the queue.
    """
    lost = dict(_lost(ledger, child) for child in children)
    known = _queued(ledger)
    doubts: dict[str, str | None] = {}
    for child, tokens in lost.items():
        by = f"retry of {child}"
        if (tokens, by) in known:
            doubts[child] = None
        else:
            ((_, doubts[child]),) = suggest(ledger, [tokens], by)
    return doubts


def _lost(ledger: Ledger, child: str) -> tuple[str, Tokens]:
    try:
        number, index = parse_child_id(child)
    except ValueError as error:
        raise UserError(f"child: {error}") from None
    plan, name = ledger.plan(number), child_id(number, index)
    if plan is None or index >= len(plan.children):
        raise UserError(f"child: search {ledger.name} has no child {child!r}; allowed: a lost child of it")
    if plan.winner:
        raise UserError(
            f"child {name} is a training of winner {plan.winner}; allowed: a child of the search;"
            f" `rlnas finalize {ledger.name} {plan.winner}` tries a winner again"
        )
    result = ledger.result(name)
    if result is None or result.status != "lost":
        stands = f"is {result.status}" if result else "has not ended, and runs go on with it"
        raise UserError(f"child {name} {stands}; allowed: a lost child")
    return name, plan.children[index].tokens


def _queued(ledger: Ledger) -> set[tuple[Tokens, str]]:
    """Return what was ever suggested, and by whom: anybody may have called himself a retry of another child."""
    found: set[tuple[Tokens, str]] = set()
    for first in count(0, PAGE):
        page = read_suggestions(ledger, first, PAGE)
        found |= {(suggestion.tokens, suggestion.by) for suggestion in page}
        if len(page) < PAGE:
            return found
    raise AssertionError
