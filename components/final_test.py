"""Component *final-test*: open the test data, once, and score a winner and its reference models.

Args:
    search_name: the search.
    placement: see `components`.
    metrics: what test data said of each model.
    child_name: the winner; empty: the search's best child.

Returns:
    Whether the winner is tested.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def final_test(
    search_name: str,
    placement: str,
    metrics: dsl.Output[dsl.Metrics],
    child_name: str = "",
) -> bool:
    from rlnas import steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        record = steps.final_test(ledger_of(search_name), child_name)
        for model in record.models if record else ():
            for name, value in model.test.items():
                metrics.log_metric(f"{model.reference or 'winner'} {name}", value)
        return record is not None
