"""Commands about the object store: `store ...`, `delete`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from rlnas.cli.common import PATIENCE, AsJson, SearchName, app, console, next_step, open_bucket, print_json
from rlnas.cli.ending import HOME
from rlnas.state import (
    Bucket,
    Check,
    Crew,
    EmbeddedStore,
    StoreSettings,
    check_store,
    delete_search,
    open_search,
    store_of,
    verdict,
)

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


@store_app.command("check")
def store_check(
    seconds: Annotated[float, typer.Option(min=0, help="how long the races go on, all together")] = 20.0,
    as_json: AsJson = False,
) -> None:
    """Try whether the store keeps what a search rests on, by many connections at once; leaves no trace.

    RLNAS_STORE_ENDPOINTS may name more endpoints of the same store, separated by commas.
    """
    endpoints = StoreSettings.all_from_environment(os.environ) or [store_of(os.environ, HOME, begin=True)]
    buckets = [Bucket(settings, PATIENCE) for settings in endpoints]
    for bucket in buckets:
        bucket.ensure()
    where = [settings.endpoint for settings in endpoints]
    found: list[Check] = []
    with Crew(endpoints) as crew:
        # A store that is full or read-only breaks no promise, and would fail in every check, each after a while.
        crew.each(lambda _, i: buckets[i].put(crew.key(f"-room-{i}"), b"is there room"), len(buckets))
        if not as_json:
            console.print(f"{len(crew.connections)} connections to bucket {endpoints[0].bucket} at {', '.join(where)}")
        for check in check_store(crew, seconds):
            found.append(check)
            if not as_json:
                cost = f"{check.operations:,} requests, {check.rate:,.0f} a second"
                line = f"{'ok' if check.ok else 'FAILED':8}{check.name:21}{check.seen} ({cost})"
                console.print(line, soft_wrap=True)
    ok, said = all(check.ok for check in found), verdict(found, endpoints[0].single_writer)
    if as_json:
        checks = [vars(check) | {"rate": check.rate} for check in found]
        print_json({"endpoints": where, "bucket": endpoints[0].bucket, "ok": ok, "verdict": said, "checks": checks})
    else:
        console.print(said, soft_wrap=True)
        if ok:
            next_step("rlnas validate SPEC", "checks a spec and its data")
        else:
            next_step("rlnas store check", "tries again, after a change of the store")
    raise typer.Exit(0 if ok else 1)
