"""Suggest architectures to a search: a person's own design, or what another program proposes."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from pydantic import ValidationError

from rlnas.errors import UserError, one_line
from rlnas.spaces import Tokens
from rlnas.spec import LoopSettings
from rlnas.state import Ledger, ended_line, renew
from rlnas.state import suggestions as queue

MOST_READ = 1000  # of the queue, to look for doubles
TWICE = "is trained twice then"
ALLOWED = "tokens, or an architecture as `rlnas show --json` prints it"


def suggest(ledger: Ledger, documents: Sequence[Any], by: str) -> list[tuple[Tokens, str]]:
    """Put architectures into the queue of a search; its next rounds take them up, before the controller's own.

    Args:
        ledger: of the search.
        documents: each a list of tokens, or a mapping with `architecture` or `tokens`.
        by: who proposes them.

    Returns:
        The tokens of each, and what is doubtful about it; empty: nothing is.

    Raises:
        UserError: one of them is not in the space, or the budget is planned already; none is put into the queue.
    """
    if not isinstance(by, str) or not by.isprintable() or not 0 < len(by.strip()) <= 60:
        raise UserError(f"by: {by!r} names nobody; allowed: 1 to 60 printable characters")
    renew(ledger)
    if ledger.record.ended:
        raise UserError(f"{ended_line(ledger)}; allowed: a search that goes on; `rlnas extend` gives it more")
    if ledger.plan(ledger.rounds - 1) is not None:
        raise UserError(f"search {ledger.name}: its last round is planned already; allowed: a search that goes on")
    found = [tokens_of(ledger, document, f"suggestion {number}") for number, document in enumerate(documents, 1)]
    if not found:
        raise UserError(f"no suggestion is there; allowed: {ALLOWED}, or a list of these")
    first = ledger.next_round()
    last = ledger.plan(first - 1) if first else None
    waiting = [s.tokens for s in queue.read_suggestions(ledger, last.suggestions if last else 0, MOST_READ)]
    room = sum(most_suggested(ledger.spec.loop, number) for number in range(first, ledger.rounds))
    doubts = []
    for tokens in found:
        known = f"it waits already, and {TWICE}" if tokens in waiting else ""
        full = f"only {room} suggestions can be taken up before the budget is reached" if len(waiting) >= room else ""
        doubts.append("; ".join(filter(None, (known, full))))
        waiting.append(tokens)
    queue.suggest(ledger, [queue.Suggestion(tokens=tokens, by=by) for tokens in found])
    return list(zip(found, doubts, strict=True))


def most_suggested(loop: LoopSettings, number: int) -> int:
    """Return how many suggestions a round takes: at most half; where a round is one child, every second takes one."""
    return loop.children_per_round // 2 or number % 2


def tokens_of(ledger: Ledger, document: Any, where: str) -> Tokens:
    """Return the tokens of what a person wrote for an architecture.

    Args:
        ledger: of the search.
        document: a list of tokens, or a mapping with `architecture` or `tokens`.
        where: it was written, for the message.

    Raises:
        UserError: it is none of these, or not in the space.
    """
    space, tokens = ledger.spec.space, document
    if isinstance(document, dict):
        architecture, tokens = document.get("architecture"), document.get("tokens")
        if architecture is not None:
            try:
                return space.encode(space.architecture.model_validate(architecture))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, ("architecture", *first["loc"])))
                raise UserError(f"{where}: {place}: {first['msg']}; allowed: {ALLOWED}") from None
            except (ValueError, IndexError) as error:
                raise _outside(ledger, where, error) from None
    if not isinstance(tokens, list | tuple) or not all(_is_whole(token) for token in tokens):
        raise UserError(f"{where}: {one_line(repr(document), 80)} is no architecture; allowed: {ALLOWED}")
    try:
        return space.encode(space.decode(tokens))
    except ValueError as error:
        raise _outside(ledger, where, error) from None


def _is_whole(token: Any) -> bool:
    return isinstance(token, Integral) and not isinstance(token, bool)


def _outside(ledger: Ledger, where: str, error: Exception) -> UserError:
    return UserError(f"{where} is not in space {ledger.spec.space.kind} of search {ledger.name}: {one_line(error)}")
