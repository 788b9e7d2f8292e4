"""Architectures that others propose to a search: they wait in a queue until a round takes them up.

The queue is a row of objects, each created once. How far it has been taken up stands in the plans, so that every
suggestion enters exactly one round, whoever plans it and however often it is killed.
"""

from collections.abc import Sequence

from rlnas.state.ledger import Ledger
from rlnas.state.records import Record


class Suggestion(Record):
    """`suggestions/<number>`: an architecture, and who proposes it."""

    tokens: tuple[int, ...]
    by: str


def suggest(ledger: Ledger, suggestions: Sequence[Suggestion]) -> None:
    """Put suggestions at the end of the queue, in their order."""
    number = len(list(ledger.bucket.list_all(ledger.key("suggestions/"))))
    for suggestion in suggestions:
        while ledger.bucket.create(_key(ledger, number), suggestion.to_bytes()) is None:
            number += 1  # somebody else was faster
        number += 1


def read_suggestions(ledger: Ledger, first: int, limit: int) -> list[Suggestion]:
    """Return at most `limit` suggestions from number `first` on; one request where there is none."""
    if limit < 1:
        return []
    after = _key(ledger, first - 1) if first else None
    found = []
    for key in ledger.bucket.list(ledger.key("suggestions/"), start_after=after, limit=limit):
        item = ledger.bucket.get(key)
        if item is not None:
            found.append(Suggestion.from_bytes(item.data, key))
    return found


def _key(ledger: Ledger, number: int) -> str:
    return ledger.key(f"suggestions/{number:06d}.json")
