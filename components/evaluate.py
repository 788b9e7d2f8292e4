"""Component *evaluate*: score a batch of trained children on validation data, and record their rewards.

Args:
    search_name: the search.
    batch: from *train-child*.
    placement: see `components`.
    metrics: reward of each child.

Returns:
    How many of them have ended; it only orders the tasks, since rewards are read from the ledger.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def evaluate(search_name: str, batch: str, placement: str, metrics: dsl.Output[dsl.Metrics]) -> int:
    from rlnas import steps
    from rlnas.steps.common import Batch, ledger_of, reported_errors

    with reported_errors():
        results = steps.evaluate(ledger_of(search_name), Batch.parse(batch))
        for child, result in results.items():
            if result.reward is not None:
                metrics.log_metric(f"reward {child}", result.reward)
        metrics.log_metric("failed", sum(result.status != "ok" for result in results.values()))
        return len(results)
