"""A search on this machine: the pipeline in a process of its own, and a live view of the ledger beside it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rlnas.errors import StoreError
from rlnas.report import SearchStatus, read_status
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, StoreSettings
from rlnas.steps import open_search
from rlnas.steps.common import ERROR_PREFIX

POLL_SECONDS = 1.0


def run_search(settings: StoreSettings, spec: SearchSpec, rounds: int, logs: Path, console: Console) -> SearchStatus:
    """Run a search to its budget through Kubeflow's local runner, with a live view.

    Args:
        settings: the store.
        spec: of a new search, or of the one to continue.
        rounds: at most so many; 0: until the budget is reached.
        logs: folder for the log of the runner and of all tasks.
        console: where to show.

    Raises:
        UserError: bad input; nothing was started.
        StoreError: the run failed; running again continues it.
    """
    bucket = Bucket(settings)
    ledger = open_search(bucket, spec.name, spec)
    before = read_status(ledger)
    goal = min(before.rounds, before.round + rounds) if rounds else before.rounds
    now = before
    while now.round < goal:
        log = logs / f"{spec.name}-{datetime.now():%Y%m%d-%H%M%S}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        console.print(f"search {spec.name}: {now.children} of {now.budget} children done; log of the run: {log}")
        started = now
        failed = _run_pipeline(settings, ledger, goal - now.round, log, console)
        now = read_status(ledger)
        if failed and not (now.round > started.round and now.round < goal):
            reason = _reason(log)
            raise StoreError(f"the run failed: {reason}; log: {log}; the same command continues the search")
    return now


def _run_pipeline(settings: StoreSettings, ledger: Ledger, rounds: int, log: Path, console: Console) -> bool:
    command = [sys.executable, "-m", "pipelines.local", ledger.name, str(rounds)]
    environment = os.environ | settings.to_environment() | {"PYTHONUNBUFFERED": "1"}
    view = _View(ledger, time.monotonic)
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            with Live(console=console, refresh_per_second=4, get_renderable=view.render, transient=True):
                while process.poll() is None:
                    view.refresh()
                    time.sleep(POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return process.returncode != 0


class _View:
    """The live view: where the search is, from the ledger alone, so that a view of a cluster would look the same."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._start = clock()
        self._first: SearchStatus | None = None
        self._now: SearchStatus | None = None

    def refresh(self) -> None:
        """Read the ledger; a store that is down for a moment is the run's affair, not the view's."""
        try:
            self._now = read_status(self._ledger)
        except StoreError:
            return
        self._first = self._first or self._now

    def render(self) -> Table:
        table = Table(show_header=False, title=f"search {self._ledger.name}")
        now, first = self._now, self._first
        if now is None or first is None:
            table.add_row("starting", "")
            return table
        seconds, done = self._clock() - self._start, now.children - first.children
        left = f"about {seconds / done * (now.budget - now.children):.0f} s left" if done else "time left not known yet"
        table.add_row("round", f"{min(now.round + 1, now.rounds)} of {now.rounds}")
        table.add_row("children", f"{now.children} of {now.budget} done, {now.running} running, {now.failed} failed")
        best = f"{now.leaders[0].child}, reward {now.leaders[0].reward:.4f}" if now.leaders else "none yet"
        table.add_row("best so far", best)
        table.add_row("time", f"{seconds:.0f} s, {left}")
        return table


def _reason(log: Path) -> str:
    """Find the line that says why in a run's log."""
    lines = log.read_text(errors="replace").splitlines()
    marked = [line.partition(ERROR_PREFIX)[2] for line in lines if ERROR_PREFIX in line]
    return marked[-1].strip() if marked else "see the log"
