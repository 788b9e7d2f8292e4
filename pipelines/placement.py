"""Where tasks run: one helper that applies image, resources and caching to every task of every pipeline."""

from dataclasses import dataclass

from kfp import dsl


@dataclass(frozen=True)
class Placement:
    """Run parameters (or values) that place a task's pod.

    Args:
        image, cpu, memory: image and requests.
        accelerator_type, accelerator_count: resource name and number of GPUs; None for tasks that never have one.
        text: mentions all of them; to be given to the task's `placement` argument.
    """

    image: str
    cpu: str
    memory: str
    accelerator_type: str | None
    accelerator_count: str | None
    text: str


def placement(
    image: str, cpu: str, memory: str, accelerator_type: str | None = None, accelerator_count: str | None = None
) -> Placement:
    """Describe where tasks run."""
    text = f"image {image}, cpu {cpu}, memory {memory}"
    if accelerator_type is not None:
        text += f", {accelerator_count} of {accelerator_type}"
    return Placement(image, cpu, memory, accelerator_type, accelerator_count, text)


def place(task: dsl.PipelineTask, where: Placement) -> None:
    """Apply a placement to a task, and keep its outputs out of the cache: the ledger alone says what is done."""
    task.set_container_image(where.image)
    task.set_cpu_request(where.cpu)
    task.set_memory_request(where.memory)
    if where.accelerator_type is not None:
        task.set_accelerator_type(where.accelerator_type)
        task.set_accelerator_limit(where.accelerator_count)
    task.set_caching_options(False)
