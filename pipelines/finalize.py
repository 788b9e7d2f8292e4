"""From a winner to a model in use, as a Kubeflow pipeline: tune by a grid, train for the last time, test once, export.

A package of its own for any child, and the tail of the search for the best one.
"""

from kfp import dsl

import components
from components.image import BASE_IMAGE
from pipelines.placement import CONFIG, place, placements


@dsl.pipeline(
    name="rlnas-finalize",
    description="The winner of an architecture search, tuned, tested once and exported",
    pipeline_config=CONFIG,
)
def finalize_pipeline(
    search_name: str,
    child_name: str = "",
    reference_models: str = "",
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
    """Finalize a child of a search.

    Args:
        search_name: a search in the store.
        child_name: such as 000003-001; empty: the best child of a search whose budget is reached.
        reference_models: models that go the same way, names with commas between; empty: those of the spec.
        container_image, image_pull_secret, control_cpu, control_memory, control_node_selector, control_tolerations,
            training_cpu, training_memory, training_node_selector, training_tolerations, accelerator_type,
            accelerator_count, store_secret_name, store_config_map, authority_config_map, data_volume_claim: as of
            `pipelines.search.search_pipeline`.
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

    planned = components.plan_grid(
        search_name=search_name,
        child_name=child_name,
        reference_models=reference_models,
        placement=control.text,
    )
    place(planned, control)
    with dsl.ParallelFor(planned.output) as batch:
        tried = components.train_child(
            search_name=search_name,
            batch=batch,
            task_name=dsl.PIPELINE_TASK_ID_PLACEHOLDER,
            placement=training.text,
        )
        place(tried, training)
        scored = components.evaluate(search_name=search_name, batch=tried.output, placement=training.text)
        place(scored, training)
    chosen = components.plan_retraining(
        search_name=search_name,
        child_name=child_name,
        placement=control.text,
    )
    place(chosen, control).after(scored)
    with dsl.ParallelFor(chosen.output) as model:
        trained = components.train_child(
            search_name=search_name,
            batch=model,
            task_name=dsl.PIPELINE_TASK_ID_PLACEHOLDER,
            placement=training.text,
        )
        place(trained, training)
    tested = components.final_test(
        search_name=search_name,
        child_name=child_name,
        placement=training.text,
    )
    place(tested, training).after(trained)
    exported = components.export_model(search_name=search_name, child_name=child_name, placement=data.text)
    place(exported, data).after(tested)
