"""Commands about the object store: `store ...`, `delete`."""

from pathlib import Path
from typing import Annotated

import typer

from rlnas.cli.common import AsJson, SearchName, app, console, next_step, open_bucket, print_json
from rlnas.cli.ending import HOME
from rlnas.state import EmbeddedStore, delete_search, open_search

store_app = typer.Typer(
    help="The object store: the embedded one of this folder, and files put into it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(store_app, name="store")


@app.command()
def delete(search: SearchName, yes: Annotated[bool, typer.Option("--yes", help="without asking")] = False) -> None:
    """Delete a search and all it remembers."""
    ledger = open_search(open_bucket(), search, deleting=True)
    if not yes:
        typer.confirm(f"delete search {search} with all its children?", abort=True)
    delete_search(ledger)
    console.print(f"search {search} is deleted")
    next_step("rlnas list", "shows what is left")


@store_app.command("start")
def store_start() -> None:
    """Start the embedded store; it goes on until it is stopped."""
    settings = EmbeddedStore(HOME).start()
    console.print(f"the store answers at {settings.endpoint}, its data in {HOME}")
    next_step("rlnas store stop", "stops it")


@store_app.command("stop")
def store_stop() -> None:
    """Stop the embedded store; its data stay."""
    EmbeddedStore(HOME).stop()
    console.print("the store is stopped; its data stay")
    next_step("rlnas store start", "starts it again; every other command does so by itself")


@store_app.command("status")
def store_status(as_json: AsJson = False) -> None:
    """Say whether the embedded store runs."""
    now = EmbeddedStore(HOME).status()
    if as_json:
        print_json(vars(now))
        return
    console.print(f"running at {now.endpoint}, process {now.pid}" if now.running else "not running")
    console.print(f"{now.size / 1e6:.1f} MB in {HOME}")
    next_step(*("rlnas store stop", "stops it") if now.running else ("rlnas store start", "starts it"))


@store_app.command("put")
def store_put(
    file: Annotated[Path, typer.Argument(help="to upload, such as mine.npz")],
    key: Annotated[str, typer.Argument(help="where it will lie, such as data/mine.npz")],
) -> None:
    """Upload a file, for a spec that says `store:KEY`; into the store of RLNAS_STORE_* where that is set."""
    from rlnas.datasets.base import STORE_PREFIX
    from rlnas.steps.common import check_key

    check_key(key := key.removeprefix(STORE_PREFIX))
    data = file.read_bytes()
    open_bucket(begin=True).put(key, data)
    console.print(f"{file} ({len(data) / 1e6:.1f} MB) lies in the store; a spec names it {STORE_PREFIX}{key}")
    next_step("rlnas validate SPEC", "checks a spec and its data")
