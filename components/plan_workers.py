"""Component *plan-workers*: say what each worker of this run is to do.

A task of its own because Kubeflow's local runner loops only over a task's single, unnamed output.

Args:
    search_name: the search.
    worker_count: how many workers side by side.
    rounds_per_run: rounds of this run in all; 0: all that are left.
    seconds_per_run: after so many, a worker begins nothing new.
    placement: see `components`.

Returns:
    For each worker its number, the round at which the run ends, and its seconds.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def plan_workers(
    search_name: str, worker_count: int, rounds_per_run: int, seconds_per_run: int, placement: str
) -> list[dict]:
    from rlnas import steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        numbers = int(worker_count), int(rounds_per_run), int(seconds_per_run)
        return steps.plan_workers(ledger_of(search_name), *numbers)
