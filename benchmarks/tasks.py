"""CPU seconds of each task of a search, the whole process with its imports: what a batch costs, and what a child adds.

One round of 8 digits children as tasks of Kubeflow's local runner, split into a batch of one and a batch of seven: the
difference of the two tells what a child costs, the rest what a task costs before its first child. CPU seconds hardly
depend on what else the machine does; they leave out what Kubeflow itself does in pods, which only a cluster has. The
winner goes through the same tasks, is tested and exported.
"""

import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import local

import components
from rlnas.spec import load_spec
from rlnas.state import EmbeddedStore

CHILDREN = 8


def measure() -> list[dict[str, Any]]:
    """Return CPU seconds by task, and how those of a whole search are made up from them."""
    document = load_spec(Path(__file__).parent.parent / "examples" / "digits.yaml").model_dump(
        mode="json", exclude_none=True
    )
    name = document["name"] = "tasks"
    document["loop"]["children"] = CHILDREN
    small, large = ('{"round": 0, "children": [0]}', '{"round": 0, "children": [1, 2, 3, 4, 5, 6, 7]}')
    seconds: dict[str, float] = {}

    def run(task: str, component: Callable[..., Any], **arguments: Any) -> Any:
        before = _children_seconds()
        outputs = component(search_name=name, placement="", **arguments).outputs
        seconds[task] = seconds.get(task, 0) + _children_seconds() - before
        return outputs["Output"]

    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder))
        try:
            os.environ.update(store.start().to_environment())
            local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder, enable_caching=False)
            run("prepare-data", components.prepare_data, search_spec=document)
            run("open-search", components.open_search, search_spec=document)
            run("plan-rounds", components.plan_rounds, rounds_per_run=0, slot=0)
            run("sample-architecture", components.sample_architecture, turn={"slot": 0, "turn": 0})
            for batch, children in ((small, "one"), (large, "seven")):
                run(f"train-child of {children}", components.train_child, batch=batch, task_name="bench")
                run(f"evaluate of {children}", components.evaluate, batch=batch)
            run("update-controller", components.update_controller, evaluated=[1, 7])
            run("finish", components.finish)
            winner = "the winner, tuned, trained, tested and exported"
            for turn in (1, 2):  # its grid, and its last training
                (batch,) = run(winner, components.sample_architecture, turn={"slot": 0, "turn": turn})
                run(winner, components.train_child, batch=batch, task_name="bench")
                run(winner, components.evaluate, batch=batch)
                run(winner, components.update_controller, evaluated=[1])
            run(winner, components.final_test)
            run(winner, components.export_model)
        finally:
            store.stop()

    rows = [_row(f"CPU, {task}", value) for task, value in seconds.items()]
    one, seven = (seconds[f"train-child of {n}"] + seconds[f"evaluate of {n}"] for n in ("one", "seven"))
    child = (seven - one) / (CHILDREN - 2)
    run_tasks = ("prepare-data", "open-search", "plan-rounds", "finish")
    return [
        *rows,
        _row("CPU, a run", sum(seconds[task] for task in run_tasks)),
        _row("CPU, a round", seconds["sample-architecture"] + seconds["update-controller"]),
        _row("CPU, a batch without its children", one - child),
        _row("CPU, a child of examples/digits.yaml", child),
    ]


def _children_seconds() -> float:
    """CPU seconds of all processes that have ended and were waited for; the store runs on, and does not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _row(name: str, value: float) -> dict[str, Any]:
    return {"name": name, "value": round(value, 2), "unit": "s", "goal": None, "met": True}
