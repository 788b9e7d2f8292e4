"""Run a search's pipeline on this machine through Kubeflow's local runner: `python -m pipelines.local NAME ROUNDS`.

The search and its spec are in the store already; the store's address is in the environment. Every task is a process
of this very Python, so nothing is installed.
"""

import sys
import tempfile

from kfp import local

from pipelines.search import search_pipeline


def run_locally(search_name: str, rounds_per_run: int) -> None:
    """Run the pipeline once.

    Args:
        search_name: a search in the store.
        rounds_per_run: so many rounds, rounded up to a multiple of the replicas; 0: all that are left.

    Raises:
        RuntimeError: a task failed; its output says why.
    """
    with tempfile.TemporaryDirectory(prefix="rlnas-") as folder:
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=folder, enable_caching=False)
        search_pipeline(search_name=search_name, rounds_per_run=rounds_per_run)


if __name__ == "__main__":
    run_locally(sys.argv[1], int(sys.argv[2]))
