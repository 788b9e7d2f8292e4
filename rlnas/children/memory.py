"""What a convolutional child needs at the least, told from its description, so that one that cannot fit is never built.

Layers without filters put out all the channels they read. Where each of them reads all before it, as skip connections
allow, channels double from layer to layer: a deep network of such layers outgrows any machine. Trying to build one
would take down the process, if not the machine, and with it the children beside it.
"""

from pathlib import Path

import psutil
import torch

from rlnas.errors import ChildFailure
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture
from rlnas.spaces.sizes import filter_weights, input_sizes

_GIB = 2**30
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def require_memory(architecture: CNNArchitecture, shape: DataShape, batch: int, device: str, precision: str) -> None:
    """Refuse a child that cannot be trained on a device, whatever else runs there.

    Raises:
        ChildFailure: it needs more memory than there is (`out_of_memory`).
    """
    needed, there = least_memory(architecture, shape, batch, precision), device_memory(device)
    if needed > there:
        raise ChildFailure(
            "out_of_memory",
            f"it needs at least {needed / _GIB:.3g} GiB for a batch of {batch}; there are {there / _GIB:.3g} GiB",
        )


def least_memory(architecture: CNNArchitecture, shape: DataShape, batch: int, precision: str) -> int:
    """Return bytes that a step of training cannot do without: weights with their gradients, and what is read.

    Layers with weights keep what they read for the backward pass, layers that read one and the same output keep it
    once; and the largest input of all must exist for a moment. All that is read is of the training's precision.
    """
    sizes = input_sizes(architecture, shape)
    weights, kept = sizes[-1][2] * shape.classes, {}
    for i, (layer, (height, width, channels)) in enumerate(zip(architecture.layers, sizes, strict=False)):
        if layer.convolves or layer.type == "batch_norm":
            kept[layer.inputs if len(layer.inputs) < 2 else i] = height * width * channels
        if layer.convolves:
            weights += filter_weights(layer, channels)
    values = max(sum(kept.values()), *(height * width * channels for height, width, channels in sizes))
    return values * batch * (2 if precision == "bfloat16" else 4) + weights * 8


def device_memory(device: str) -> int:
    """Return the bytes that a device has in all: of a CPU, what this machine or container has."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(device).total_memory
    total = psutil.virtual_memory().total
    try:
        return min(total, int(_CONTAINER_LIMIT.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # no limit: there is no such file, or it says max
        return total
