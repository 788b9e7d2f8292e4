"""Commands that run a search here: `run`, `validate`."""

from shlex import quote
from typing import IO, Annotated

import typer

from rlnas.cli.common import (
    Control,
    Name,
    Searcher,
    Seed,
    SpecFile,
    TakesControl,
    app,
    connect,
    console,
    next_step,
    open_bucket,
    print_final,
    print_leaders,
    read_spec,
    save_model,
    variant_of,
)
from rlnas.cli.ending import HOME, fail
from rlnas.spec import SearchSpec, load_spec
from rlnas.state import Bucket, find_search, open_search


@app.command(cls=TakesControl)
def run(
    spec_file: SpecFile,
    rounds: Annotated[int, typer.Option(min=0, help="so many rounds, or up to loop.replicas - 1 more; 0: all")] = 0,
    workers: Annotated[
        int, typer.Option(min=0, max=2, help="1 or 2 tasks that do all steps; 0: the loop, with a task for each step")
    ] = 0,
    searcher: Searcher = None,
    name: Name = None,
    seed: Seed = None,
    control: Control = None,
) -> None:
    """Run a search here, through kfp.local, or continue it."""
    from rlnas.local import run_search
    from rlnas.steps import find_final, read_model

    written = read_spec(spec_file, searcher, name)
    spec = variant_of(written, seed, control)
    bucket = connect(begin=True)
    if spec.name != written.name:
        spec = variant_of(_as_begun(bucket, written), seed, control)
    try:
        status = run_search(bucket, spec, rounds, HOME / "logs", console, workers)
    except KeyboardInterrupt:
        fail("stopped; nothing finished is lost, the same command continues", 130)
    ledger = open_search(bucket, spec.name)
    print_leaders(ledger, ledger.version(), 10)
    if status.paused:
        return next_step(f"rlnas resume {spec.name}", "lets it go on")
    if not status.complete:
        given = {"workers": workers or None, "searcher": searcher, "name": name, "seed": seed, "control": control}
        flags = "".join(f" --{option} {value}" for option, value in given.items() if value is not None)
        return next_step(f"rlnas run {quote(str(spec_file))}{flags}", "continues the search")
    final = find_final(ledger) if ledger.spec.final and status.leaders else None
    if final and (record := final.record):
        print_final(record)
        save_model(read_model(ledger, record.winner), HOME / "models" / spec.name)
    if not status.leaders:
        next_step(f"rlnas report {spec.name}", "tells of all failures")
    elif spec.name != written.name:
        next_step(f"rlnas report {written.name}", "compares searches of other seeds and controls")
    else:
        next_step(f"rlnas show {spec.name}", "shows the best architecture")


def _as_begun(bucket: Bucket, spec: SearchSpec) -> SearchSpec:
    """Return the spec as its search has it, if there is one: what it leaves open may have been otherwise then."""
    bucket.ensure()
    known = find_search(bucket, spec.name)
    return spec if known is None or known.extended(spec).differences(known.spec) else known.spec


@app.command()
def validate(spec_file: SpecFile) -> None:
    """Check a spec and all its data, and say what a search would see.

    It starts no search, and the embedded store only if the data, or an earlier search to begin with, lie there.
    """
    from rlnas.datasets import open_local
    from rlnas.datasets.base import STORE_PREFIX
    from rlnas.steps import check_spec, doubts_of
    from rlnas.steps.common import opener
    from rlnas.steps.data import look_through
    from rlnas.steps.warm_start import look_up

    spec = load_spec(spec_file)

    def open_file(path: str) -> IO[bytes]:
        return opener(open_bucket(begin=True))(path) if path.startswith(STORE_PREFIX) else open_local(path)

    shape, loop = check_spec(spec, open_file), spec.loop
    data = look_through(spec.dataset, open_file)
    begun = look_up(open_bucket(begin=True), spec, shape) if spec.warm_start else None
    console.print(
        f"{spec_file} is valid: search {spec.name}, {loop.children} children in {loop.rounds} rounds,"
        f" {spec.space.kind} on {spec.dataset.kind} ({shape.modality}, {shape.classes} classes)"
    )
    if spec.limits:
        console.print(spec.limits, soft_wrap=True)
    if begun:
        console.print(f"it begins with {begun[0]}", soft_wrap=True)
    for line in data.lines:
        console.print(line, soft_wrap=True)
    for doubt in doubts_of(spec, shape):
        console.print(f"warning: {doubt}", soft_wrap=True)
    next_step(f"rlnas run {quote(str(spec_file))}", "runs it here")
