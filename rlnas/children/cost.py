"""How long an untrained model takes: what an objective with a latency asks for."""

import statistics
import time
from collections.abc import Callable, Collection

import torch

LATENCY_BATCHES = {"latency_1": 1, "latency_64": 64}
WARM_UP, REPEATS = 3, 15


def latencies(names: Collection[str], call: Callable[[int], object], device: str) -> dict[str, float]:
    """Time a model.

    Args:
        names: of the measures wanted; others than latencies are passed over.
        call: runs the model once on a batch of so many.
        device: where it runs.

    Returns:
        Milliseconds by name: the median of some runs, after some to warm up.
    """
    return {name: _milliseconds(call, size, device) for name, size in LATENCY_BATCHES.items() if name in names}


def _milliseconds(call: Callable[[int], object], size: int, device: str) -> float:
    def once() -> float:
        start = time.perf_counter()
        call(size)
        if device != "cpu":
            torch.cuda.synchronize(device)
        return 1000 * (time.perf_counter() - start)

    with torch.inference_mode():
        for _ in range(WARM_UP):
            once()
        return statistics.median(once() for _ in range(REPEATS))
