"""Waiting for events, never for times. The limit is only there against hangs: a busy machine is slow, not broken."""

import time
from collections.abc import Callable
from typing import Any

LIMIT = 900.0  # seconds; below pytest's own limit for a test


def wait_for(condition: Callable[[], Any], what: str = "it does not come") -> Any:
    """Wait until a condition holds, and return what it gave."""
    deadline = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def join(process: Any) -> Any:
    """Wait until a process of `multiprocessing` has ended, and return its exit status."""
    process.join(LIMIT)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode
