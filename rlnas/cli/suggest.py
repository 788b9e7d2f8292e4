"""The command that brings knowledge from outside into a search: `suggest`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rlnas.cli.common import SearchName, app, console, next_step, open_bucket, summary_of
from rlnas.errors import UserError, one_line
from rlnas.report.status import known_architectures
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
    # A list of single values is one architecture; any other list is several, or none.
    one = bool(document) and isinstance(document, list) and not any(isinstance(d, list | dict) for d in document)
    several = isinstance(document, list) and not one
    found = steps.suggest(ledger, document if several else [document], by)
    known = known_architectures(ledger)
    for tokens, doubt in found:
        console.print(f"waits for a round: {summary_of(ledger, tokens)}", soft_wrap=True)
        if doubt:
            console.print(f"warning: {doubt}", soft_wrap=True)
        if tokens in known:
            console.print(f"warning: this is child {known[tokens]} already; it is trained once more", soft_wrap=True)
        if excess := ledger.spec.objective.excess(ledger.spec.space.features(tokens, ledger.shape).sizes):
            console.print(f"warning: it will not be trained, because of its {excess}", soft_wrap=True)
    next_step(f"rlnas leaderboard {search}", "shows what became of it, once it is trained")


def _read(file: str) -> Any:
    where = "standard input" if file == "-" else file
    try:
        return json.loads(sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON: {one_line(error, 200)}") from None
