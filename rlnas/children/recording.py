"""Calls over buffers that stay, recorded once and played back."""

from collections.abc import Callable, Iterable

import torch

Call = Callable[[], object]


class Recording:
    """Calls that are bound to their arguments, in their order.

    On CUDA the second play captures them as a graph, which from then on is one launch for all of them: small calls
    cost a GPU more to be told of than to be done. The first play is what a capture needs before it, since it loads
    kernels. A graph does what the calls did when it was captured, so whatever changes that, such as the precision of
    products, needs a recording of its own.

    Args:
        calls: none of them may copy to or from the CPU, and none may choose by a value.
        device: of their buffers.
    """

    def __init__(self, calls: Iterable[Call], device: torch.device) -> None:
        self.calls = list(calls)
        self.plays = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.on_cuda = device.type == "cuda"

    def play(self) -> None:
        """Do what was recorded."""
        self.plays += 1
        if self.on_cuda and self.plays == 2:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.call()  # only noted here
        if self.graph is not None:
            self.graph.replay()
        else:
            self.call()

    def call(self) -> None:
        """Do it call by call."""
        for call in self.calls:
            call()
