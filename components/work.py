"""Component *work*: sample, train, evaluate and update, one round after another, until the time is over.

Told to stop, the task gives its children back and ends well.

Args:
    search_name: the search.
    share: from *plan-workers*: the worker's number, the round at which the run ends, and seconds.
    task_name: the same for every attempt of this task, different for any two tasks.
    placement: see `components`.
    metrics: how far the search has come, and what the worker did with its time.
    page: the report.
    model: a folder with the winner's files, if it was this worker that exported it.

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
    model: dsl.Output[dsl.Model],
) -> int:
    from rlnas import report, steps
    from rlnas.report.artifacts import progress, write_files, write_page
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        ledger = ledger_of(search_name)
        spent = steps.work(ledger, task_name, float(share["seconds"]), int(share["until"]), report.card_of)
        version = ledger.version()
        for name, value in {**progress(version), **spent.numbers}.items():
            metrics.log_metric(name, value)
        write_files(spent.exported, model.path)
        write_page(ledger, page.path)
        if spent.exported:
            print(steps.register_model(ledger))
        return version.version
