"""Component *work*: sample, train, evaluate and update, one round after another, until the time is over.

Args:
    search_name, placement: as of all components.
    share: from *plan-workers*: the worker's number, for people, the round at which the run ends, and seconds.
    task_name: the same for every attempt of this task, different for any two tasks.
    metrics, page: how far the search has come, and what the worker did with its time; the report.

Returns:
    The newest version of the controller; it only orders the tasks.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def work(
    search_name: str,
    share: dict,
    task_name: str,
    placement: str,
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
) -> int:
    from rlnas import steps
    from rlnas.report.artifacts import progress, write_page
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        ledger = ledger_of(search_name)
        spent = steps.work(ledger, task_name, float(share["seconds"]), int(share["until"]))
        for name, value in {**progress(version := ledger.version()), **spent.numbers}.items():
            metrics.log_metric(name, value)
        write_page(ledger, page.path)
        return version.version
