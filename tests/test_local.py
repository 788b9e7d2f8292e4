"""The local run: how its processes end, what is understood of its log, and the live view."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from searches import make_spec
from waiting import wait_for

from rlnas import local, steps
from rlnas.state import Bucket, Result

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, *sys.argv[1:]])
else:
    print("ready", flush=True)
time.sleep(900)
"""


def test_what_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "STOP_SECONDS", 0.5)
    process = subprocess.Popen([sys.executable, "-c", STUBBORN, "-c", STUBBORN], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    (task,) = psutil.Process(process.pid).children()
    local._stop(process)
    assert process.returncode is not None
    wait_for(lambda: local._has_ended(task))


TASK, FULL_DISK = "task train-child", "OSError: [Errno 28] No space left on device"
RAISED = 'Traceback (most recent call last):\n      File "x.py", line 3, in <module>\n        x = y\n            ^\n'
FAILED = "12:00 - ERROR - Task \x1b[96m'train-child'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("all is well\nTask \x1b[96m'finish'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m\n", ""),
        ("    rlnas error: the store is down\nTask 'evaluate' finished with status FAILURE\n", "the store is down"),
        (
            "12:00 - ERROR - Task \x1b[96m'train-child'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n",
            "task train-child was killed",
        ),
        (
            f"    {RAISED}    OSError: [Errno 28] No space left on device\n    \n\n{FAILED}",
            f"{TASK} raised {FULL_DISK}",
        ),
        (f"{RAISED}MemoryError\n\n{FAILED}", f"{TASK} raised MemoryError"),
        (f"{RAISED}RuntimeError: shape\nchild 0: failed\nKilled\n{FAILED}", f"{TASK} was killed"),
        (f"{RAISED}RuntimeError: shape\nrlnas error: the store is down\n{FAILED}", "the store is down"),
    ],
)
def test_why_a_task_failed(tmp_path: Path, log: str, reason: str) -> None:
    (tmp_path / "log").write_text(log)
    assert local._reason(tmp_path / "log") == reason


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("all is well\n", ""),
        (f"{RAISED}ValueError: odd\n", "ValueError: odd"),
        (f"12:00 - INFO - Task\n{RAISED}{FULL_DISK}\n\n", FULL_DISK),
        (f"{RAISED}RuntimeError: shape\nchild 0: failed: bad_shape\n", ""),
    ],
)
def test_what_ended_a_runner(tmp_path: Path, log: str, words: str) -> None:
    (tmp_path / "log").write_text(log)
    assert local._last_words(tmp_path / "log") == words


def test_time_left_is_that_to_the_goal(bucket: Bucket) -> None:
    """Of a run that is to do one round of two children, while the budget is of eight."""
    spec = make_spec(loop={"children": 8, "children_per_round": 2})
    ledger = steps.open_search(bucket, spec.name, spec)
    seconds = iter([0.0, 10.0])
    view = local._View(ledger, 1, lambda: next(seconds))
    steps.sample_architecture(ledger)
    view.refresh()
    ledger.create_result("000000-000", Result(status="ok", reward=0.5))
    view.refresh()
    console = Console(width=100)
    with console.capture() as shown:
        console.print(view.render())
    assert "1 of 8 done" in shown.get()
    assert "about 10 s left" in shown.get()
