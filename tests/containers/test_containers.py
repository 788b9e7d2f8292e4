"""Searches in real containers of the real image: no rights, no writable root, no way out but to a real store.

Run by `make test-containers`. It prints what it measured at its end.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from containers import engine
from containers.engine import BASE, FLAGS, IMAGE, ROOT, Runner, podman, summary

import components
from pipelines.finalize import finalize_pipeline
from pipelines.search import search_pipeline
from rlnas import steps
from rlnas.report import read_child, read_status
from rlnas.spec import parse_spec
from rlnas.state import Bucket, Ledger, StoreSettings, child_id, open_search
from rlnas.state.records import Lease

pytestmark = engine.MARKS
DIGITS = {
    "seed": 5,
    "space": {"kind": "cnn", "layers": 3, "filters": [4, 8]},
    "dataset": {"kind": "digits"},
    "child": {"epochs": 12, "batch": 64, "snapshots": 2, "upsample_by": 1},
    "controller": {"learning_rate": 0.02},
    "loop": {"children": 4, "children_per_round": 2, "children_per_batch": 2},
    "failures": {"lease_seconds": 5},
}
TABLE = {
    "space": {"kind": "tabular", "choices": [2, 2]},
    "dataset": {"kind": "table", "path": "store:data/table.csv"},
    "loop": {"children": 2, "children_per_round": 2, "children_per_batch": 2},
}
LABEL = "org.opencontainers.image"
LOOP = set(components.__all__) - {"plan_workers", "work"}
"""Components that are not only of workers; `test_workers` runs those."""


def in_container(*command: str, network: str = "none", user: str = engine.USER) -> str:
    flags = ["--rm", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp"]
    return podman("run", *flags, f"--network={network}", f"--user={user}", IMAGE, *command)


def outcome(ledger: Ledger) -> list[Any]:
    """Architectures and rewards, in the order in which they were proposed."""
    loop = ledger.spec.loop
    names = [child_id(*divmod(index, loop.children_per_round)) for index in range(loop.children)]
    children = [read_child(ledger, name) for name in names]
    return [(child.tokens, child.result.reward, child.result.history) for child in children]


def test_the_image_has_no_rights_and_no_entrypoint_and_says_what_it_is() -> None:
    config = json.loads(podman("image", "inspect", IMAGE))[0]["Config"]
    assert config["User"] == "10001:10001"
    assert not config.get("Entrypoint")
    assert config["Labels"][f"{LABEL}.version"] == "0.1.0"
    assert len(config["Labels"][f"{LABEL}.revision"].removesuffix("-dirty")) == 40
    assert not any("password" in variable.lower() for variable in config["Env"])


@pytest.mark.parametrize("user", [engine.USER, "65432:0"], ids=["own user", "any user"])
def test_it_works_for_any_user_on_a_read_only_root(user: str) -> None:
    code = (
        "import os, kfp, torch, torch._dynamo, torchvision, matplotlib.pyplot as plt, rlnas.cli, components, pipelines;"
        "plt.figure().savefig('/tmp/a.svg'); torch.compile; print(os.getuid())"
    )
    assert in_container("python", "-c", code, user=user).splitlines()[-1] == user.partition(":")[0]
    assert "Usage" in in_container("rlnas", "--help", user=user)
    with pytest.raises(AssertionError, match="Read-only file system"):
        in_container("touch", "/opt/rlnas/new", user=user)


def test_nothing_is_left_of_building() -> None:
    left = in_container("sh", "-c", "ls -d /root/.cache /source /wheels 2> /dev/null; true")
    assert not left
    assert "No broken requirements" in in_container("pip", "check")


def test_there_is_no_way_out_but_to_the_store(settings: tuple[str, StoreSettings]) -> None:
    network, store = settings
    host, port = store.endpoint.split(":")
    code = (
        "import socket, sys\n"
        "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print('open')\n"
        "except OSError as error: print('closed')"
    )
    reached = [
        in_container("python", "-c", code, *target, network=network)
        for target in ((host, port), (host, "8888"), (host, "9333"), ("1.1.1.1", "443"), ("deb.debian.org", "80"))
    ]
    assert reached == ["open", "closed", "closed", "closed", "closed"], "only S3, and only the store's"


def test_code_that_changes_leaves_torch_and_all_dependencies_alone(tmp_path: Path, figures: dict[str, Any]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("images", "rlnas", "components", "pipelines"):
        shutil.copytree(ROOT / name, source / name)
    with (source / "rlnas/__init__.py").open("a") as file:
        file.write("CHANGED = True\n")
    try:
        seconds, _ = engine.build(source, "localhost/rlnas:changed")
        figures["build after a change"] = f"{seconds:.0f} s"
        layers = [
            json.loads(podman("image", "inspect", name))[0]["RootFS"]["Layers"]
            for name in (IMAGE, "localhost/rlnas:changed")
        ]
        differ = [old != new for old, new in zip(*layers, strict=True)]
        assert differ == [False] * (len(differ) - 2) + [True, True], "the wheel and what it installs"
        changed = podman("run", "--rm", "localhost/rlnas:changed", "python", "-c", "import rlnas; print(rlnas.CHANGED)")
        assert changed == "True"
    finally:
        podman("rmi", "--force", "localhost/rlnas:changed", "localhost/rlnas:0.1.0", check=False)


def test_a_task_that_fails_is_a_failure_with_one_line(runner: Runner) -> None:
    with pytest.raises(RuntimeError):
        runner.run(components.open_search, search_name="bad", search_spec={"nonsense": 1}, placement="")
    (task,) = runner.tasks
    assert task.status == 2
    assert len([line for line in task.log.splitlines() if "rlnas error: " in line]) == 1
    assert "Traceback" not in task.log


def test_data_in_the_store_needs_no_other_network(runner: Runner, bucket: Bucket, figures: dict[str, Any]) -> None:
    rows = [f"{a}-{b},{60 + 20 * a + 5 * b},{a}" for a in range(2) for b in range(2)]
    bucket.put("data/table.csv", "\n".join(["architecture,validation,test", *rows]).encode())
    seconds = runner.run(search_pipeline, search_name="table", search_spec=TABLE | {"name": "table"}, rounds_per_run=0)
    figures["search of a table"] = summary(seconds, runner.tasks)
    assert read_status(open_search(bucket, "table")).complete


def test_a_search_ends_alike_whether_a_training_container_is_killed_or_not(
    runner: Runner, bucket: Bucket, figures: dict[str, Any]
) -> None:
    seconds = runner.run(search_pipeline, search_name="calm", search_spec=DIGITS | {"name": "calm"}, rounds_per_run=0)
    figures["search of digits"] = summary(seconds, runner.tasks)
    calm = open_search(bucket, "calm")
    assert read_status(calm).complete
    winner = calm.version().leaders[0].child
    other = next(name for name in (child_id(0, 0), child_id(0, 1)) if name != winner)
    before = len(runner.tasks)
    seconds = runner.run(finalize_pipeline, search_name="calm", child_name=other)
    figures["finalizing another child"] = summary(seconds, runner.tasks[before:])
    assert calm.model_files(winner)
    assert calm.model_files(other)
    assert {task.component for task in runner.tasks} == LOOP, "every component has run"
    assert not [task for task in runner.tasks if task.status]
    for name in sorted(LOOP):
        times = [task.seconds for task in runner.tasks if task.component == name]
        figures[f"  {name}"] = ", ".join(f"{value:.1f}" for value in times) + " s"
    figures["container flags"] = " ".join(f"{name}={value}" for name, value in FLAGS.items()) + " network=internal"
    figures["base"] = BASE

    runner.tasks.clear()
    thread = runner.disturb_first("train_child", "attempt 1", engine.kill_container)
    start = time.monotonic()
    # The local runner gives every attempt of a task another name, so that the second one finds the children taken; when
    # their leases have expired, the next round takes them up, and so one round more than planned is needed.
    steps.open_search(bucket, "rude", parse_spec(DIGITS | {"name": "rude", "finalize": None}))
    for _ in range(2):
        runner.run(search_pipeline, search_name="rude", rounds_per_run=0)
    figures["the same, killed once"] = summary(time.monotonic() - start, runner.tasks)
    thread.join(1)
    assert [task.status for task in runner.tasks if task.status] == [137], "one container was killed"
    assert any("attempt 2" in task.log for task in runner.tasks if task.component == "train_child")
    rude = open_search(bucket, "rude")
    assert read_status(rude).complete
    assert outcome(rude) == outcome(calm)


def test_a_training_that_is_told_to_stop_fails_no_run_and_one_whose_processes_are_killed_loses_no_child(
    runner: Runner, bucket: Bucket, figures: dict[str, Any]
) -> None:
    document = DIGITS | {"name": "ends-early", "finalize": None, "loop": {"children": 2, "children_per_round": 2}}
    ledger = steps.open_search(bucket, "ends-early", parse_spec(document | {"child": DIGITS["child"] | {"epochs": 60}}))

    def leases() -> list[Lease]:
        found = [bucket.get(ledger.lease_key(child_id(0, index))) for index in range(2)]
        return [Lease.from_bytes(item.data, "lease") for item in found if item is not None]

    thread = runner.disturb_first("train_child", "attempt 1", engine.tell_to_stop)
    seconds = runner.run(search_pipeline, search_name="ends-early", rounds_per_run=0)
    thread.join(1)
    figures["a run told to stop"] = summary(seconds, runner.tasks)
    assert not [task for task in runner.tasks if task.status], "the run succeeded"
    assert any("told to stop" in task.log for task in runner.tasks if task.component == "train_child")
    assert any("1 round is left; the next run goes on" in task.log for task in runner.tasks)
    assert {lease.state for lease in leases()} == {"released"}
    assert ledger.version().rounds == 0, "nothing is claimed"

    runner.tasks.clear()
    (batch,) = steps.sample_architecture(ledger)
    thread = runner.disturb_first("train_child", "attempt 2", engine.kill_processes)
    with pytest.raises(RuntimeError):
        runner.run(
            components.train_child, search_name="ends-early", batch=str(batch), task_name="run/1", placement="by test"
        )
    thread.join(1)
    assert [task.status for task in runner.tasks] == [137]
    assert "active" in {lease.state for lease in leases()}, "it expires"

    runner.tasks.clear()
    seconds = runner.run(search_pipeline, search_name="ends-early", rounds_per_run=0)
    figures["the run that goes on"] = summary(seconds, runner.tasks)
    assert not [task for task in runner.tasks if task.status]
    assert read_status(ledger).complete
    assert {result.status for index in range(2) if (result := ledger.result(child_id(0, index)))} == {"ok"}
