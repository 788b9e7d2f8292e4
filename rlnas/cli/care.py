"""Commands for the long life of searches: `gc`, `copy`, `retry`."""

import os
from typing import Annotated

import typer

from rlnas.cli.common import PATIENCE, SearchName, app, console, in_bytes, next_step, open_bucket, print_table
from rlnas.cli.ending import fail
from rlnas.datasets.base import STORE_PREFIX
from rlnas.spec import check_name
from rlnas.state import Bucket, copy_search, find_garbage, open_search, other_store


@app.command()
def gc(
    search: Annotated[str, typer.Argument(help="name of one search; all of the store unless given")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="delete it; without this it is only shown")] = False,
) -> None:
    """Show what nobody needs any more, or delete it: leftovers of what was killed, and of deleted searches."""
    found = find_garbage(open_bucket(), check_name(search) if search else "")
    for remark in found.remarks:
        console.print(f"warning: {remark}", soft_wrap=True)
    garbage = found.garbage
    if yes:
        for heap in garbage:
            heap.remove()
    if garbage:
        rows = [(heap.search or "-", str(heap.objects), in_bytes(heap.size), heap.kind) for heap in garbage]
        print_table(("search", "objects", "size", "what"), rows)
    size = in_bytes(sum(heap.size for heap in garbage))
    if yes or not garbage:
        console.print(f"deleted: {size}" if garbage else "nothing to delete")
        return next_step("rlnas list --sizes", "shows what is left")
    console.print(f"would be deleted: {size}; nothing is changed yet")
    next_step(f"rlnas gc {search} --yes".replace("  ", " "), "deletes it")


@app.command()
def copy(
    search: SearchName,
    to: Annotated[
        str,
        typer.Option(
            metavar="ENDPOINT/BUCKET",
            help="the other store; its keys are in RLNAS_TO_ACCESS_KEY and RLNAS_TO_SECRET_KEY",
        ),
    ],
) -> None:
    """Copy a search to another store, under its own name; the same command goes on with a copy that was stopped."""
    ledger, other = open_search(open_bucket(), search), Bucket(other_store(to, os.environ), patience=PATIENCE)
    other.ensure()
    other.probe()

    def tell(done: int, total: int) -> None:
        console.print(f"{done:,} of {total:,} objects")

    try:
        copied = copy_search(ledger, other, tell)
    except KeyboardInterrupt:
        fail("stopped; what is copied stays there, the same command goes on", 130)
    if copied.there:
        ours, theirs = ledger.version().children, open_search(other, search).version().children
        console.print(f"search {search} is there already; nothing was copied", soft_wrap=True)
        if ours != theirs:
            console.print(
                f"warning: there {theirs:,} of its children are applied, here {ours:,}; a whole copy is not brought up"
                " to date: delete it there to have it copied anew",
                soft_wrap=True,
            )
    else:
        written = f"{copied.objects:,} objects, {in_bytes(copied.size)}, were written and compared"
        console.print(f"search {search} is copied: {written}", soft_wrap=True)
    for place in ledger.record.spec["dataset"].values():
        if isinstance(place, str) and place.startswith(STORE_PREFIX):
            console.print(f"warning: its data are not copied; put {place} there before it goes on", soft_wrap=True)
    endpoint = f"{'https://' * other.settings.secure}{other.settings.endpoint}"
    where = f"RLNAS_STORE_ENDPOINT={endpoint} RLNAS_STORE_BUCKET={other.settings.bucket}"
    next_step(f"{where} ... rlnas status {search}", "shows the copy")


@app.command()
def retry(
    search: SearchName,
    children: Annotated[list[str], typer.Argument(metavar="CHILD...", help="lost children, such as 000003-001")],
) -> None:
    """Train the architectures of lost children once more, as new children: they are suggested to the search."""
    from rlnas import steps

    for child, doubt in steps.retry(open_search(open_bucket(), search), children).items():
        waits = "its architecture waits for a round, which trains it as a new child"
        console.print(f"child {child} stays lost; {'it was put into the queue before' if doubt is None else waits}")
        if doubt:
            console.print(f"warning: {child}: {doubt}", soft_wrap=True)
    next_step(f"rlnas status {search}", "shows how far it is, and what goes on with it")
