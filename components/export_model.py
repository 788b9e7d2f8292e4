"""Component *export-model*: write the tested winner as files that run without this package, and tell a registry.

Args:
    search_name, placement: as of all components.
    model: a folder with all files, and an InferenceService of KServe.
    page: the report, with what test data said.
    child_name: the winner; empty: the search's best child.

Returns:
    What was exported, in words.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def export_model(
    search_name: str, placement: str, model: dsl.Output[dsl.Model], page: dsl.Output[dsl.HTML], child_name: str = ""
) -> str:
    from rlnas import report, steps
    from rlnas.report.artifacts import write_files, write_page
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        ledger = ledger_of(search_name)
        files = steps.export_model(ledger, report.card_of, child_name)
        write_files(files, model.path)
        write_page(ledger, page.path)
        if files:
            write_files({"inference-service.yaml": steps.inference_service(ledger, child_name).encode()}, model.path)
            print(steps.register_model(ledger, child_name))
    return f"search {search_name}: exported {', '.join(files) or 'nothing'}"
