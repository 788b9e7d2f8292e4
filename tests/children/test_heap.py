"""What a process frees stays with it, once it has been told so."""

import platform
import resource

import pytest
import torch
from searches import FORK

from rlnas.children.heap import keep_freed_memory


def faults(keep: bool) -> int:
    """Return how many pages the kernel hands to a process that makes and drops tensors of 40 MB."""
    pipe, theirs = FORK.Pipe()

    def work() -> None:
        if keep:
            keep_freed_memory()
        torch.set_num_threads(1)
        torch.zeros(10_000_000).add_(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(40):
            torch.zeros(10_000_000).add_(1)
        theirs.send(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    process = FORK.Process(target=work)
    process.start()
    process.join(60)
    return pipe.recv()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_memory_is_not_fetched_anew():
    assert faults(keep=True) < faults(keep=False) / 10
