"""The tools of the cluster suite, on hand-written answers in the shape of kubectl's; they need no cluster."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.site import CLAIMED, NIGHTLY, Site
from cluster.tools import (
    NEEDS,
    UNMINDED,
    Settings,
    clear,
    forwarded,
    insist,
    listens,
    pod_seconds,
    queue_of,
    running,
    set_pull_policy,
    store_environment,
    table,
    unlabelled,
    wait_for,
)
from kubeflow_stand_in import Kubeflow, serving

from pipelines.compile import compile_all
from rlnas import steps
from rlnas.cluster import Cluster, Endpoint, queue_labels
from rlnas.errors import StoreError, UserError
from rlnas.state import Bucket, StoreSettings

SETTINGS = Settings("http://kfp", "team", patience=0)


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


def named(name: str, phase: str, component: str | None = None, **labels: str) -> dict[str, Any]:
    """A pod of `kubectl get pods -o json`; without a component it is a driver's."""
    labels |= {"app.kubernetes.io/component": component} if component else {}
    return {"metadata": {"name": name, "labels": labels}, "status": {"phase": phase}}


PODS = [
    named("driver", "Running"),
    {"metadata": {"name": "stranger"}, "status": {"phase": "Running"}},
    named("finish", "Pending", "finish"),
    named("work-1", "Running", "work"),
    named("work-2", "Running", "work"),
    named("work-3", "Failed", "work"),
]


def answer_as_kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> None:
    """Be kubectl: answer by what follows the namespace, and refuse all else."""
    (folder / "answers.json").write_text(json.dumps(answers))
    program = folder / "kubectl"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        f"answers = json.load(open({str(folder / 'answers.json')!r}))\n"
        "answer = answers.get(' '.join(sys.argv[3:]))\n"
        "print(answer) if answer is not None else sys.exit('Error: ' + ' '.join(sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_pods_are_told_apart_by_component_and_phase() -> None:
    assert running(PODS, ("work", "train-child")) == ["work-1", "work-2"]
    assert running(PODS, ("finish",)) == []


def test_a_pod_of_a_task_that_lacks_the_label_of_its_queue_is_found() -> None:
    labels = queue_labels("gpu", None)
    pods = [named("driver", "Succeeded"), named("a", "Running", "work", **labels), named("b", "Running", "work")]
    pods += [named("c", "Running", "finish", **queue_labels("other", None))]
    assert unlabelled(pods, labels) == ["b", "c"]
    assert unlabelled(pods[:2], labels) == []


@pytest.mark.parametrize(
    ("groups", "given", "queue"),
    [
        (["apps", "argoproj.io"], None, UNMINDED),
        (["apps", "kueue.x-k8s.io"], None, None),
        (["apps", "kueue.x-k8s.io"], "gpu", "gpu"),
    ],
)
def test_a_queue_that_is_not_there_is_named_only_where_nobody_minds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: list[str], given: str | None, queue: str | None
) -> None:
    known = json.dumps({"kind": "APIGroupList", "groups": [{"name": name} for name in groups]})
    answer_as_kubectl(tmp_path, monkeypatch, {"get --raw /apis": known})
    assert queue_of(replace(SETTINGS, queue=given)) == queue


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    with serving() as server:
        yield server


@pytest.fixture
def site(kubeflow: Kubeflow, tmp_path: Path) -> Site:
    endpoint = Endpoint.from_environment({}, kubeflow.url, "team")
    assert endpoint is not None
    settings = replace(SETTINGS, pull_policy="Never", parameters=["training_cpu=1"])
    nowhere = StoreSettings("127.0.0.1:1", "access", "secret")
    return Site(settings, tmp_path, nowhere, Cluster(endpoint), "check-1", UNMINDED)


def test_runs_and_schedules_of_workers_are_asked_for_as_the_command_does(site: Site, kubeflow: Kubeflow) -> None:
    site.submit(NIGHTLY, workers=2, rounds_per_run=1)
    (run,) = kubeflow.kept["runs"]
    sent = run["runtime_config"]["parameters"]
    assert (sent["search_name"], sent["worker_count"], sent["rounds_per_run"]) == (f"{site.name}-{NIGHTLY}", 2, 1)
    assert sent["training_cpu"] == "1"
    executors = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {"exec-plan-workers", "exec-work", "exec-finish"} <= set(executors)
    pods = [named(name, "Running", **executor["podMetadata"]["labels"]) for name, executor in executors.items()]
    assert not unlabelled(pods, queue_labels(UNMINDED, None))
    assert {executor["imagePullPolicy"] for executor in executors.values()} == {"Never"}

    states = site.schedule(NIGHTLY, workers=1)
    (schedule,) = kubeflow.kept["recurringruns"]
    sent = schedule["runtime_config"]["parameters"]
    assert (sent["search_name"], sent["worker_count"]) == (f"{site.name}-{NIGHTLY}", 1)
    assert "search_spec" not in sent
    assert states() == []
    for name in (f"{site.name}-{NIGHTLY}-1", f"{site.name}-plain-1"):  # Kubeflow starts them
        kubeflow.keep("runs", "run_id", {"display_name": name, "state": "SUCCEEDED"})
    assert states() == ["SUCCEEDED"]


def test_a_worker_trains_once_its_log_says_so(
    site: Site, kubeflow: Kubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = site.submit(NIGHTLY, workers=2)
    answers = {
        f"get pods -l pipeline/runid in ({run.id}) -o json": json.dumps({"items": PODS}),
        "logs work-1 -c main": "it has just begun",
        "logs work-2 -c main": f"child 000000-001{CLAIMED}1, from epoch 0",
    }
    answer_as_kubectl(tmp_path, monkeypatch, answers)
    assert site.training_pods(run) == ["work-2"]
    kubeflow.kept["runs"][0]["state"] = "SUCCEEDED"
    assert site.ended(run).state == "SUCCEEDED"


def test_a_real_search_of_workers_is_found_to_have_one_round_and_then_to_be_complete(
    site: Site, bucket: Bucket, capfd: pytest.CaptureFixture[str]
) -> None:
    site, spec = replace(site, store=bucket.settings), site.spec(NIGHTLY)
    ledger = steps.open_search(bucket, spec.name, spec)
    (share,) = steps.plan_workers(ledger, 1, 1, 3600)
    steps.work(ledger, "a", share["seconds"], share["until"])
    assert CLAIMED in capfd.readouterr().out
    assert site.ledger(NIGHTLY).version().rounds == 1
    with pytest.raises(AssertionError):
        site.assert_complete(NIGHTLY)
    steps.work(ledger, "b", 3600, spec.loop.rounds)
    site.assert_complete(NIGHTLY)


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
