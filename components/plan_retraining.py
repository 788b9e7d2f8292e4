"""Component *plan-retraining*: choose the best of the grid, and plan the last training.

Args:
    search_name: the search.
    child_name: the winner; empty: the search's best child.
    placement: see `components`.

Returns:
    Batches of children to train, as text; never an empty list.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def plan_retraining(search_name: str, child_name: str, placement: str) -> list[str]:
    from rlnas import steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        return [str(batch) for batch in steps.plan_retraining(ledger_of(search_name), child_name)]
