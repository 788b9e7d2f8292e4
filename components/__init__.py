"""The steps of a search as Kubeflow components: each parses, calls one step of `rlnas.steps`, and writes artifacts.

Only short parameters pass between tasks; everything heavy goes through the ledger. A component's body must stand
alone, because Kubeflow ships its source and not this package: so each imports what it needs within. What explains it
stands above it and not within, because Argo keeps the source and all descriptions several times for each pod.

Lists say what they hold: `list[int]`, not `list`. Kubeflow types a loop's items by it, and takes them for text without.

`placement` names run parameters that place a task's pod (image, cpu, memory, accelerator). The compiler hands these
into a loop only if an argument of a task there mentions them.
"""

from components.evaluate import evaluate
from components.export_model import export_model
from components.final_test import final_test
from components.finish import finish
from components.open_search import open_search
from components.plan_grid import plan_grid
from components.plan_retraining import plan_retraining
from components.plan_rounds import plan_rounds
from components.plan_workers import plan_workers
from components.prepare_data import prepare_data
from components.sample_architecture import sample_architecture
from components.train_child import train_child
from components.update_controller import update_controller
from components.work import work

__all__ = [
    "evaluate",
    "export_model",
    "final_test",
    "finish",
    "open_search",
    "plan_grid",
    "plan_retraining",
    "plan_rounds",
    "plan_workers",
    "prepare_data",
    "sample_architecture",
    "train_child",
    "update_controller",
    "work",
]
