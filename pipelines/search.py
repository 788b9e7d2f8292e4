"""The search as a Kubeflow pipeline: sample architectures, train children, evaluate, update the controller, repeat.

When the budget is reached, the loop goes on by two turns for the winner, its grid and its last training, which then is
tested and exported. That it is the same loop keeps the package small, and the pods few.

The loop is one compiled package whatever the numbers of rounds and children are. Names of parameters are long and
unlike one another on purpose: SDK 2.17 does not hand a parameter into a loop whose item's name contains it.
"""

from kfp import dsl

import components
from components.image import BASE_IMAGE
from pipelines.parts import begin, finish, take_winner
from pipelines.placement import CONFIG, place, placements

ROUNDS_PER_RUN = 5
"""Unless a run says otherwise: so many of the paper's 8 children, each with a pod of its own, and a winner, fit. Who
knows the spec knows better: `pipelines.rounds`."""


@dsl.pipeline(
    name="rlnas-search", description="Neural architecture search with reinforcement learning", pipeline_config=CONFIG
)
def search_pipeline(
    search_name: str,
    search_spec: dict = {},  # noqa: B006 - the compiler reads it, nobody changes it
    rounds_per_run: int = ROUNDS_PER_RUN,
    container_image: str = BASE_IMAGE,
    image_pull_secret: str = "rlnas-registry",
    control_cpu: str = "1",
    control_memory: str = "2Gi",
    control_node_selector: dict = {},  # noqa: B006
    control_tolerations: list = [],  # noqa: B006
    training_cpu: str = "2",
    training_memory: str = "8Gi",
    training_node_selector: dict = {},  # noqa: B006
    training_tolerations: list = [],  # noqa: B006
    accelerator_type: str = "nvidia.com/gpu",
    accelerator_count: str = "0",
    store_secret_name: str = "rlnas-store",
    store_config_map: str = "rlnas-store",
    authority_config_map: str = "rlnas-ca",
    data_volume_claim: str = "rlnas-data",
) -> None:
    """Continue a search by some rounds, or start it.

    Args:
        search_name: name of the search; enough by itself if the search is in the store already.
        search_spec: the spec of a new search, as JSON.
        rounds_per_run: rounds of this run, rounded up to a multiple of the replicas; 0: all that are left. A run of too
            many pods breaks: `rlnas` chooses as many rounds as fit, and refuses more.
        container_image: the image of every task.
        image_pull_secret: secret of the image's registry; need not exist.
        control_cpu, control_memory: request of each of the tasks that train and evaluate nothing.
        control_node_selector, control_tolerations: of the pods of the tasks that train and evaluate nothing; JSON.
        training_cpu, training_memory: request of each of *train-child*, *evaluate* and *final-test*.
        training_node_selector, training_tolerations: of the pods of *train-child*, *evaluate*, *final-test*; JSON.
        accelerator_type: resource name of the GPUs of *train-child*, *evaluate* and *final-test*.
        accelerator_count: number of GPUs of each of these three; 0: none.
        store_secret_name: secret with `accesskey` and `secretkey` of the object store.
        store_config_map: config map with the `RLNAS_STORE_*` that are not secret, and `RLNAS_MODEL_REGISTRY`.
        authority_config_map: config map with certificate authorities, mounted at /etc/rlnas/ca; need not exist.
        data_volume_claim: volume claim, mounted at /data in tasks that read data; must exist.
    """
    control, data, training = placements(
        container_image=container_image,
        image_pull_secret=image_pull_secret,
        control_cpu=control_cpu,
        control_memory=control_memory,
        control_node_selector=control_node_selector,
        control_tolerations=control_tolerations,
        training_cpu=training_cpu,
        training_memory=training_memory,
        training_node_selector=training_node_selector,
        training_tolerations=training_tolerations,
        accelerator_type=accelerator_type,
        accelerator_count=accelerator_count,
        store_secret_name=store_secret_name,
        store_config_map=store_config_map,
        authority_config_map=authority_config_map,
        data_volume_claim=data_volume_claim,
    )

    opened = begin(search_name, search_spec, data)
    with dsl.ParallelFor(opened.output) as slot:
        planned = components.plan_rounds(
            search_name=search_name, rounds_per_run=rounds_per_run, slot=slot, placement=control.text
        )
        place(planned, control)
        with dsl.ParallelFor(planned.output, parallelism=1) as turn:
            sampled = components.sample_architecture(search_name=search_name, turn=turn, placement=control.text)
            place(sampled, control)
            with dsl.ParallelFor(sampled.output) as batch:
                trained = components.train_child(
                    search_name=search_name,
                    batch=batch,
                    task_name=dsl.PIPELINE_TASK_ID_PLACEHOLDER,  # by itself: within a longer text nobody replaces it
                    placement=training.text,
                )
                place(trained, training)
                evaluated = components.evaluate(search_name=search_name, batch=trained.output, placement=training.text)
                place(evaluated, training)
            updated = components.update_controller(
                search_name=search_name, evaluated=dsl.Collected(evaluated.outputs["Output"]), placement=control.text
            )
            place(updated, control)
    finished = finish(search_name, control, updated)
    take_winner(search_name, finished, data, training)
