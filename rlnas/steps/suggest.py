"""Suggest architectures to a search: a person's own design, or what another program proposes."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from rlnas.errors import UserError, one_line
from rlnas.spaces import Tokens
from rlnas.state import Ledger
from rlnas.state import suggestions as queue

ALLOWED = "tokens, or an architecture as `rlnas show --json` prints it"


def suggest(ledger: Ledger, documents: Sequence[Any], by: str) -> list[Tokens]:
    """Put architectures into the queue of a search; its next rounds take them up, before the controller's own.

    Args:
        ledger: of the search.
        documents: each a list of tokens, or a mapping with `architecture` or `tokens`.
        by: who proposes them.

    Returns:
        The tokens of each.

    Raises:
        UserError: one of them is not in the space, or the budget is planned already; none is put into the queue.
    """
    if not by.isprintable() or not 0 < len(by.strip()) <= 60:
        raise UserError(f"by: {by!r} names nobody; allowed: 1 to 60 printable characters")
    if ledger.plan(ledger.spec.loop.rounds - 1) is not None:
        raise UserError(f"search {ledger.name}: its last round is planned already; allowed: a search that goes on")
    found = [_tokens(ledger, document, f"suggestion {number}") for number, document in enumerate(documents, 1)]
    if not found:
        raise UserError(f"no suggestion is there; allowed: {ALLOWED}, or a list of these")
    queue.suggest(ledger, [queue.Suggestion(tokens=tokens, by=by) for tokens in found])
    return found


def _tokens(ledger: Ledger, document: Any, where: str) -> Tokens:
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
    if not isinstance(tokens, list | tuple) or not all(type(token) is int for token in tokens):
        raise UserError(f"{where}: {one_line(repr(document), 80)} is no architecture; allowed: {ALLOWED}")
    try:
        return space.encode(space.decode(tokens))
    except ValueError as error:
        raise _outside(ledger, where, error) from None


def _outside(ledger: Ledger, where: str, error: Exception) -> UserError:
    return UserError(f"{where} is not in space {ledger.spec.space.kind} of search {ledger.name}: {one_line(error)}")
