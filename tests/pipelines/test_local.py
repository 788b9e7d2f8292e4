"""Whole searches through Kubeflow's local runner on the real store, killed in every rude way."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from searches import run as run_steps
from waiting import LIMIT, wait_for

from rlnas.local import runs_here
from rlnas.spec import parse_spec
from rlnas.state import Bucket, EmbeddedStore, Ledger, StoreSettings, list_searches, open_search, pause, resume
from rlnas.state.records import Lease

SPEC = {
    "name": "rude",
    "seed": 5,
    "space": {"kind": "cnn", "layers": 3, "filters": [4, 8]},
    "dataset": {"kind": "digits"},
    "child": {"epochs": 2, "batch": 64, "snapshots": 2, "upsample_by": None},
    "controller": {"learning_rate": 0.02},
    "loop": {"children": 4, "children_per_round": 4},
    "finalize": None,
}
TWO_ROUNDS = SPEC | {"loop": {"children": 8, "children_per_round": 4}}
RLNAS = [sys.executable, "-m", "rlnas.cli"]


def rlnas(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RLNAS, *arguments], cwd=folder, env=environment(), capture_output=True, text=True)


def start(folder: Path, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Start a run in a process group of its own."""
    return subprocess.Popen(
        [*RLNAS, "run", "spec.yaml"],
        cwd=folder,
        env=environment(),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    """As at a terminal; background jobs of a shell, as these tests may be, ignore them, and so do their processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def processes_of(group: int) -> list[list[str]]:
    """Those that have ended and are still to be buried by the system's first process do not count."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
    return found


def assert_no_process_is_left(group: int) -> None:
    assert processes_of(group) == []


def environment() -> dict[str, str]:
    """Without a store of its own, a folder uses its embedded one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RLNAS_STORE")}


def outcome(folder: Path) -> Any:
    """Architectures and rewards, in the order in which they were proposed."""
    return outcome_of(open_search(Bucket(EmbeddedStore(folder / ".rlnas").start()), "rude"))


def outcome_of(ledger: Ledger) -> Any:
    children = [child for summary in ledger.summaries() for child in summary.children]
    assert len(children) == ledger.spec.loop.children
    return [(c.tokens, c.log_probability, c.result.reward, c.result.history) for c in children]


def ledger_of(folder: Path) -> Ledger:
    """Wait until a run has made the search."""
    store = EmbeddedStore(folder / ".rlnas")
    wait_for(lambda: store.status().running, "the store does not start")
    bucket = Bucket(store.start())
    wait_for(lambda: list_searches(bucket), "the search is not made")
    return open_search(bucket, "rude")


def ledger_with_a_held_child(folder: Path) -> Ledger:
    """Wait until a child is being trained."""
    ledger = ledger_of(folder)
    wait_for(lambda: ledger.claimed_children(0) - ledger.trained_children(0), "no child is begun")
    return ledger


def leases(ledger: Ledger) -> list[Lease]:
    """Of the children of the first round that are begun, and not trained."""
    begun = sorted(ledger.claimed_children(0) - ledger.trained_children(0))
    return [Lease.from_bytes(ledger.bucket.get(key).data, key) for key in map(ledger.lease_key, begun)]


def stopped_worker(ledger: Ledger) -> psutil.Process:
    """Stop a process that is training a child of the first round, lest it end before it is dealt with."""

    def stop() -> psutil.Process | None:
        for lease in leases(ledger):
            with suppress(psutil.NoSuchProcess):
                worker = psutil.Process(lease.owner.pid)
                worker.suspend()
                if lease in leases(ledger):
                    return worker
                worker.resume()  # it had just stored its weights
        return None

    return wait_for(stop, "no child of the first round is being trained")


def has_been_told_to_stop(process: psutil.Process) -> bool:
    """Whether SIGTERM waits for a suspended process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    pending = sum(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd")))
    return bool(pending & 1 << signal.SIGTERM - 1)


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    yield tmp_path
    rlnas(tmp_path, "store", "stop")


@pytest.fixture(scope="module")
def two_rounds(store_settings: StoreSettings) -> Any:
    """What the steps alone come to, without Kubeflow and undisturbed."""
    bucket = Bucket(replace(store_settings, bucket="undisturbed"))
    bucket.ensure()
    return outcome_of(run_steps(bucket.settings, parse_spec(TWO_ROUNDS)))


@pytest.fixture
def undisturbed(two_rounds: Any) -> Any:
    """How the search of one round must end."""
    return two_rounds[: SPEC["loop"]["children"]]  # type: ignore[index]


def test_a_search_whose_process_group_is_killed_ends_as_if_it_had_not_been(folder: Path, two_rounds: Any) -> None:
    (folder / "spec.yaml").write_text(yaml.safe_dump(TWO_ROUNDS))
    moments: dict[str, Callable[[Ledger], Any]] = {
        "a child is begun": lambda ledger: ledger.claimed_children(0),
        "a child is trained": lambda ledger: ledger.trained_children(0) | ledger.finished_children(0),
        "the second round is planned": lambda ledger: ledger.plan(1),
    }
    for what, has_come in moments.items():
        process = start(folder)
        ledger = ledger_of(folder)
        wait_for(lambda has_come=has_come, ledger=ledger: has_come(ledger), what)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode == 0, ran.stderr
    assert outcome(folder) == two_rounds


def test_a_store_that_dies_midway_is_one_line_and_running_again_continues(folder: Path, undisturbed: Any) -> None:
    process = start(folder)
    ledger_of(folder)
    store = json.loads(rlnas(folder, "store", "status", "--json").stdout)
    os.kill(store["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert len(err.splitlines()) == 1, err
    assert "the same command continues" in err
    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode == 0, ran.stderr
    assert outcome(folder) == undisturbed


@pytest.fixture
def small_disk(folder: Path) -> Any:
    """A disk of 48 MB for all that a search here writes."""
    home = folder / ".rlnas"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", home], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a disk to fill: {mounted.stderr.strip()}")
    yield home
    rlnas(folder, "store", "stop")
    subprocess.run(["umount", home], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_running_again_continues(folder: Path, small_disk: Path, undisturbed: Any) -> None:
    process = start(folder)
    ledger_of(folder)
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(1 << 16))
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1, err
    assert len(err.splitlines()) == 1, err
    assert "is full: 0.0 MB are free" in err
    assert "the same command continues" in err

    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode in (1, 2)
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert "full" in ran.stderr

    (small_disk / "filler").unlink()
    # SeaweedFS looks at the disk once a minute.
    wait_for(lambda: rlnas(folder, "run", "spec.yaml").returncode == 0, "it does not go on")
    assert outcome(folder) == undisturbed


def test_being_told_to_stop_leaves_no_process_and_no_file_behind(
    folder: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = folder / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = start(folder)
    ledger_with_a_held_child(folder)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=LIMIT)
    if process.returncode:  # else it was faster than we
        assert process.returncode == 130
        assert "continues" in err
    assert_no_process_is_left(process.pid)
    assert list(temporary.iterdir()) == []
    assert rlnas(folder, "run", "spec.yaml").returncode == 0
    assert outcome(folder) == undisturbed


def test_a_pause_ends_a_run_well_and_a_resumed_one_goes_on(folder: Path, undisturbed: Any) -> None:
    process = start(folder, subprocess.PIPE)
    ledger = ledger_with_a_held_child(folder)
    pause(ledger, "me")
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert "search rude is paused (by me, " in out
    assert "next: rlnas resume rude" in out
    assert ledger.version().rounds == 0
    resume(ledger)
    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode == 0, ran.stderr
    assert outcome(folder) == undisturbed


def test_killed_alone_it_leaves_no_process_behind(folder: Path, undisturbed: Any) -> None:
    """Else the next run would be one of two, and after some kills of many."""
    process = start(folder)
    ledger_with_a_held_child(folder)
    process.kill()
    process.communicate(timeout=LIMIT)
    wait_for(lambda: not processes_of(process.pid), "its runner or a task goes on")
    assert rlnas(folder, "run", "spec.yaml").returncode == 0
    assert outcome(folder) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_interrupting_all_processes_gives_the_children_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Ctrl-C reaches every process of the terminal at once; and so does its closing, of which shell and kernel tell."""
    temporary = folder / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    long = SPEC | {"child": SPEC["child"] | {"epochs": 10}, "loop": {"children": 2, "children_per_round": 2}}  # type: ignore[operator]
    (folder / "spec.yaml").write_text(yaml.safe_dump(long))
    process = start(folder)
    ledger = ledger_with_a_held_child(folder)
    worker = stopped_worker(ledger)
    settings = ledger.bucket.settings
    assert runs_here(settings, "rude")
    assert not runs_here(settings, "another")
    assert not runs_here(replace(settings, bucket="another"), "rude")
    stand = json.loads(rlnas(folder, "status", "rude", "--json").stdout)
    assert (stand["what"], stand["command"]) == ("a run is under way here", "rlnas status rude")
    os.killpg(process.pid, number)
    if number == signal.SIGHUP:
        os.killpg(process.pid, number)
    wait_for(lambda: has_been_told_to_stop(worker), "it is not told to stop")
    worker.resume()
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "continues" in err
    assert_no_process_is_left(process.pid)
    assert list(temporary.iterdir()) == []
    assert not runs_here(settings, "rude")
    stand = json.loads(rlnas(folder, "status", "rude", "--json").stdout)
    assert (stand["what"], stand["command"]) == ("1 round is left; what is finished is kept", "rlnas run SPEC")
    held = leases(ledger)
    assert held
    assert {lease.state for lease in held} == {"released"}
    assert rlnas(folder, "run", "spec.yaml").returncode == 0


ODD = """
from typing import Literal
from rlnas.datasets.digits import Digits

class Odd(Digits):
    kind: Literal["odd"] = "odd"

    def train(self, open_file):
        raise Warning("Image size (179560000 pixels)\\nexceeds limit")
"""


def test_what_nobody_foresaw_in_a_task_ends_the_run_in_its_own_words(
    folder: Path, install_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(ODD, {"rlnas.datasets": {"odd": "Odd"}})
    monkeypatch.setenv("PYTHONPATH", str(folder))
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC | {"dataset": {"kind": "odd"}}))
    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode == 1
    words = "the run failed: Warning: Image size (179560000 pixels) exceeds limit; log: .rlnas/logs/rude-"
    assert ran.stderr.startswith(f"rlnas: {words}")
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    log = folder / ran.stderr.partition("; log: ")[2].partition(";")[0]
    assert "Traceback (most recent call last):" in log.read_text()


@pytest.fixture
def small_temporary(tmp_path: Path) -> Any:
    """A disk of 2 MB for all temporary files."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a disk to fill: {mounted.stderr.strip()}")
    yield small
    subprocess.run(["umount", small], check=True)


def test_a_full_disk_of_temporary_files_is_named(
    folder: Path, small_temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_temporary / "filler").write_bytes(bytes(2 * 2**20 - 7 * 4096))  # a run begins, and does not get far
    monkeypatch.setenv("TMPDIR", str(small_temporary))
    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert "No space left on device" in ran.stderr
    assert (
        f"the disk of {small_temporary} is full" in ran.stderr
        or f"the least room is in {small_temporary}" in ran.stderr
    )
    monkeypatch.delenv("TMPDIR")
    assert rlnas(folder, "run", "spec.yaml", "--rounds", "1").returncode == 0


def test_a_task_that_is_killed_ends_the_run_with_one_line(folder: Path, undisturbed: Any) -> None:
    process = start(folder)
    ledger = ledger_with_a_held_child(folder)
    worker = stopped_worker(ledger)
    worker.parent().kill()
    worker.kill()
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert len(err.splitlines()) == 1, err
    assert "the run failed: task train-child was killed" in err
    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode == 0, ran.stderr
    assert outcome(folder) == undisturbed


def test_a_winner_whose_run_is_killed_is_tested_once_and_exported_all_the_same(folder: Path) -> None:
    document = SPEC | {
        "loop": {"children": 2, "children_per_round": 2},
        "finalize": {"grid": {"learning_rate": [0.1, 0.05]}},
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(document))
    process = start(folder)
    ledger = ledger_of(folder)
    wait_for(lambda: ledger.plan(ledger.finals_from), "its grid is not begun")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode == 0, ran.stderr
    assert "tested once" in ran.stdout
    assert ledger.test_readings() == 1
    assert (folder / ".rlnas/models/rude/model.onnx").read_bytes()
    again = rlnas(folder, "finalize", "rude")
    assert (again.returncode, again.stdout) == (2, "")
    assert len(again.stderr.splitlines()) == 1
    assert "was tested already: accuracy" in again.stderr
    exported = rlnas(folder, "export", "rude", "--to", "elsewhere")
    assert exported.returncode == 0, exported.stderr
    assert (folder / "elsewhere/model.onnx").read_bytes() == (folder / ".rlnas/models/rude/model.onnx").read_bytes()
    assert ledger.test_readings() == 1


def test_workers_end_as_the_loop_does(folder: Path, two_rounds: Any) -> None:
    (folder / "spec.yaml").write_text(yaml.safe_dump(TWO_ROUNDS))
    ran = rlnas(folder, "run", "spec.yaml", "--workers", "2", "--rounds", "1")
    assert ran.returncode == 0, ran.stderr
    assert open_search(Bucket(EmbeddedStore(folder / ".rlnas").start()), "rude").version().rounds == 1
    assert "rlnas run spec.yaml --workers 2" in ran.stdout
    assert rlnas(folder, "run", "spec.yaml", "--workers", "2").returncode == 0
    assert outcome(folder) == two_rounds
