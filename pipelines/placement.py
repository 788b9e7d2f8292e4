"""Where tasks run and with what: one helper that every task of every pipeline goes through."""

from dataclasses import dataclass, replace

from kfp import dsl, kubernetes

DAY = 24 * 60 * 60
SHARED_MEMORY = "8Gi"
"""In /dev/shm of tasks with children, for what their processes share; part of the pod's memory. KFP fixes it here."""

CONFIG = dsl.PipelineConfig(ttl_seconds_after_finished=DAY, active_deadline_seconds=7 * DAY)
"""Pods of a run are deleted a day after its end; what matters is in the ledger. A run is ended after a week."""

STORE_SECRET = {"accesskey": "RLNAS_STORE_ACCESS_KEY", "secretkey": "RLNAS_STORE_SECRET_KEY"}
STORE_CONFIG = (
    *(f"RLNAS_STORE_{name}" for name in ("ENDPOINT", "BUCKET", "REGION", "SECURE", "CA_FILE", "SINGLE_WRITER")),
    "RLNAS_MODEL_REGISTRY",
    "RLNAS_MODEL_REGISTRY_CA_FILE",
)
AUTHORITY_FOLDER = "/etc/rlnas/ca"
DATA_FOLDER = "/data"


@dataclass(frozen=True)
class Placement:
    """Run parameters (or values) that place a task's pod. What does not exist in the namespace may be missing there,
    save the claim.

    Args:
        image, pull_secret: image, and the secret of its registry.
        cpu, memory: requests.
        node_selector, tolerations: as Kubernetes writes them.
        store_secret: the secret with `accesskey` and `secretkey` of the object store.
        store_config: the config map with the `RLNAS_STORE_*` that are not secret, and `RLNAS_MODEL_REGISTRY`.
        authorities: the config map whose files lie in `AUTHORITY_FOLDER`; `RLNAS_STORE_CA_FILE` names one.
        data_claim: the volume claim mounted at `DATA_FOLDER`; None for tasks that read no data.
        accelerator_type, accelerator_count: resource name and number of GPUs; None for tasks that hold no children.
    """

    image: str
    pull_secret: str
    cpu: str
    memory: str
    node_selector: dict
    tolerations: list
    store_secret: str
    store_config: str
    authorities: str
    data_claim: str | None = None
    accelerator_type: str | None = None
    accelerator_count: str | None = None

    @property
    def text(self) -> str:
        """What goes into a task's `placement` argument: all that the compiler would not take into a loop by itself."""
        text = f"image {self.image}, cpu {self.cpu}, memory {self.memory}"
        if self.accelerator_type is not None:
            text += f", {self.accelerator_count} of {self.accelerator_type}"
        return text


def placements(
    container_image: str,
    image_pull_secret: str,
    control_cpu: str,
    control_memory: str,
    control_node_selector: dict,
    control_tolerations: list,
    training_cpu: str,
    training_memory: str,
    training_node_selector: dict,
    training_tolerations: list,
    accelerator_type: str,
    accelerator_count: str,
    store_secret_name: str,
    store_config_map: str,
    authority_config_map: str,
    data_volume_claim: str,
) -> tuple[Placement, Placement, Placement]:
    """Return the three placements of a pipeline's run parameters: tasks that hold neither children nor data, those
    that read data, and those that hold children. The parameters are explained at `pipelines.search.search_pipeline`.
    """
    control = Placement(
        image=container_image,
        pull_secret=image_pull_secret,
        cpu=control_cpu,
        memory=control_memory,
        node_selector=control_node_selector,
        tolerations=control_tolerations,
        store_secret=store_secret_name,
        store_config=store_config_map,
        authorities=authority_config_map,
    )
    data = replace(control, data_claim=data_volume_claim)
    training = replace(
        data,
        cpu=training_cpu,
        memory=training_memory,
        node_selector=training_node_selector,
        tolerations=training_tolerations,
        accelerator_type=accelerator_type,
        accelerator_count=accelerator_count,
    )
    return control, data, training


def place(task: dsl.PipelineTask, where: Placement) -> dsl.PipelineTask:
    """Apply a placement to a task, and keep its outputs out of the cache: the ledger alone says what is done.

    A missing secret or config map does not hold a pod back, so that the task itself says in one line what it lacks.
    """
    task.set_container_image(where.image)
    # Kubernetes' own choice for a tag `latest` is Always: an image loaded onto the nodes could not be used.
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    task.set_cpu_request(where.cpu)
    task.set_memory_request(where.memory)
    task.set_caching_options(False)
    task.set_retry(2, backoff_duration="10s", backoff_factor=3)
    kubernetes.set_timeout(task, DAY)
    kubernetes.set_security_context(task, run_as_non_root=True)
    kubernetes.set_image_pull_secrets(task, [where.pull_secret])
    kubernetes.add_node_selector_json(task, where.node_selector)
    kubernetes.add_toleration_json(task, where.tolerations)
    kubernetes.use_secret_as_env(task, where.store_secret, STORE_SECRET, optional=True)
    kubernetes.use_config_map_as_env(task, where.store_config, {name: name for name in STORE_CONFIG}, optional=True)
    kubernetes.use_config_map_as_volume(task, where.authorities, AUTHORITY_FOLDER, optional=True)
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "rlnas")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", task.component_spec.name)
    if where.data_claim is not None:
        kubernetes.mount_pvc(task, where.data_claim, DATA_FOLDER)
    if where.accelerator_type is not None:
        task.set_accelerator_type(where.accelerator_type)
        task.set_accelerator_limit(where.accelerator_count)
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=SHARED_MEMORY)
    return task
