"""The tools of the cluster suite, on hand-written answers in the shape of kubectl's; they need no cluster."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cluster.tools import (
    NEEDS,
    Settings,
    clear,
    forwarded,
    insist,
    listens,
    pod_seconds,
    set_pull_policy,
    store_environment,
    table,
    wait_for,
)

from pipelines.compile import compile_all
from rlnas.errors import StoreError, UserError


def pod(component: str | None, start: str, *ends: str | None) -> dict:
    labels = {"app.kubernetes.io/component": component} if component else {}
    states: list[dict] = [{"state": {"terminated": {"finishedAt": end}} if end else {"running": {}}} for end in ends]
    return {
        "metadata": {"creationTimestamp": start, "labels": labels},
        "status": {"phase": "Succeeded", "containerStatuses": states},
    }


def test_seconds_of_a_pod_are_those_of_its_last_container() -> None:
    start = "2026-11-25T06:00:00Z"
    assert pod_seconds(pod("finish", start, "2026-11-25T06:00:20Z", "2026-11-25T06:00:24Z")) == 24
    assert pod_seconds(pod("finish", start, "2026-11-25T06:00:20Z", None)) is None
    assert pod_seconds({"metadata": {"creationTimestamp": start}, "status": {"phase": "Pending"}}) is None


def test_the_table_counts_pods_and_children() -> None:
    start = "2026-11-25T06:00:00Z"
    pods = [
        pod("train-child", start, "2026-11-25T06:00:30Z"),
        pod("train-child", start, "2026-11-25T06:00:50Z"),
        pod(None, start, "2026-11-25T06:00:04Z"),
        pod("finish", start, None),
    ]
    lines = table(pods, children=4, child_seconds=2.5).splitlines()
    assert lines[1].split() == ["(driver)", "1", "4.0", "4.0"]
    assert lines[2].split() == ["train-child", "2", "40.0", "50.0"]
    assert lines[3:] == ["3 pods, 84 pod seconds, 21.0 a child", "4 children, of which each trained for 2.5 s"]
    assert table([], 0, 0.0)


def test_the_store_is_reached_with_the_namespaces_own_keys() -> None:
    secret = {"data": {name: base64.b64encode(name.encode()).decode() for name in ("accesskey", "secretkey")}}
    config = {"data": {"RLNAS_STORE_ENDPOINT": "seaweedfs:9000", "RLNAS_STORE_BUCKET": "nas"}}
    assert store_environment(secret, config, "127.0.0.1:1") == {
        "RLNAS_STORE_ACCESS_KEY": "accesskey",
        "RLNAS_STORE_SECRET_KEY": "secretkey",
        "RLNAS_STORE_BUCKET": "nas",
        "RLNAS_STORE_ENDPOINT": "127.0.0.1:1",
    }


def test_settings_need_an_endpoint_a_namespace_and_a_store() -> None:
    whole = {"KFP_ENDPOINT": "http://kfp", "NAMESPACE": "team", "STORE_SERVICE": "seaweedfs:8333", "IMAGE": ""}
    found = Settings.from_environment(whole | {"PARAMETERS": "a=1 b=2", "QUEUE": "gpu"})
    assert found == Settings(
        "http://kfp", "team", queue="gpu", store_service="seaweedfs:8333", parameters=["a=1", "b=2"]
    )
    for name in ("KFP_ENDPOINT", "NAMESPACE", "STORE_SERVICE"):
        assert Settings.from_environment(whole | {name: ""}) is None


def test_waiting_in_vain_says_what_was_seen() -> None:
    answers = iter([1, 2, 3])
    assert wait_for("three", lambda: next(answers), lambda n: n == 3, 5, every=0) == 3
    with pytest.raises(AssertionError, match=r"four: not within 0 s; last seen: pending"):
        wait_for("four", lambda: "pending", lambda now: False, 0, every=0)


def test_who_does_not_answer_is_asked_again() -> None:
    answers: Iterator[Exception | str] = iter(
        [UserError("Kubeflow cannot be reached"), ConnectionRefusedError("refused"), "done"]
    )

    def act() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert insist("it", act, every=0) == "done"


def test_what_cannot_be_cleared_keeps_nothing_else_from_being_cleared() -> None:
    done: list[str] = []

    def refuse() -> None:
        raise StoreError("the store is down")

    deeds = [("run 1", lambda: done.append("run 1")), ("search 1", refuse), ("run 2", lambda: done.append("run 2"))]
    assert clear(deeds, seconds=0, every=0) == ["search 1: not within 0 s; last seen: the store is down"]
    assert done == ["run 1", "run 2"]


def test_a_forwarded_port_that_dies_is_forwarded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a kubectl that serves one caller and ends."""
    program, starts = tmp_path / "kubectl", tmp_path / "starts"
    program.write_text(
        f"#!{sys.executable}\n"
        "import socket, sys\n"
        f"open({str(starts)!r}, 'a').write(' '.join(sys.argv[1:5]) + chr(10))\n"
        "with socket.create_server(('127.0.0.1', int(sys.argv[5].split(':')[0]))) as server:\n"
        "    server.accept()\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with forwarded("team", "rlnas-store:8333") as endpoint:
        port = int(endpoint.partition(":")[2])

        def times() -> int:
            return listens(port) and len(starts.read_text().splitlines())  # each caller ends the server

        wait_for("two more starts", times, lambda number: number > 2, 60, every=0.1)
    assert set(starts.read_text().splitlines()) == {"-n team port-forward svc/rlnas-store"}
    assert not listens(port)


def test_a_pull_policy_reaches_every_pod(tmp_path: Path) -> None:
    package = compile_all(tmp_path)[0]
    set_pull_policy(package, "Never")
    _, platform = yaml.safe_load_all(package.read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert all(executor["imagePullPolicy"] == "Never" for executor in executors)


def test_without_an_endpoint_the_suite_says_in_one_line_what_it_needs() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["make", "test-cluster"], cwd=root, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("make: ", "make["))]
    assert said == [NEEDS]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "cluster", "-rs", "tests/cluster/test_cluster.py"],
        cwd=root,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"\d+ skipped|SKIPPED", ran.stdout)
