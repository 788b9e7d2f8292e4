"""The search as a Kubeflow pipeline: sample architectures, train children, evaluate, update the controller, repeat.

The loop is one compiled package whatever the numbers of rounds and children are. Names of parameters are long and
unlike one another on purpose: SDK 2.17 does not hand a parameter into a loop whose item's name contains it.
"""

from kfp import dsl

import components
from components.image import BASE_IMAGE
from pipelines.placement import place, placement


@dsl.pipeline(name="rlnas-search", description="Neural architecture search with reinforcement learning")
def search_pipeline(
    search_name: str,
    search_spec: dict = {},  # noqa: B006 - the compiler reads it, nobody changes it
    rounds_per_run: int = 10,
    container_image: str = BASE_IMAGE,
    control_cpu: str = "1",
    control_memory: str = "2Gi",
    training_cpu: str = "2",
    training_memory: str = "8Gi",
    accelerator_type: str = "nvidia.com/gpu",
    accelerator_count: str = "0",
) -> bool:
    """Continue a search by some rounds, or start it.

    Args:
        search_name: enough by itself if the spec is in the store, so that a schedule needs nothing else.
        search_spec: the spec of a new search.
        rounds_per_run: at most so many rounds in this run; 0: all that are left.
        container_image: what every task runs in.
        control_cpu, control_memory: requests of the tasks that hold no child.
        training_cpu, training_memory: requests of *train-child* and *evaluate*.
        accelerator_type, accelerator_count: of the GPUs for those two; a count of 0 asks for none.

    Returns:
        Whether the search's budget is reached.
    """
    control = placement(container_image, control_cpu, control_memory)
    training = placement(container_image, training_cpu, training_memory, accelerator_type, accelerator_count)

    opened = components.open_search(search_name=search_name, search_spec=search_spec, placement=control.text)
    place(opened, control)
    planned = components.plan_rounds(
        search_name=search_name, rounds_per_run=rounds_per_run, placement=control.text
    ).after(opened)
    place(planned, control)
    with (
        dsl.ParallelFor(opened.output) as slot,
        dsl.ParallelFor(planned.output, parallelism=1) as turn,
    ):
        sampled = components.sample_architecture(search_name=search_name, slot=slot, turn=turn, placement=control.text)
        place(sampled, control)
        with dsl.ParallelFor(sampled.output) as batch:
            trained = components.train_child(
                search_name=search_name,
                batch=batch,
                task_name=f"{dsl.PIPELINE_JOB_ID_PLACEHOLDER}/{dsl.PIPELINE_TASK_ID_PLACEHOLDER}",
                placement=training.text,
            )
            place(trained, training)
            evaluated = components.evaluate(search_name=search_name, batch=trained.output, placement=training.text)
            place(evaluated, training)
        updated = components.update_controller(
            search_name=search_name, evaluated=dsl.Collected(evaluated.outputs["Output"]), placement=control.text
        )
        place(updated, control)
    finished = components.finish(search_name=search_name, placement=control.text).after(updated)
    place(finished, control)
    return finished.outputs["Output"]
