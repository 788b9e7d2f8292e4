"""What a child costs besides its training: one round of 8 digits children in one batch, through kfp.local.

The runner's log says how long each task took; the children's results say how long they trained. What is left of the
wall time is overhead: starting processes, importing torch, reading data, talking to the store, evaluating.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from rlnas.spec import load_spec
from rlnas.state import Bucket, EmbeddedStore
from rlnas.steps import open_search
from rlnas.steps.processes import children_at_once

CHILDREN, GOAL = 8, 0.8
EVENT = re.compile(r"^(\d\d:\d\d:\d\d\.\d+) - INFO - (Executing task|Task) '([\w-]+)'")


def measure() -> list[dict[str, Any]]:
    """Return the seconds a child outside training, in all and by task."""
    spec = load_spec(Path(__file__).parent.parent / "examples" / "digits.yaml")
    spec = spec.model_copy(
        update={"name": "overhead", "finalize": None, "loop": spec.loop.model_copy(update={"children": CHILDREN})}
    )
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder))
        try:
            settings = store.start()
            ledger = open_search(Bucket(settings), spec.name, spec)
            parameters = {"search_name": spec.name, "rounds_per_run": 1}
            command = [sys.executable, "-m", "pipelines.local", "search", json.dumps(parameters), str(os.getpid())]
            environment = os.environ | settings.to_environment()
            log = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            results = [child.result for child in ledger.summaries()[0].children]
        finally:
            store.stop()
    seconds = _task_seconds(re.sub(r"\x1b\[[0-9;]*m", "", log))
    seconds["train-child"] -= sum(result.seconds for result in results) / children_at_once(spec.child, "cpu")
    rows = [_row("outside training, a child", sum(seconds.values()) / CHILDREN, GOAL)]
    return rows + [_row(f"  of it {task}", value / CHILDREN, None) for task, value in seconds.items()]


def _task_seconds(log: str) -> dict[str, float]:
    started: dict[str, datetime] = {}
    seconds: dict[str, float] = {}
    for line in log.splitlines():
        if event := EVENT.match(line):
            at, task = datetime.strptime(event[1], "%H:%M:%S.%f"), event[3]
            if event[2] == "Executing task":
                started[task] = at
            else:
                seconds[task] = (at - started[task]).total_seconds() % 86_400
    return seconds


def _row(name: str, value: float, goal: float | None) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": "s", "goal": goal, "met": goal is None or value <= goal}
