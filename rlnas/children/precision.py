"""In which numbers children compute: fast ones for training where the device has them, float32 for what is judged.

What is exported runs in float32 on any machine, so a child must not be scored, or tested, in anything less. Weights,
the optimiser's moments and statistics are float32 everywhere.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


def chosen(wanted: str, device: str) -> str:
    """Return the numbers that children are trained in, `float32` or `bfloat16`.

    Args:
        wanted: the recipe's `precision`.
        device: that they are trained on.
    """
    cuda = device.startswith("cuda")
    if wanted == "bfloat16_on_cuda":
        return "bfloat16" if cuda else "float32"
    if wanted == "auto":
        return "bfloat16" if cuda or has_amx() else "float32"
    return wanted


def has_amx() -> bool:
    """Whether this processor multiplies tiles of bfloat16; one without is slower in them than in float32."""
    return torch.cpu._is_amx_tile_supported()


def device_class(device: str) -> str:
    """Return what equal sums depend on: the card's name, or the vector units of the processor."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}{' and AMX' if has_amx() else ''}"


def mixed(device: torch.device, precision: str) -> AbstractContextManager:
    """Return a context of bfloat16 where that is safe (autocast), or of float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Choose what products of float32 are made of, within the context; all else is float32.

    Args:
        precision: `bfloat16`: of bfloat16 products, or of TF32 on CUDA. `float32`: of themselves, nothing is rounded.
    """
    cudnn, fast = torch.backends.cudnn, precision == "bfloat16"
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium" if fast else "highest")
    cudnn.allow_tf32 = fast
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32 = before[1]
