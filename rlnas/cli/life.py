"""Commands of a search's long life: `pause`, `resume`, `stop`, `extend`."""

import getpass
import socket
from typing import Annotated, Any

import typer

from rlnas.cli.common import SearchName, app, console, next_step, open_bucket
from rlnas.errors import UserError
from rlnas.state import (
    Ledger,
    budget_reached,
    ended_line,
    left_of,
    open_search,
    paused_line,
)
from rlnas.state import pause as pause_search
from rlnas.state import resume as resume_search
from rlnas.state import stop as stop_search
from rlnas.state.marks import CHILDREN, DEVICE_HOURS, HOURS
from rlnas.yaml_text import read_yaml

By = Annotated[str | None, typer.Option(help="who does so, for the record; $USER@host unless given")]


@app.command()
def pause(search: SearchName, by: By = None) -> None:
    """Have nothing new begun in a search until it is resumed; trainings give their children back within 30 s."""
    ledger = open_search(open_bucket(), search)
    made = pause_search(ledger, _who(by))
    console.print(paused_line(ledger), soft_wrap=True)
    if made:
        console.print("trainings under way leave a checkpoint and end within 30 s, or after a step that takes longer")
    next_step(f"rlnas resume {search}", "lets it go on")


@app.command()
def resume(search: SearchName) -> None:
    """Let a paused search go on with its next run."""
    ledger = open_search(open_bucket(), search)
    made = resume_search(ledger)
    console.print(f"search {search} is {'paused no longer' if made else 'not paused'}")
    _go_on(ledger)


@app.command()
def stop(search: SearchName, by: By = None) -> None:
    """End a search: what is planned is still trained, nothing else, and the best child so far is its winner."""
    ledger = open_search(open_bucket(), search)
    made = stop_search(ledger, _who(by))
    said = ended_line(ledger) or f"search {search} is complete with {ledger.children:,} children"
    console.print(said if made else f"{said}: there is nothing to stop", soft_wrap=True)
    _go_on(ledger)


@app.command()
def extend(
    search: SearchName,
    children: Annotated[int | None, typer.Option(help="the new total, as loop.children; undoes an end")] = None,
    hours: Annotated[float | None, typer.Option(help="hours since its creation, as loop.hours")] = None,
    device_hours: Annotated[float | None, typer.Option(help="hours of its children, as loop.device_hours")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="another field, such as loop.window=4; again for more"),
    ] = None,
    by: By = None,
) -> None:
    """Change a search's budget, and other fields that do not change what a child means; its record says who did."""
    from rlnas import steps

    ledger = open_search(open_bucket(), search)
    options = {CHILDREN: children, HOURS: hours, DEVICE_HOURS: device_hours}
    changes: dict[str, Any] = {field: value for field, value in options.items() if value is not None}
    now = ledger.spec.fields
    for setting in settings or ():
        field, separator, value = setting.partition("=")
        if not field or not separator or field in changes:
            raise UserError(f"--set {setting}: allowed: field=value, each field once")
        try:
            changes[field] = value if isinstance(now.get(field), str) else read_yaml(value)
        except UserError as error:
            raise UserError(f"--set {setting}: {error}") from None
    if not changes:
        raise UserError("nothing to change; allowed: --children N, --hours H, --device-hours H, --set FIELD=VALUE")
    made = steps.extend(ledger, changes, _who(by))
    for change in made:
        console.print(f"search {search}: {change}", soft_wrap=True)
    if not made:
        console.print(f"search {search} has all that already; nothing was changed")
    if line := ended_line(ledger):
        console.print(f"warning: {line}; `rlnas extend {search} --children N` lets it go on", soft_wrap=True)
    elif why := budget_reached(ledger):
        console.print(f"warning: its {why} is reached, so the next run ends it", soft_wrap=True)
    _go_on(ledger)


def _go_on(ledger: Ledger) -> None:
    """Say what comes next for a search that has just been changed."""
    if ledger.record.paused:
        next_step(f"rlnas resume {ledger.name}", "lets it go on")
    elif left := left_of(ledger, ledger.version()):
        next_step("rlnas run SPEC", f"takes up what is left here, or rlnas submit SPEC on Kubeflow: {left}")
    else:
        next_step(f"rlnas leaderboard {ledger.name}", "shows its best architectures")


def _who(by: str | None) -> str:
    if by is not None:
        return by
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
