"""What an untrained cell shows: whether its hidden state says anything of the words that it reads."""

import math

import torch
from torch import Tensor

from rlnas.children.rnn import step
from rlnas.spaces.rnn import Cell

HIDDEN, STREAMS, STEPS, WARM_UP = 16, 8, 10, 5
GAIN = 2
"""A sum over the units of a state is so many times as large as they are: about what training makes of small weights."""
LEAST = 1e-3


@torch.inference_mode()
def variation(cell: Cell) -> float:
    """Return which part of the hidden state is not always the same, in a tiny copy that reads a few random words.

    It takes a millisecond, in float32 on the CPU wherever children train. All cells meet the same weights and the same
    words, so that only the cells make a difference.

    Returns:
        From `LEAST` to 1; `LEAST` also if the state is not finite.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    leaves = (cell.base, HIDDEN)
    words = normal(STEPS, STREAMS, HIDDEN)
    W, U = (GAIN / math.sqrt(HIDDEN) * normal(HIDDEN, cell.base * HIDDEN) for _ in range(2))
    h = c = torch.zeros(STREAMS, HIDDEN)
    outputs = []
    for from_x in (words @ W).unflatten(-1, leaves):
        h, c = step(cell, from_x, (h @ U).unflatten(-1, leaves), c)
        outputs.append(h)
    states = torch.cat(outputs[WARM_UP:]).double()
    part = float((states - states.mean(0)).norm() / states.norm().clamp(min=1e-30))
    return max(part, LEAST) if math.isfinite(part) else LEAST
