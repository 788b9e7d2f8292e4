"""Component *finish*: sweep up, and say what is left of the search, its winner included.

Args:
    search_name: the search.
    placement: see `components`.
    metrics: how far the search has come.
    page: the report.

Returns:
    Whether the budget is reached, the winner is still to be finalized, and the search is not paused.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def finish(search_name: str, placement: str, metrics: dsl.Output[dsl.Metrics], page: dsl.Output[dsl.HTML]) -> bool:
    from rlnas import steps
    from rlnas.report.artifacts import progress, write_page
    from rlnas.report.status import HOW_TO_GO_ON
    from rlnas.state import left_of, marks_of
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        ledger = ledger_of(search_name)
        version = steps.finish(ledger)
        left = left_of(ledger, version)
        for line in marks_of(ledger):
            print(line)
        print(f"search {search_name}: {version.children} children, {left}{f'; {HOW_TO_GO_ON}' if left.rounds else ''}")
        for name, value in progress(version).items():
            metrics.log_metric(name, value)
        write_page(ledger, page.path)
        return left.only_winner and not ledger.record.paused
