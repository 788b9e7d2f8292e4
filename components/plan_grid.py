"""Component *plan-grid*: name the winner, and plan its training with every combination of the grid.

Args:
    search_name: the search.
    child_name: the winner; empty: the search's best child.
    reference_models: names with commas between; empty: those of the spec.
    placement: see `components`.

Returns:
    Batches of children to train and evaluate, as text; never an empty list.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def plan_grid(search_name: str, child_name: str, reference_models: str, placement: str) -> list[str]:
    from rlnas import steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        references = [name.strip() for name in reference_models.split(",") if name.strip()]
        return [str(batch) for batch in steps.plan_grid(ledger_of(search_name), child_name, references)]
