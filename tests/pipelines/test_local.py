"""Whole searches through Kubeflow's local runner on the real store, killed in every rude way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

SPEC = {
    "name": "rude",
    "seed": 5,
    "space": {"kind": "cnn", "layers": 3, "filters": [4, 8]},
    "dataset": {"kind": "digits"},
    "child": {"epochs": 2, "batch": 64, "snapshots": 2, "upsample_by": None},
    "controller": {"learning_rate": 0.02},
    "loop": {"children": 8, "children_per_round": 4},
}
RLNAS = [sys.executable, "-m", "rlnas.cli"]


def rlnas(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RLNAS, *arguments], cwd=folder, env=environment(), capture_output=True, text=True)


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a run in a process group of its own."""
    return subprocess.Popen(
        [*RLNAS, "run", "spec.yaml"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def environment() -> dict[str, str]:
    """Without a store of its own, a folder uses its embedded one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RLNAS_STORE")}


def outcome(folder: Path) -> Any:
    """Architectures and rewards, in the order in which they were proposed."""
    found = []
    for index in range(SPEC["loop"]["children"]):  # type: ignore[index]
        shown = json.loads(rlnas(folder, "show", "rude", f"{index // 4}-{index % 4}", "--json").stdout)
        found.append((shown["tokens"], shown["log_probability"], shown["result"]["reward"], shown["result"]["history"]))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    yield tmp_path
    rlnas(tmp_path, "store", "stop")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    try:
        ran = rlnas(folder, "run", "spec.yaml")
        assert ran.returncode == 0, ran.stderr
        assert "round 1 of 2" in ran.stdout
        yield outcome(folder)
    finally:
        rlnas(folder, "store", "stop")


def test_a_search_whose_process_group_is_killed_ends_as_if_it_had_not_been(folder: Path, undisturbed: Any) -> None:
    delays = random.Random(time.time_ns())
    for _ in range(3):
        process = start(folder)
        delay = delays.uniform(2, 14)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        print(f"killed after {delay:.1f} s")
    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode == 0, ran.stderr
    assert outcome(folder) == undisturbed


def test_a_store_that_dies_midway_is_one_line_and_running_again_continues(folder: Path, undisturbed: Any) -> None:
    process = start(folder)
    deadline = time.monotonic() + 60
    while not json.loads(rlnas(folder, "list", "--json").stdout or "[]"):
        assert time.monotonic() < deadline
    store = json.loads(rlnas(folder, "store", "status", "--json").stdout)
    os.kill(store["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert len(err.splitlines()) == 1, err
    assert "the same command continues" in err
    ran = rlnas(folder, "run", "spec.yaml")
    assert ran.returncode == 0, ran.stderr
    assert outcome(folder) == undisturbed


def test_being_told_to_stop_leaves_no_process_behind(folder: Path, undisturbed: Any) -> None:
    process = start(folder)
    time.sleep(9)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    if process.returncode:  # else it was faster than we
        assert process.returncode == 130
        assert "continues" in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert rlnas(folder, "run", "spec.yaml").returncode == 0
    assert outcome(folder) == undisturbed
