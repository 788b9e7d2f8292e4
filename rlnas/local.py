"""A search on this machine: the pipeline in a process of its own, and a live view of the ledger beside it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from rich.console import Console
from rich.live import Live
from rich.table import Table

from rlnas.errors import FULL, RunFailed, SearchDeleted, StoreError, one_line
from rlnas.report import SearchStatus, read_status
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, FinalRecord, Ledger, StoreSettings, ended_line, paused_line
from rlnas.steps import doubts_of, find_final, open_search, plan_grid
from rlnas.steps.common import ERROR_PREFIX
from rlnas.steps.data import check_data, data_of

RUNNER = "pipelines.local"
POLL_SECONDS = 1.0
WINNERS_TURN = "now the winner: its grid, the last training, the test, the export"
STOP_SECONDS = 30.0


def run_search(
    bucket: Bucket, spec: SearchSpec, rounds: int, logs: Path, console: Console, workers: int = 0
) -> SearchStatus:
    """Run a search to its budget, and its winner to a tested model, through Kubeflow's local runner with a live view.

    Args:
        bucket: the store.
        spec: of a new search, or of the one to continue.
        rounds: so many, rounded up to a multiple of the replicas; 0: until the budget is reached.
        logs: folder for the log of the runner and of all tasks.
        console: where to show.
        workers: so many side by side go on by themselves; 0: by the loop, whose steps are tasks.

    Raises:
        UserError, StoreError: bad input, or a store that cannot be used; nothing was started.
        RunFailed: the run failed; running again continues it.
    """
    ledger = open_search(bucket, spec.name, spec)
    now = read_status(ledger)
    for line in data_of(ledger).lines:
        console.print(line, soft_wrap=True)
    for doubt in doubts_of(ledger.spec, ledger.shape):
        console.print(f"warning: {doubt}", soft_wrap=True)
    if ledger.spec.limits:
        console.print(ledger.spec.limits, soft_wrap=True)
    if now.label:
        console.print(f"controller {now.controller}: {now.label}", soft_wrap=True)
    goal = min(now.rounds, now.round + rounds) if rounds else now.rounds
    while (now.round < goal or now.left.only_winner) and not now.paused:
        started, log = now, _new_log(logs, spec.name)
        console.print(f"search {spec.name}: {now.children} of {now.budget} children done; log of the run: {log}")
        pipeline, parameters = ("workers", {"worker_count": workers}) if workers else ("search", {})
        parameters["rounds_per_run"] = goal - now.round
        scarcity = _run_pipeline(ledger, pipeline, parameters, goal, log, console)
        reason = _reason(log)
        try:
            ledger.refresh()
            now = read_status(ledger)
            goal = min(goal, now.rounds)  # it may have been ended meanwhile
            stuck = now.round == started.round and not now.paused and (now.round < goal or now.left.only_winner)
        except StoreError as error:
            reason = reason or str(error)
        else:
            reason = reason or (_last_words(log) or "no round was completed" if stuck else "")
        if reason and not now.paused:
            reason += scarcity
            raise RunFailed(f"the run failed: {reason}; log: {log}; the same command continues the search")
    for line in filter(None, (ended_line(ledger), paused_line(ledger))):
        console.print(line, soft_wrap=True)
    return now


def run_finalize(
    ledger: Ledger, child: str, references: Sequence[str], logs: Path, console: Console
) -> FinalRecord | None:
    """Take a child of a search to a tested and exported model, through Kubeflow's local runner.

    Args:
        ledger: of the search.
        child: the winner.
        references: models that go the same way; none: those of the spec.
        logs: folder for the log of the runner and of all tasks.
        console: where to show.

    Returns:
        What test data said; None where the search is paused, which a line says.

    Raises:
        UserError: there is no such child, it cannot be finalized so, it is tested already, or the data has changed.
        RunFailed: the run failed; running again continues it.
    """
    check_data(ledger)
    plan_grid(ledger, child, references)  # says at once, and here, what is wrong, or that the search is paused
    if ledger.record.paused:
        return None
    log = _new_log(logs, ledger.name)
    console.print(f"search {ledger.name}: finalizing child {child}; log of the run: {log}")
    parameters = {"child_name": child, "reference_models": ",".join(references)}
    scarcity = _run_pipeline(ledger, "finalize", parameters, 0, log, console)
    final = find_final(ledger, child)
    record, reason = final.record if final else None, _reason(log)
    ledger.refresh()
    if record is None and (line := paused_line(ledger)):
        console.print(line, soft_wrap=True)
        return None
    if record is None or reason:
        reason = reason or _last_words(log) or "other runs train a part of it"
        raise RunFailed(f"the run failed: {reason}{scarcity}; log: {log}; the same command continues")
    return record


def _new_log(logs: Path, name: str) -> Path:
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"{name}-{datetime.now():%Y%m%d-%H%M%S}.log"


def _run_pipeline(
    ledger: Ledger, pipeline: str, parameters: dict[str, Any], goal: int, log: Path, console: Console
) -> str:
    """Run a pipeline to its end, or to the first task that fails. Returns which of its disks is full, in words."""
    command = [
        sys.executable,
        "-m",
        RUNNER,
        pipeline,
        json.dumps({"search_name": ledger.name} | parameters),
        str(os.getpid()),
    ]
    environment = (
        os.environ
        | ledger.bucket.settings.to_environment()
        | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:replace"}
    )
    view = _View(ledger, goal, time.monotonic)
    # All temporary files of the run, since what is killed leaves its own behind.
    with log.open("wb") as file, TemporaryDirectory(prefix="rlnas-", ignore_cleanup_errors=True) as folder:
        # Ctrl-C, and the closing of the terminal, go to all of the terminal's processes; these end as `_stop` has it,
        # and give their children back.
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment | {"TMPDIR": folder},
            preexec_fn=_ignore_interrupts,
        )
        try:
            with Live(console=console, refresh_per_second=4, get_renderable=view.render, transient=True):
                # In the last two cases the runner would go on to the next round.
                while process.poll() is None and not (_reason(log) or view.paused):
                    view.refresh()
                    if not console.is_terminal:
                        view.print_progress(console)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(POLL_SECONDS)
            return _scarcity(log.parent, Path(folder))  # before the folder makes room
        finally:
            _stop(process)


def runs_here(settings: StoreSettings, search: str) -> bool:
    """Whether a run of a search, by the command line, is under way on this machine and in this store."""
    store = {name: settings.to_environment()[name] for name in ("RLNAS_STORE_ENDPOINT", "RLNAS_STORE_BUCKET")}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, ValueError):  # it may end meanwhile, or be somebody else's
            command = process.cmdline()
            mine = RUNNER in command and json.loads(command[-2])["search_name"] == search
            if mine and store.items() <= process.environ().items():
                return True
    return False


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the runner with all its tasks, so that children are released and nothing goes on unseen.

    What does not end within `STOP_SECONDS`, or before a person interrupts again, is killed.
    """
    if process.poll() is not None:
        return
    runner = psutil.Process(process.pid)
    runner.suspend()  # dead, it would not take the tasks' last words, which ends them; alive, it would begin new ones
    tasks = runner.children(recursive=True)
    try:
        for task in tasks:
            with suppress(psutil.NoSuchProcess):
                task.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while not all(map(_has_ended, tasks)) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        for task in tasks:
            with suppress(psutil.NoSuchProcess):
                for late in task.children(recursive=True):  # begun since
                    late.kill()
                task.kill()
        process.kill()
        process.wait()


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # the suspended runner does not bury them
    except psutil.NoSuchProcess:
        return True


class _View:
    """The live view: where the search is, from the ledger alone, so that a view of a cluster would look the same.

    Args:
        ledger: of the search.
        goal: the round at which the run ends; 0: no round is its matter.
        clock: monotonic seconds.
    """

    def __init__(self, ledger: Ledger, goal: int, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._goal = goal * ledger.spec.loop.children_per_round  # children
        self._clock = clock
        self._start = clock()
        self._first: SearchStatus | None = None
        self._now: SearchStatus | None = None
        self._printed = 0

    def refresh(self) -> None:
        """Read the ledger; a store that is down for a moment is the run's affair, not the view's."""
        try:
            self._ledger.refresh()
            self._now = read_status(self._ledger)
        except (StoreError, SearchDeleted):
            return
        self._first = self._first or self._now

    def print_progress(self, console: Console) -> None:
        """Print a line whenever a round is done, where there is no terminal to redraw."""
        if self._goal and self._now is not None and self._now.round > self._printed:
            self._printed, best = self._now.round, self._now.leaders[:1]
            reward = f", best reward {best[0].reward:.4f}" if best else ""
            console.print(f"round {self._now.round} of {self._now.rounds}: {self._now.children} children{reward}")
            if self._is_winners_turn:
                console.print(WINNERS_TURN)

    def render(self) -> Table:
        """Return the view as it is now."""
        table = Table(show_header=False, title=f"search {self._ledger.name}")
        now, first = self._now, self._first
        if now is None or first is None:
            table.add_row("starting", "")
            return table
        seconds, done = self._clock() - self._start, now.children - first.children
        left = max(0, self._goal - now.children)
        expected = f", about {seconds / done * left:.0f} s left" if done and left else ""
        table.add_row("round", f"{min(now.round + 1, now.rounds)} of {now.rounds}")
        table.add_row("children", f"{now.children} of {now.budget} done, {now.running} running, {now.failed} failed")
        best = f"{now.leaders[0].child}, reward {now.leaders[0].reward:.4f}" if now.leaders else "none yet"
        table.add_row("best so far", best)
        if self._is_winners_turn:
            table.add_row("", WINNERS_TURN)
        table.add_row("time", f"{seconds:.0f} s{expected}")
        return table

    @property
    def paused(self) -> bool:
        """Whether the search is paused."""
        return self._now is not None and self._now.paused is not None

    @property
    def _is_winners_turn(self) -> bool:
        return self._now is not None and self._now.left.only_winner


def _reason(log: Path) -> str:
    """Find out from a run's log why a task failed: its own line, else what the runner says; empty if none failed."""
    text = _read(log)
    if said := re.search(f"{ERROR_PREFIX}(.*)", text):
        return said[1].strip()
    if not (failed := re.search(r"Task '([\w-]+)' finished with status FAILURE", text)):
        return ""
    of_task = text[: failed.start()].rpartition("\n")[0]
    return f"task {failed[1]} {f'raised {words}' if (words := _raised(of_task)) else 'was killed'}"


def _last_words(log: Path) -> str:
    """Find out from the log of a run that has ended what ended it, if no task did."""
    return _raised(_read(log))


def _raised(text: str) -> str:
    """What is raised at the very end of a text; a traceback elsewhere is a child's, whose failure is a result."""
    before, found, after = text.rstrip().rpartition("Traceback (most recent call last):\n")
    indent = before.rpartition("\n")[2]
    words = [line for line in after.split("\n") if not line.startswith(f"{indent}  ")]  # the rest are frames
    return one_line(words[0], 300) if found and len(words) == 1 else ""


def _read(log: Path) -> str:
    return re.sub(r"\x1b\[\d+m", "", log.read_text(encoding="utf-8", errors="replace"))  # the runner writes in colours


def _scarcity(logs: Path, temporary: Path) -> str:
    """Say so where a disk is full, or too full for SeaweedFS: the log itself may lack the words, for want of room."""
    disk = shutil.disk_usage(logs)
    if disk.free < disk.total / 100:
        return (
            f"; the disk of {logs} is full: {disk.free / 1e6:.1f} MB are free, and the embedded store stops writing"
            f" below {disk.total / 100e6:.1f} MB and looks again a minute after some were freed"
        )
    free = shutil.disk_usage(temporary).free
    return f"; the disk of {temporary.parent} is full: {free / 1e6:.1f} MB are free (TMPDIR)" if free < FULL else ""
