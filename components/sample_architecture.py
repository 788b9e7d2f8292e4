"""Component *sample-architecture*: propose a round of architectures, or take up what another run left behind.

Args:
    search_name: the search.
    turn: from *plan-rounds*: the replica that asks, `slot`, and the round of this run, `turn`, for people; which
        round of the search it is, the ledger says.
    placement: see `components`.

Returns:
    Batches of children to train, as text; never an empty list.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def sample_architecture(search_name: str, turn: dict, placement: str) -> list[str]:
    from rlnas import steps
    from rlnas.steps.common import ledger_of, reported_errors

    with reported_errors():
        return [str(batch) for batch in steps.sample_architecture(ledger_of(search_name), int(turn["slot"]))]
