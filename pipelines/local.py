"""Run a pipeline on this machine through Kubeflow's local runner: `python -m pipelines.local PIPELINE PARAMETERS`.

The parameters are JSON. The search and its spec are in the store already; the store's address is in the environment.
Every task is a process of this very Python, so nothing is installed.
"""

import json
import sys
import tempfile
from importlib import import_module
from typing import Any

from kfp import local


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


if __name__ == "__main__":
    run_locally(sys.argv[1], **json.loads(sys.argv[2]))
