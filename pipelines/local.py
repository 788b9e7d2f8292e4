"""Run a pipeline through Kubeflow's local runner: `python -m pipelines.local PIPELINE PARAMETERS PARENT`.

The parameters are JSON. The search and its spec are in the store already; the store's address is in the environment.
Every task is a process of this very Python, so nothing is installed. Told to stop, as the kernel does when the process
PARENT dies, it tells its tasks so.
"""

import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import psutil
from kfp import local

from rlnas.orphans import stop_with_parent


def run_locally(pipeline: str, **parameters: Any) -> None:
    """Run a pipeline once.

    Args:
        pipeline: `search` or `finalize`.
        parameters: of the run.

    Raises:
        RuntimeError: a task failed; its output says why.
    """
    with tempfile.TemporaryDirectory(prefix="rlnas-") as folder:
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=folder, enable_caching=False)
        module = import_module(f"pipelines.{pipeline}")  # this one alone: to import a pipeline is to compile it
        getattr(module, f"{pipeline}_pipeline")(**parameters)


def _stop_tasks(signum: int, frame: FrameType | None) -> NoReturn:
    """End, and tell all tasks to: they give their children back. Without this process nobody would wait for them."""
    for task in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            task.terminate()
    os._exit(128 + signum)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop_tasks)
    stop_with_parent(int(sys.argv[3]))
    run_locally(sys.argv[1], **json.loads(sys.argv[2]))
