"""Component *finish*: sweep up, and say whether there is a winner to be finalized."""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def finish(search_name: str, placement: str, metrics: dsl.Output[dsl.Metrics]) -> bool:
    """End a run.

    Args:
        search_name: the search.
        placement: see `components`.
        metrics: how far the search has come.

    Returns:
        Whether the budget is reached and the winner is still to be finalized.
    """
    from rlnas import steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        ledger = ledger_of(search_name)
        version, complete = steps.finish(ledger)
        due = steps.is_due(ledger)
    print(
        f"search {search_name}: {version.children} children, " + ("budget reached" if complete else "to be continued")
    )
    metrics.log_metric("children", version.children)
    metrics.log_metric("failed", version.failed)
    if version.leaders:
        metrics.log_metric("best reward", version.leaders[0].reward)
    return due
