"""Component *plan-rounds*: count the rounds that a replica does in this run.

A task of its own because Kubeflow's local runner loops only over a task's single, unnamed output.

Args:
    search_name: the search.
    rounds_per_run: so many over all replicas, each of which does the same number, at least one; 0: all that are
        left.
    slot: the replica.
    placement: see `components`.

Returns:
    For each round that the replica does, `slot` and a number, `turn`; never an empty list. Both are in the item,
    because Kubeflow's local runner gives the item of the innermost loop to all loops around it.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def plan_rounds(search_name: str, rounds_per_run: int, slot: int, placement: str) -> list[dict]:
    from rlnas import steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        rounds = steps.plan_rounds(ledger_of(search_name), int(rounds_per_run))
        return [{"slot": int(slot), "turn": turn} for turn in range(rounds)]
