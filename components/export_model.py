"""Component *export-model*: write the tested winner as files that run without this package."""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def export_model(search_name: str, placement: str, model: dsl.Output[dsl.Model], child_name: str = "") -> str:
    """Export a winner into the store, and as a model of the run.

    Args:
        search_name: the search.
        placement: see `components`.
        model: a folder with all files.
        child_name: the winner; empty: the search's best child.

    Returns:
        What was exported, in words.
    """
    from pathlib import Path

    from rlnas import report, steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        files = steps.export_model(ledger_of(search_name), report.card_of, child_name)
    for name, data in files.items():
        Path(model.path).mkdir(parents=True, exist_ok=True)
        Path(model.path, name).write_bytes(data)
    print(words := f"search {search_name}: exported {', '.join(files) or 'nothing'}")
    return words
