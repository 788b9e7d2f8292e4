"""Component *plan-rounds*: how many rounds each replica does in this run.

A task of its own because Kubeflow's local runner loops only over a task's single, unnamed output.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def plan_rounds(search_name: str, rounds_per_run: int, placement: str) -> list:
    """Count the rounds of this run.

    Args:
        search_name: the search.
        rounds_per_run: at most so many rounds, over all replicas; 0: all that are left.
        placement: see `components`.

    Returns:
        One number for each round that a replica does; never an empty list.
    """
    from rlnas import steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        return list(range(steps.plan_rounds(ledger_of(search_name), int(rounds_per_run))))
