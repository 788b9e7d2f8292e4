"""Export a tested winner: files that run without this package, in the store under a key that stays."""

from collections.abc import Callable

from rlnas.state import MODEL_CARD, FinalRecord, Ledger, parse_child_id
from rlnas.steps.common import architecture_of, opener, trainer_of
from rlnas.steps.data import data_of
from rlnas.steps.finalize import find_final


def export_model(ledger: Ledger, card: Callable[[Ledger, FinalRecord], str], child: str = "") -> dict[str, bytes]:
    """Write a winner's files into the store, each verified against the trained model on validation data before.

    Args:
        ledger: of the search.
        card: writes the page that says what the model is; stored last, as the sign that the export is complete.
        child: the winner; empty: the search's best child.

    Returns:
        The files by name; none if the winner is not tested yet, or could not be trained.

    Raises:
        ExportError: a format cannot express the model, or computes something else.
    """
    from rlnas.children.export import export_files

    final = find_final(ledger, child)
    record = final.record if final else None
    if record is None or not record.models[0].test:
        return {}
    if known := read_model(ledger, record.winner):
        page = card(ledger, record).encode()
        if known[MODEL_CARD] != page:  # since, a control was run perhaps, or another child tested
            ledger.bucket.put(ledger.model_key(record.winner, MODEL_CARD), page)
        return known | {MODEL_CARD: page}
    model, spec, files = record.models[0], ledger.spec, opener(ledger.bucket)
    number, index = parse_child_id(model.child)
    plan, snapshots = ledger.plan(number), ledger.snapshots(model.child)
    assert plan is not None
    assert snapshots is not None
    planned = plan.children[index]
    trainer = trainer_of(ledger, "cpu", planned.recipe)
    deployable = trainer.deploy(architecture_of(ledger, planned, trainer), snapshots, spec.dataset.validation(files))
    names = data_of(ledger).class_names
    exported = export_files(deployable, spec.space, spec.dataset.vocabulary(files), names)
    exported[MODEL_CARD] = card(ledger, record).encode()
    for name, data in exported.items():
        ledger.bucket.put(ledger.model_key(record.winner, name), data)
    return exported


def read_model(ledger: Ledger, winner: str) -> dict[str, bytes]:
    """Return the files of an exported winner by name; none if it is not exported."""
    found = {name: ledger.bucket.get(ledger.model_key(winner, name)) for name in ledger.model_files(winner)}
    return {name: file.data for name, file in found.items() if file is not None}
