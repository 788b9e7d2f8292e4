"""Memory that a child frees is memory that its next step asks for."""

import ctypes
import sys

# Of glibc's malloc.h: a larger block is given back when freed; so is what is free beyond this at the heap's end.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_KEPT = 2**30


def keep_freed_memory() -> None:
    """Let this process keep what it frees instead of giving it back to the kernel, until it ends.

    By itself glibc gives tensors of megabytes back at once, and the kernel clears each page of the next anew: a fifth
    of a step of a convolutional child on a CPU. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
