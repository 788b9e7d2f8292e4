"""Component *train-child*: train a batch of children and store their snapshots.

Children that fail by themselves get their result here. Told to stop, the task gives its children back and ends well.

Args:
    search_name: the search.
    batch: from *sample-architecture*.
    task_name: the same for every attempt of this task, different for any two tasks.
    placement: see `components`.

Returns:
    The batch, for *evaluate*.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def train_child(search_name: str, batch: str, task_name: str, placement: str) -> str:
    from rlnas import steps
    from rlnas.steps.common import Batch, ledger_of, reported_errors

    with reported_errors():
        steps.train_child(ledger_of(search_name), Batch.parse(batch), task_name)
    return batch
