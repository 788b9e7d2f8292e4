"""Why a pod is pending or has failed: each kind, in answers of the shape of Kubernetes' and Argo's."""

import base64
import gzip
import json
from typing import Any

import pytest
from pods import ended, event, pod, read, unschedulable, waits

from rlnas.cluster import pod_words
from rlnas.cluster.pods import workflow_words, workload_words

DRIVER = "rlnas-search-x.root.for-loop-1.iteration-0.plan-rounds-driver"
DRIVER_LOG = (
    "I1126 03:00:00.000001       1 main.go:108] Setting log level to: '1'\n"
    "I1126 03:00:01.000001       1 main.go:210] input ComponentSpec:{...}\n"
    'F1126 03:00:02.000001       1 main.go:79] KFP driver: driver.Container(pipelineName="rlnas-search", runID="r1",'
    ' taskName="plan-rounds") failed: failed to resolve inputs: input parameter slot type mismatch: expect'
    " NUMBER_INTEGER, got string\ngoroutine 1 [running]:\n"
)
LAUNCHER_LOG = "training\nF1126 03:00:02.000001 20 main.go:52] failed to execute component: upload: no such bucket\n"
PULL_SECRET = event("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (rlnas-registry)")


@pytest.mark.parametrize(
    ("status", "events", "said"),
    [
        # resources
        (
            unschedulable("0/1 nodes are available: 1 Insufficient cpu."),
            [],
            "0/1 nodes are available: 1 Insufficient cpu.",
        ),
        # taints
        (
            unschedulable("0/3 nodes are available: 3 node(s) had untolerated taint {nvidia.com/gpu: }."),
            [PULL_SECRET],
            "0/3 nodes are available: 3 node(s) had untolerated taint {nvidia.com/gpu: }.",
        ),
        # claims: unbound, and not there at all
        (
            unschedulable("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
            [],
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
        ),
        (
            unschedulable('persistentvolumeclaim "rlnas-data" not found'),
            [],
            'persistentvolumeclaim "rlnas-data" not found',
        ),
        # images: not to be had, not loaded, of an impossible name
        (
            waits("ImagePullBackOff", 'Back-off pulling image "x"'),
            [PULL_SECRET],
            'ImagePullBackOff: Back-off pulling image "x"',
        ),
        (
            waits("ErrImageNeverPull", 'Container image "x" is not present with pull policy of Never'),
            [],
            'ErrImageNeverPull: Container image "x" is not present with pull policy of Never',
        ),
        (waits("InvalidImageName", "couldn't parse image name"), [], "InvalidImageName: couldn't parse image name"),
        # volumes: the newest warning, whatever their order
        (
            {},
            [
                event("FailedMount", 'MountVolume.SetUp failed:\n configmap "x" not found', "2026-11-26T03:05:00Z"),
                event("FailedMount", "old", "2026-11-26T03:00:00Z"),
                PULL_SECRET | {"lastTimestamp": "2026-11-26T03:09:00Z"},
            ],
            'MountVolume.SetUp failed: configmap "x" not found',
        ),
        # the optional pull secret is never the reason
        ({}, [PULL_SECRET], "being started"),
        ({}, [], "being started"),
    ],
)
def test_why_a_pod_is_pending(status: dict[str, Any], events: list[dict[str, Any]], said: str) -> None:
    record = read(pod("p", "Pending", **status), "V1Pod")
    assert pod_words(record, lambda: read({"items": events}, "CoreV1EventList"), lambda: "") == (
        f"train-child (p) is pending: {said}"
    )


@pytest.mark.parametrize(
    ("status", "log", "said"),
    [
        (ended(2), "starting\nrlnas error: dataset.folder: /nowhere\n", "dataset.folder: /nowhere"),
        (ended(137, "OOMKilled"), "training\n", "OOMKilled, exit status 137"),
        (ended(137), "training\n", "Error, exit status 137: killed"),
        (ended(143), "", "Error, exit status 143: told to stop, as when its node is drained or its pod deleted"),
        (ended(1), LAUNCHER_LOG, "failed to execute component: upload: no such bucket"),
        (ended(1), "training\n", "Error, exit status 1"),
        (
            {"reason": "Evicted", "message": "The node was low on resource: memory."},
            "",
            "Evicted: The node was low on resource: memory.",
        ),
        (
            {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"},
            "rlnas error: nothing of the kind",
            "DeadlineExceeded: Pod was active on the node longer than the specified deadline",
        ),
        ({}, "", "its log may say why"),
    ],
)
def test_why_a_pod_failed(status: dict[str, Any], log: str, said: str) -> None:
    record = read(pod("p", "Failed", **status), "V1Pod")
    assert pod_words(record, lambda: None, lambda: log) == f"train-child (p) failed: {said}"


@pytest.mark.parametrize(("node", "task"), [(DRIVER, "plan-rounds-driver"), ("", "pod")])
def test_a_driver_has_no_label_but_its_log_has_the_reason(node: str, task: str) -> None:
    record = read(pod("p", "Failed", None, node, **ended(1)), "V1Pod")
    words = pod_words(record, lambda: None, lambda: DRIVER_LOG)
    assert words.startswith(f"{task} (p) failed: KFP driver")
    assert words.endswith("input parameter slot type mismatch: expect NUMBER_INTEGER, got string")
    assert "goroutine" not in words
    assert pod_words(record, lambda: None, lambda: "panic: oh\n\n") == f"{task} (p) failed: panic: oh"
    assert pod_words(record, lambda: None, lambda: "") == f"{task} (p) failed: Error, exit status 1"


@pytest.mark.parametrize("phase", ["Running", "Succeeded"])
def test_a_pod_that_does_well_says_nothing(phase: str) -> None:
    assert pod_words(read(pod("p", phase), "V1Pod"), lambda: None, lambda: "") == ""


QUOTA = (
    'pods "x" is forbidden: exceeded quota: rlnas, requested: requests.nvidia.com/gpu=1, used:'
    " requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4"
)
TRAINING = "x.root.for-loop-1.iteration-0.train-child"


def node(name: str, phase: str, message: str = "", kind: str = "Pod") -> dict[str, Any]:
    return {"id": name, "name": name, "type": kind, "phase": phase, "message": message}


NODES = {
    each["id"]: each
    for each in (
        node(f"{TRAINING}.executor(0)", "Pending", QUOTA),
        node(f"{TRAINING}.executor(1)", "Error", "pod deleted"),
        node(f"{TRAINING}.executor(2)", "Failed", "Error (exit code 2)"),
        node("x.root.finish.executor(0)", "Succeeded"),
        node("x.root", "Failed", "child 'x.root.y' failed", "DAG"),
        node(f"{TRAINING}-driver", "Pending"),
    )
}


@pytest.mark.parametrize("packed", [False, True])
def test_what_argo_says_of_pods_that_are_not_there(packed: bool) -> None:
    kept = base64.b64encode(gzip.compress(json.dumps(NODES).encode())).decode()
    status = {"compressedNodes": kept} if packed else {"nodes": NODES}
    seen = {f"{TRAINING}.executor(2)"}
    assert workflow_words({"status": status}, seen) == [
        f"train-child is pending: {QUOTA}",
        "train-child failed: pod deleted",
    ]


def test_what_argo_says_of_the_run() -> None:
    deadline = {"phase": "Failed", "message": "Max duration limit exceeded"}
    assert workflow_words({"status": deadline}, ()) == ["the run ended: Max duration limit exceeded"]
    assert workflow_words({"status": deadline | {"message": "child 'x-1' failed"}}, ()) == []
    assert workflow_words({"status": {"phase": "Running", "message": "x"}}, ()) == []
    assert workflow_words({}, ()) == []


GATES = "Scheduling is blocked due to non-empty scheduling gates"
STOPPED = "LocalQueue gpu is stopped"
FULL = (
    "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor a, 1 more needed"
)


def workload(pod_name: str, **messages: str) -> dict[str, Any]:
    """A workload of one pod, with a condition that is false for each message."""
    conditions = [{"type": kind, "status": "False", "reason": "x", "message": text} for kind, text in messages.items()]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod_name, "uid": "1"}
    return {"metadata": {"name": f"pod-{pod_name}", "ownerReferences": [owner]}, "status": {"conditions": conditions}}


def gated(labels: dict[str, str]) -> Any:
    condition = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": GATES}
    found = pod("p", "Pending", conditions=[condition])
    found["metadata"]["labels"] |= labels
    return read(found, "V1Pod")


@pytest.mark.parametrize(
    ("workloads", "said"),
    [
        ([workload("p", QuotaReserved=STOPPED), workload("q", QuotaReserved=FULL)], STOPPED),
        ([workload("p", Admitted="The workload has no reservation", QuotaReserved=FULL)], FULL),
        ([workload("p", Admitted="The workload has not passed all checks")], "The workload has not passed all checks"),
        # nobody may read workloads, Kueue has not looked yet, or said nothing
        ([], GATES),
        ([{"metadata": {"name": "w"}}, workload("p", QuotaReserved="")], GATES),
    ],
)
def test_why_a_pod_waits_in_a_queue(workloads: list[dict[str, Any]], said: str) -> None:
    record = gated({"kueue.x-k8s.io/queue-name": "gpu"})
    words = pod_words(record, lambda: None, lambda: "", lambda: workload_words(workloads))
    assert words == f"train-child (p) is pending: waits in queue gpu: {said}"


def test_gates_that_are_not_of_a_queue_speak_for_themselves() -> None:
    words = pod_words(gated({}), lambda: None, lambda: "", lambda: workload_words([workload("p", QuotaReserved=FULL)]))
    assert words == f"train-child (p) is pending: {GATES}"


def test_a_pod_that_was_admitted_does_not_wait_any_more() -> None:
    found = pod("p", "Pending", **unschedulable("0/1 nodes are available: 1 Insufficient cpu."))
    found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpu"
    words = pod_words(read(found, "V1Pod"), lambda: None, lambda: "", lambda: {"p": "old"})
    assert words == "train-child (p) is pending: 0/1 nodes are available: 1 Insufficient cpu."


def test_a_pod_that_kueue_stopped_says_so() -> None:
    stopped = {"type": "TerminationTarget", "status": "True", "reason": "x", "message": "The LocalQueue is stopped"}
    record = read(pod("p", "Failed", conditions=[stopped], **ended(143)), "V1Pod")
    words = pod_words(record, lambda: None, lambda: "")
    assert words == "train-child (p) failed: stopped by Kueue: The LocalQueue is stopped"
