"""Processes that end with the one that began them."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # of Linux' prctl(2)


def stop_with_parent(parent: int) -> None:
    """Have the kernel tell this process to stop when its parent dies, lest it go on unseen; elsewhere than on Linux
    nothing happens.

    Args:
        parent: the process that began this one.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel knew
        os.kill(os.getpid(), signal.SIGTERM)
