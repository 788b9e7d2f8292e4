"""Commands that make a model in use of a child: `finalize`, `export`, `register`."""

import os
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from rlnas.cli.common import (
    BestUnlessGiven,
    SearchName,
    app,
    console,
    next_step,
    open_bucket,
    print_final,
    save_model,
    write_file,
)
from rlnas.cli.ending import HOME, fail
from rlnas.errors import UserError
from rlnas.state import StoreSettings, open_search


@app.command()
def finalize(
    search: SearchName,
    child: BestUnlessGiven = "",
    reference: Annotated[
        list[str] | None,
        typer.Option(help="a model that goes the same way, to compare with; again for more; the spec's unless given"),
    ] = None,
) -> None:
    """Take a child to a model in use: tuned by the spec's grid, trained for the last time, tested once, exported."""
    from rlnas.local import run_finalize
    from rlnas.steps import read_model, winner_of

    ledger = open_search(open_bucket(), search)
    child = winner_of(ledger, child)
    try:
        record = run_finalize(ledger, child, reference or (), HOME / "logs", console)
    except KeyboardInterrupt:
        fail("stopped; nothing finished is lost, the same command continues", 130)
    if record is None:
        return next_step(f"rlnas resume {search}", "lets it go on")
    print_final(record)
    save_model(read_model(ledger, record.winner), HOME / "models" / f"{search}-{child}")
    next_step(f"rlnas show {search} {child}", "shows the architecture")


@app.command("export")
def export(
    search: SearchName,
    child: BestUnlessGiven = "",
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="folder for the files")] = None,
    kserve: Annotated[
        Path | None,
        typer.Option("--kserve", metavar="FILE", help="where to write an InferenceService of KServe: .yaml"),
    ] = None,
    storage_secret: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="secret with the store's keys for KServe; rlnas-kserve unless given"),
    ] = None,
) -> None:
    """Save the files of a finalized child: ONNX, torch.export, weights, architecture, model card; or serve it."""
    from rlnas.report import card_of
    from rlnas.steps import export_model, find_final, inference_service, winner_of
    from rlnas.steps.serve_model import SECRET

    if to is None and kserve is None:
        raise UserError("nothing to write; allowed: --to DIR, --kserve FILE, or both")
    if storage_secret is not None and kserve is None:
        raise UserError("--storage-secret is what --kserve names; allowed: with --kserve")
    ledger = open_search(open_bucket(), search)
    if ledger.spec.final is None:
        raise UserError(f"search {search}: nothing of it is finalized, so there is nothing to export; see its spec")
    child = winner_of(ledger, child)
    final = find_final(ledger, child)
    if final is None or (record := final.record) is None:
        raise UserError(f"child {child} of search {search} is not finalized; `rlnas finalize {search} {child}` does it")
    files = export_model(ledger, card_of, child)  # made now if the run was stopped before it did
    if not files:
        raise UserError(
            f"child {child} of search {search} has no files: {record.models[0].reason or 'its export failed'}"
        )
    if to is not None:
        save_model(files, to)
    if kserve is None:
        return next_step(f"rlnas show {search} {child}", "shows the architecture")
    secret = SECRET if storage_secret is None else storage_secret
    write_file(kserve, inference_service(ledger, child, secret).encode())
    if StoreSettings.from_environment(os.environ) is None:
        console.print("warning: the model lies in the store of this folder, which no cluster reaches", soft_wrap=True)
    console.print(f"InferenceService: {kserve}; it needs the secret {secret}", soft_wrap=True)
    next_step(f"kubectl apply -f {quote(str(kserve))}", "serves the model")


@app.command()
def register(
    search: SearchName,
    child: BestUnlessGiven = "",
) -> None:
    """Tell Kubeflow's Model Registry at RLNAS_MODEL_REGISTRY of an exported child, as the end of a run does."""
    from rlnas.steps import register_model, winner_of
    from rlnas.steps.register_model import ADDRESS

    if not os.environ.get(ADDRESS, "").strip():
        raise UserError(f"{ADDRESS} is not set: where is the model registry?; allowed: an http(s) URL")
    ledger = open_search(open_bucket(), search)
    child = winner_of(ledger, child)
    if not (line := register_model(ledger, child)):
        raise UserError(
            f"child {child} of search {search} is not exported; `rlnas export {search} {child} --to DIR` does it, if it"
            " is finalized"
        )
    console.print(line, soft_wrap=True)
    next_step(f"rlnas show {search} {child}", "shows the architecture")
