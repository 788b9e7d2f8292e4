"""Component *update-controller*: apply complete rounds to the controller, each exactly once.

Args:
    search_name: the search.
    evaluated: from *evaluate*; it only orders the tasks.
    placement: see `components`.
    metrics: of the newest version.
    page: the report.

Returns:
    The newest version of the controller.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def update_controller(
    search_name: str, evaluated: list[int], placement: str, metrics: dsl.Output[dsl.Metrics], page: dsl.Output[dsl.HTML]
) -> int:
    from rlnas import steps
    from rlnas.report.artifacts import progress, write_page
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        ledger = ledger_of(search_name)
        version = steps.update_controller(ledger)
        for name, value in {**version.numbers, **progress(version)}.items():
            metrics.log_metric(name, value)
        write_page(ledger, page.path)
        return version.version
