"""In which numbers children compute: fast ones for training on a GPU, float32 in full for what is judged.

What is exported runs in float32 on any machine, so a child must not be scored, or tested, in anything less.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


def mixed(device: torch.device) -> AbstractContextManager:
    """Return a context of bfloat16 where that is safe (autocast) on CUDA; of float32 elsewhere, where it is faster."""
    return torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda")


@contextmanager
def full() -> Iterator[None]:
    """Keep products of float32 from being rounded to TF32 on CUDA, within the context."""
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32 = before[1]
