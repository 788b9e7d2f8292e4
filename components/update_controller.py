"""Component *update-controller*: REINFORCE with the rewards of the rounds that are complete."""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def update_controller(search_name: str, evaluated: list, placement: str, metrics: dsl.Output[dsl.Metrics]) -> int:
    """Apply complete rounds to the controller, each exactly once.

    Args:
        search_name: the search.
        evaluated: from *evaluate*; it only orders the tasks.
        placement: see `components`.
        metrics: of the newest version.

    Returns:
        The newest version of the controller.
    """
    from rlnas import steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        version = steps.update_controller(ledger_of(search_name))
    for name, value in version.numbers.items():
        metrics.log_metric(name, value)
    metrics.log_metric("children", version.children)
    metrics.log_metric("failed", version.failed)
    if version.leaders:
        metrics.log_metric("best reward", version.leaders[0].reward)
    return version.version
