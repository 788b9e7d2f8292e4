"""Submitting, scheduling and watching: the real SDK against hand-written answers in the shape of Kubeflow's API."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_stand_in import Handler, Kubeflow, serving
from pods import pod
from test_cli import DIGITS

from pipelines.compile import compile_all
from rlnas import steps
from rlnas.cluster import Cluster, Endpoint, label_package, queue_labels, requests_of, run_parameters
from rlnas.errors import UserError, one_line
from rlnas.spec import parse_spec
from rlnas.state import Bucket

UNSCHEDULABLE = "0/3 nodes are available: 3 Insufficient [nvidia.com/gpu], no volume at [/data/x] :x:"
TOKEN = "planted-token"


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kubeflow]:
    with serving() as server:
        contexts = {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "current-context": "c"}
        hosts = {"clusters": [{"name": "c", "cluster": {"server": server.url}}], "users": [{"name": "u", "user": {}}]}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(contexts | hosts))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        monkeypatch.setenv("KFP_ENDPOINT", server.url)
        monkeypatch.setenv("KFP_TOKEN", TOKEN)
        yield server


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compile_all(tmp_path_factory.mktemp("package"))[0].read_text()


@pytest.fixture
def package(compiled: str, tmp_path: Path) -> Path:
    path = tmp_path / "search.yaml"
    path.write_text(compiled)
    return path


@pytest.fixture
def spec_file(tmp_path: Path) -> str:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(DIGITS))
    return str(tmp_path / "spec.yaml")


def test_every_pod_of_a_labelled_package_carries_the_searchs_name(package: Path) -> None:
    before = list(yaml.safe_load_all(package.read_text()))
    label_package(package, "mine")
    spec, platform = yaml.safe_load_all(package.read_text())
    assert spec == before[0]
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(spec["deploymentSpec"]["executors"])
    assert all(x["podMetadata"]["labels"]["app.kubernetes.io/instance"] == "mine" for x in executors.values())


def test_run_parameters_have_the_types_of_the_package(package: Path) -> None:
    given = ["accelerator_count=1", "rounds_per_run=3", 'training_node_selector={"pool": "gpu"}', "control_cpu=2"]
    given += ['training_tolerations=[{"key": "gpu", "operator": "Exists"}]']
    assert run_parameters(package, given) == {
        "accelerator_count": "1",
        "rounds_per_run": 3,
        "training_node_selector": {"pool": "gpu"},
        "control_cpu": "2",
        "training_tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    for wrong in ("gpus=1", "rounds_per_run=many", "training_tolerations={", "control_cpu", "search_name=other"):
        with pytest.raises(UserError, match=f"--set {re.escape(wrong)}"):
            run_parameters(package, [wrong])
    with pytest.raises(UserError, match="pool is there twice, in line 1 and in line 1"):
        run_parameters(package, ['training_node_selector={"pool": "gpu", "pool": "cpu"}'])


CONTROL = "export-model, finish, open-search, plan-rounds, prepare-data, sample-architecture, update-controller"


def test_what_each_kind_of_task_asks_of_a_node(package: Path) -> None:
    training = "evaluate, final-test, train-child"
    assert requests_of(package, {}) == [f"cpu 2, memory 8Gi: {training}", f"cpu 1, memory 2Gi: {CONTROL}"]
    assert requests_of(package, {"training_cpu": "1", "accelerator_count": "2", "control_memory": "1Gi"}) == [
        f"cpu 1, memory 8Gi, 2 of nvidia.com/gpu: {training}",
        f"cpu 1, memory 1Gi: {CONTROL}",
    ]


def test_submit_sends_name_spec_and_settings(rlnas: Any, kubeflow: Kubeflow, spec_file: str) -> None:
    status, out, err = rlnas("submit", spec_file, "--set", "accelerator_count=1")
    assert (status, err) == (0, "")
    (run,) = kubeflow.kept["runs"]
    assert f"{kubeflow.url}/#/runs/details/{run['run_id']}" in out
    assert "cpu 2, memory 8Gi, 1 of nvidia.com/gpu: evaluate, final-test, train-child" in out
    assert f"cpu 1, memory 2Gi: {CONTROL}" in out
    sent = run["runtime_config"]["parameters"]
    assert (sent["search_name"], sent["accelerator_count"]) == ("tiny", "1")
    assert parse_spec(sent["search_spec"]) == parse_spec(DIGITS)
    assert run["service_account"] == "rlnas"
    assert set(run["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}
    assert "app.kubernetes.io/instance" in json.dumps(run["pipeline_spec"]["platform_spec"])
    assert '"enableCache": true' not in json.dumps(run["pipeline_spec"])
    assert kubeflow.kept["experiments"][0]["display_name"] == "rlnas"
    assert not any("namespace" in query for _, _, query in kubeflow.requests), "a single-user installation refuses it"
    secret = os.environ["RLNAS_STORE_SECRET_KEY"]
    for text in (out, json.dumps(run)):
        assert TOKEN not in text
        assert secret not in text


LOOP = {"children": 320, "children_per_round": 8, "children_per_batch": 1}
WIDE = DIGITS | {"loop": LOOP, "finalize": {}}


def test_a_run_that_is_too_large_is_refused_before_it_is_sent(rlnas: Any, kubeflow: Kubeflow, tmp_path: Path) -> None:
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(WIDE))
    for asked in ("10", "0"):
        status, out, err = rlnas("submit", "wide.yaml", "--set", f"rounds_per_run={asked}")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"rounds_per_run: {asked}" in err
        assert "allowed: 1 to 5; further runs continue the search" in err
    assert not kubeflow.kept["runs"]
    status, out, err = rlnas("submit", "wide.yaml")
    assert (status, err) == (0, "")
    assert kubeflow.kept["runs"][0]["runtime_config"]["parameters"]["rounds_per_run"] == 5
    assert "a run has 5 rounds and at most 269 pods (" in out


def test_a_run_of_an_extended_search_is_as_large_as_the_stored_search_makes_it(
    rlnas: Any, kubeflow: Kubeflow, bucket: Bucket, tmp_path: Path
) -> None:
    small = WIDE | {"loop": LOOP | {"children": 16}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    ledger = steps.open_search(bucket, "tiny", parse_spec(small))
    assert "a run has 2 rounds" in rlnas("submit", "small.yaml")[1]
    steps.extend(ledger, {"loop.children": 320}, "Ada")
    assert "a run has 5 rounds and at most 269 pods (" in rlnas("submit", "small.yaml")[1]


def test_a_schedule_has_as_many_rounds_a_run_as_the_stored_search_allows(
    rlnas: Any, kubeflow: Kubeflow, bucket: Bucket
) -> None:
    parameters = kubeflow.kept["recurringruns"]
    assert "not known: search tiny is not in the store yet" in rlnas("schedule", "create", "tiny", "0 * * * *")[1]
    assert "rounds_per_run" not in parameters[0]["runtime_config"]["parameters"]
    status, _, err = rlnas("schedule", "replace", "tiny", "0 * * * *", "--set", "rounds_per_run=27")
    assert (status, err.count("\n")) == (2, 1)
    assert "rounds_per_run: 27 makes a run of" in err
    steps.open_search(bucket, "tiny", parse_spec(WIDE))
    status, _, err = rlnas("schedule", "replace", "tiny", "0 * * * *", "--set", "rounds_per_run=6")
    assert status == 2
    assert "allowed: 1 to 5" in err
    assert "a run has 5 rounds" in rlnas("schedule", "replace", "tiny", "0 * * * *")[1]
    assert parameters[0]["runtime_config"]["parameters"]["rounds_per_run"] == 5


def labels_of(platform: dict[str, Any]) -> list[dict[str, str]]:
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return [executor["podMetadata"]["labels"] for executor in executors.values()]


def test_every_pod_of_a_run_and_of_a_schedule_waits_in_its_queue(
    rlnas: Any, kubeflow: Kubeflow, spec_file: str
) -> None:
    waits = ("--queue", "gpu", "--priority-class", "low")
    expected = {"kueue.x-k8s.io/queue-name": "gpu", "kueue.x-k8s.io/priority-class": "low"}
    assert rlnas("submit", spec_file, *waits)[0] == 0
    labels = labels_of(kubeflow.kept["runs"][0]["pipeline_spec"]["platform_spec"])
    assert len(labels) == 10
    for found in labels:
        assert expected.items() <= found.items()
        assert found["app.kubernetes.io/instance"] == "tiny"
    assert rlnas("submit", spec_file, "--queue", "gpu")[0] == 0
    labels = labels_of(kubeflow.kept["runs"][0]["pipeline_spec"]["platform_spec"])
    assert {frozenset(k for k in found if "kueue" in k) for found in labels} == {frozenset(list(expected)[:1])}
    for command in ("create", "replace"):
        assert rlnas("schedule", command, "tiny", "0 * * * *", *waits)[0] == 0
        assert kubeflow.uploads[-1].count(b"kueue.x-k8s.io/queue-name: gpu") == 10
        assert kubeflow.uploads[-1].count(b"kueue.x-k8s.io/priority-class: low") == 10
    assert rlnas("submit", spec_file)[0] == 0
    assert "kueue" not in json.dumps(kubeflow.kept["runs"][0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--queue", ""), "--queue: '' cannot be a name"),
        (("--queue", "GPU"), "--queue: 'GPU' cannot be a name"),
        (("--queue", "a" * 64), "allowed: 1 to 63"),
        (("--queue", "gpu", "--priority-class", "very/low"), "--priority-class: 'very/low' cannot be a name"),
        (("--priority-class", "low"), "--priority-class low: is a place in a queue, and there is none"),
    ],
)
def test_a_queue_that_cannot_be_is_one_line(
    rlnas: Any, kubeflow: Kubeflow, spec_file: str, options: tuple[str, ...], words: str
) -> None:
    for command in (("submit", spec_file), ("schedule", "create", "tiny", "0 * * * *")):
        status, out, err = rlnas(*command, *options)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert words in err
        assert "; allowed: " in err
    assert not kubeflow.kept["runs"]
    assert not kubeflow.uploads


def test_names_of_queues_are_those_of_kubernetes() -> None:
    assert queue_labels("team-a.gpu", None) == {"kueue.x-k8s.io/queue-name": "team-a.gpu"}
    assert queue_labels(None, None) == {}
    for wrong in ("-a", "a-", "a..b", "a.-b", "a_b", "a\n"):
        with pytest.raises(UserError, match="cannot be a name"):
            queue_labels(wrong, None)


def test_a_namespace_is_named_where_there_are_many_users(kubeflow: Kubeflow, package: Path) -> None:
    kubeflow.multi_user = True
    Cluster(Endpoint(kubeflow.url, "team")).submit(package, "mine", {"search_name": "mine"}, "default-editor")
    assert kubeflow.kept["experiments"][0]["namespace"] == "team"


def test_a_spec_that_is_too_long_is_one_line(kubeflow: Kubeflow, package: Path) -> None:
    with pytest.raises(UserError, match=r"search_spec: Kubeflow takes at most 10,000 bytes"):
        Cluster(Endpoint(kubeflow.url)).submit(package, "mine", {"search_spec": {"a": "x" * 10_000}}, "rlnas")
    assert kubeflow.kept["runs"] == []


def test_the_life_of_a_schedule(rlnas: Any, kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = rlnas("schedule", "create", "mine", "*/30 * * * *", "--set", "rounds_per_run=2")
    assert (status, err) == (0, "")
    (job,) = kubeflow.kept["recurringruns"]
    assert job["runtime_config"]["parameters"] == {"search_name": "mine", "rounds_per_run": 2}
    assert job["trigger"]["cron_schedule"]["cron"] == "0 */30 * * * *"
    assert (int(job["max_concurrency"]), job["no_catchup"], job["service_account"]) == (1, True, "rlnas")
    reference = job["pipeline_version_reference"]
    assert reference["pipeline_version_id"] == kubeflow.kept["versions"][0]["pipeline_version_id"]
    assert b"app.kubernetes.io/instance: mine" in kubeflow.uploads[-1]

    status, _, err = rlnas("schedule", "create", "mine", "0 0 * * * *")
    assert status == 2
    assert "schedule replace mine" in err
    assert len(kubeflow.kept["recurringruns"]) == 1

    uploads = len(kubeflow.uploads)
    status, _, err = rlnas("schedule", "replace", "mine", "0 0 * * * *", "--max-concurrency", "2")
    assert (status, err) == (0, "")
    assert len(kubeflow.uploads) == uploads, "the same package is uploaded once"
    (only,) = json.loads(rlnas("schedule", "list", "--json")[1])
    assert (only["cron"], only["max_concurrency"], only["enabled"]) == ("0 0 * * * *", 2, True)
    assert only["id"] != job["recurring_run_id"]

    assert rlnas("schedule", "disable", "mine")[0] == 0
    assert json.loads(rlnas("schedule", "list", "--json")[1])[0]["enabled"] is False
    status, _, err = rlnas("schedule", "disable", "mine")
    assert status == 2
    assert len(err.splitlines()) == 1
    status, _, err = rlnas("schedule", "create", "mine", "every day")
    assert (status, err.count("\n")) == (2, 1)
    assert "2 fields; allowed: 5" in err
    monkeypatch.setenv("KFP_ENDPOINT", "http://127.0.0.1:9")  # nobody listens: what is wrong here is said first
    assert "2 fields; allowed: 5" in rlnas("schedule", "create", "mine", "every day")[2]
    assert "name: 'a/b' cannot name a search" in rlnas("schedule", "disable", "a/b")[2]


def test_status_shows_the_run_and_the_schedulers_words(
    rlnas: Any,
    kubeflow: Kubeflow,
    bucket: Bucket,
) -> None:
    steps.open_search(bucket, "tiny", parse_spec(DIGITS))
    assert "none on Kubeflow" in rlnas("status", "tiny")[1]
    parameters = {"parameters": {"search_name": "tiny"}}
    kubeflow.keep("runs", "run_id", {"display_name": "tiny-1", "state": "RUNNING", "runtime_config": parameters})
    kubeflow.keep("runs", "run_id", {"display_name": "other", "state": "RUNNING", "runtime_config": {}})
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": UNSCHEDULABLE}
    kubeflow.kept["pods"] = [pod("p1", "Pending", conditions=[condition]), pod("p2", "Running")]
    status, out, err = rlnas("status", "tiny")
    assert (status, err) == (0, "")
    assert "tiny-1, running" in out
    assert UNSCHEDULABLE in " ".join(out.replace("│", " ").split())
    shown = json.loads(rlnas("status", "tiny", "--json")[1])["run"]
    assert shown["words"] == [f"train-child (p1) is pending: {UNSCHEDULABLE}"]
    assert (
        "GET",
        "/api/v1/namespaces/kubeflow/pods",
        {"labelSelector": ["pipeline/runid=runs-0"]},
    ) in kubeflow.requests


def test_status_shows_what_kueue_says_of_a_stopped_queue(rlnas: Any, kubeflow: Kubeflow, bucket: Bucket) -> None:
    steps.open_search(bucket, "tiny", parse_spec(DIGITS))
    parameters = {"parameters": {"search_name": "tiny"}}
    kubeflow.keep("runs", "run_id", {"display_name": "r", "state": "RUNNING", "runtime_config": parameters})
    gate = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gates"}
    kubeflow.kept["pods"] = [pod(name, "Pending", conditions=[gate]) for name in ("p1", "p2")]
    for each in kubeflow.kept["pods"]:
        each["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpu"
    stopped = {"type": "QuotaReserved", "status": "False", "reason": "x", "message": "LocalQueue gpu is stopped"}
    kubeflow.kept["workloads"] = [
        {"metadata": {"ownerReferences": [{"name": "p1"}]}, "status": {"conditions": [stopped]}}
    ]
    assert json.loads(rlnas("status", "tiny", "--json")[1])["run"]["words"] == [
        "train-child (p1) is pending: waits in queue gpu: LocalQueue gpu is stopped",
        "train-child (p2) is pending: waits in queue gpu: gates",
    ]
    asked = [path for _, path, _ in kubeflow.requests if path.endswith("/workloads")]
    assert len(asked) == 2, "once for each version of the API, not for each pod"


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((401, b'{"error": "Unauthenticated", "code": 16}'), ["401", "Unauthenticated", "KFP_TOKEN"]),
        ((403, b'{"message": "user is not authorized"}'), ["403", "not authorized", "KFP_TOKEN"]),
        ((401, f'{{"error": "no such token: {TOKEN}"}}'.encode()), ["no such token: ***"]),
        ((500, b"<html>oh</html>"), ["500"]),
        ((200, b"<html>please log in</html>"), ["not as Kubeflow Pipelines", "KFP_TOKEN"]),
    ],
)
def test_a_refusal_is_one_line_without_the_token(
    rlnas: Any,
    kubeflow: Kubeflow,
    spec_file: str,
    refusal: tuple[int, bytes],
    words: list[str],
) -> None:
    kubeflow.refusal = refusal
    status, out, err = rlnas("submit", spec_file)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    for word in words:
        assert word in err
    assert TOKEN not in err + repr(Endpoint(kubeflow.url, token=TOKEN))


def test_no_endpoint_or_a_dead_one_is_one_line(
    rlnas: Any,
    spec_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KFP_ENDPOINT", raising=False)
    status, _, err = rlnas("submit", spec_file)
    assert (status, err.count("\n")) == (2, 1)
    assert "KFP_ENDPOINT" in err
    status, _, err = rlnas("schedule", "list", "--endpoint", "127.0.0.1:9")
    assert (status, err.count("\n")) == (2, 1)
    assert "127.0.0.1:9" in err
    assert "refused" in err


def test_pods_that_cannot_be_read_hide_no_run(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {"parameters": {"search_name": "tiny"}}
    kubeflow.keep("runs", "run_id", {"display_name": "r", "state": "RUNNING", "runtime_config": parameters})
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "/nowhere")
    run = Cluster(Endpoint(kubeflow.url)).run_of("tiny")
    assert run is not None
    assert run.words == ("no kubeconfig here: what its pods say is not shown",)


def test_a_run_that_has_not_made_its_search_is_shown_all_the_same(rlnas: Any, kubeflow: Kubeflow) -> None:
    status, _, err = rlnas("status", "tiny")
    assert (status, err.count("\n")) == (2, 1)
    parameters = {"parameters": {"search_name": "tiny"}}
    record = kubeflow.keep("runs", "run_id", {"display_name": "t", "state": "PENDING", "runtime_config": parameters})
    message = 'pods "p" is forbidden: exceeded quota: rlnas, requested: pods=1, used: pods=500, limited: pods=500'
    node = {"id": "n", "name": "t.root.prepare-data.executor(0)", "type": "Pod", "phase": "Pending", "message": message}
    kubeflow.kept["workflows"] = [{"status": {"nodes": {"n": node}}}]
    status, out, err = rlnas("status", "tiny")
    assert (status, err) == (0, "")
    words = " ".join(out.replace("│", " ").split())
    assert "a run is under way on Kubeflow" in words
    assert f"prepare-data is pending: {message}" in words
    assert "next: rlnas status tiny" in words
    record["state"] = "FAILED"
    words = " ".join(rlnas("status", "tiny")[1].replace("│", " ").split())
    assert "its newest run failed; no round is begun" in words
    assert "next: rlnas submit SPEC" in words
    found = json.loads(rlnas("status", "tiny", "--json")[1])
    assert (found["name"], found["run"]["state"], found["command"]) == ("tiny", "FAILED", "rlnas submit SPEC")


def test_workflows_that_may_not_be_read_hide_no_pod(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {"parameters": {"search_name": "tiny"}}
    kubeflow.keep("runs", "run_id", {"display_name": "r", "state": "RUNNING", "runtime_config": parameters})
    kubeflow.kept["pods"] = [pod("p1", "Failed", reason="Evicted", message="of memory")]
    find = Handler.find

    def forbidding(self: Handler, method: str, path: str, *rest: Any) -> Any:
        if path.startswith("/apis/argoproj.io"):
            self.send_error(403)
        return find(self, method, path, *rest)

    monkeypatch.setattr(Handler, "find", forbidding)
    run = Cluster(Endpoint(kubeflow.url)).run_of("tiny")
    assert run is not None
    assert run.words == ("train-child (p1) failed: Evicted: of memory",)


def test_the_endpoint_is_read_from_the_environment() -> None:
    assert Endpoint.from_environment({}, None, None) is None
    found = Endpoint.from_environment({"KFP_ENDPOINT": "kfp:80/", "KFP_NAMESPACE": "team"}, None, None)
    assert found == Endpoint("http://kfp:80", "team")
    assert Endpoint.from_environment({"KFP_ENDPOINT": "a"}, "https://b", "c") == Endpoint("https://b", "c")


@pytest.mark.parametrize("host", ["https://user:planted@kfp", "user:planted@kfp:80", "https://user:pla/nted@kfp"])
def test_an_endpoint_with_a_password_is_one_line_without_it(
    rlnas: Any,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
) -> None:
    monkeypatch.setenv("KFP_ENDPOINT", host)
    for arguments in (("schedule", "list"), ("status", "tiny", "--json"), ("schedule", "list", "--endpoint", host)):
        status, out, err = rlnas(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "must be a URL without a user; allowed: " in err
        assert "nted" not in err


def test_a_token_is_blacked_out_of_every_line() -> None:
    Endpoint("http://localhost:8888", token="a-token-of-kubeflow")
    assert one_line("Authorization: Bearer a-token-of-kubeflow") == "Authorization: Bearer ***"
