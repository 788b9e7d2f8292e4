"""The command that brings knowledge from outside into a search: `suggest`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rlnas.cli.common import SearchName, app, console, next_step, open_bucket
from rlnas.errors import UserError, one_line
from rlnas.state import open_search


@app.command()
def suggest(
    search: SearchName,
    file: Annotated[str, typer.Argument(help="JSON: one architecture or a list; - for standard input")],
    by: Annotated[str, typer.Option(help="who proposes it")] = "a person",
) -> None:
    """Suggest architectures to a search, as `show --json` prints them, or as tokens; its next rounds train them."""
    from rlnas import steps

    document = _read(file)
    ledger = open_search(open_bucket(), search)
    # A list of numbers is one architecture; any other list is several.
    several = isinstance(document, list) and not all(type(token) is int for token in document)
    found = steps.suggest(ledger, document if several else [document], by)
    for tokens in found:
        space = ledger.spec.space
        console.print(f"waits for a round: {space.describe(space.decode(tokens), ledger.shape).summary}")
    next_step(f"rlnas leaderboard {search}", "shows what became of it, once it is trained")


def _read(file: str) -> Any:
    try:
        return json.loads(sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{file}: not JSON: {one_line(error, 200)}") from None
