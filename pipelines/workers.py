"""The search as workers: a few long tasks that sample, train, evaluate and update, each as often as time allows.

The loop of `pipelines.search` shows every step in Kubeflow's UI, and pays some pods for each child. Here a run takes a
few pods in all. Both are the same search: their steps, and what the store holds, are the same.
"""

from kfp import dsl

import components
from components.image import BASE_IMAGE
from pipelines.parts import begin, finish, take_winner
from pipelines.placement import CONFIG, place, placements

SECONDS_PER_RUN = 20 * 60 * 60


@dsl.pipeline(
    name="rlnas-workers", description="Neural architecture search with reinforcement learning", pipeline_config=CONFIG
)
def workers_pipeline(
    search_name: str,
    search_spec: dict = {},  # noqa: B006 - the compiler reads it, nobody changes it
    worker_count: int = 4,
    rounds_per_run: int = 0,
    seconds_per_run: int = SECONDS_PER_RUN,
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
    """Continue a search by workers, or start it.

    Args:
        search_name: name of the search; enough by itself if the search is in the store already.
        search_spec: the spec of a new search, as JSON.
        worker_count: how many workers side by side, each a pod.
        rounds_per_run: rounds of this run in all; 0: all that are left.
        seconds_per_run: after so many, a worker begins nothing new; at most 23 hours.
        container_image: the image of every task.
        image_pull_secret: secret of the image's registry; need not exist.
        control_cpu, control_memory: request of each of the tasks that train and evaluate nothing.
        control_node_selector, control_tolerations: of the pods of the tasks that train and evaluate nothing; JSON.
        training_cpu, training_memory: request of each of *work* and *final-test*.
        training_node_selector, training_tolerations: of the pods of *work*, *final-test*; JSON.
        accelerator_type: resource name of the GPUs of *work* and *final-test*.
        accelerator_count: number of GPUs of each of these two; 0: none.
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
    planned = components.plan_workers(
        search_name=search_name,
        worker_count=worker_count,
        rounds_per_run=rounds_per_run,
        seconds_per_run=seconds_per_run,
        placement=control.text,
    )
    place(planned, control).after(opened)
    with dsl.ParallelFor(planned.output) as share:
        worked = components.work(
            search_name=search_name,
            share=share,
            task_name=dsl.PIPELINE_TASK_ID_PLACEHOLDER,
            placement=training.text,
        )
        place(worked, training)
    # A worker that fails, as one whose pod is deleted does here, is no reason to leave out the test and the export.
    finished = finish(search_name, control, worked).ignore_upstream_failure()
    take_winner(search_name, finished, data, training)
