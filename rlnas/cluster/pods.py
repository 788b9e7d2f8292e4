"""What the pods of a run say: why one is pending, why one failed; what Argo says of pods that are not there, and Kueue
of those that wait in a queue.
"""

import base64
import gzip
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, partial
from typing import Any

from rlnas.cluster.package import QUEUE
from rlnas.errors import one_line
from rlnas.steps.common import ERROR_PREFIX

LONGEST = 300  # characters of what a pod says
COMPONENT = "app.kubernetes.io/component"
NODE_ID, NODE_NAME = "workflows.argoproj.io/node-id", "workflows.argoproj.io/node-name"
STOPPED_BY_KUEUE = "TerminationTarget"  # a condition: its queue was stopped, or others have a right to its place
NEVER_THE_REASON = {"FailedToRetrieveImagePullSecret"}  # the secret is optional: a warning on every pod that lacks it
MEANING = {137: "killed", 143: "told to stop, as when its node is drained or its pod deleted"}
_FATAL = re.compile(r"^F\d{4} \S+ +\d+ \S+\] (.*)$", re.MULTILINE)  # as Kubeflow's driver and launcher log their end


def pod_words(
    pod: Any, events: Callable[[], Any], log: Callable[[], str], queue: Callable[[], Mapping[str, str]] = dict
) -> str:
    """Say in one line why a pod does not run, or why it failed; empty if it does well.

    Args:
        pod: as the Kubernetes client gives it.
        events, log: fetch its warnings and the end of its log, if need be.
        queue: fetches what Kueue says, as of `workload_words`, if need be.
    """
    status, name = pod.status, f"{_task_of(pod)} ({pod.metadata.name})"
    if status.phase == "Pending":
        why = _why_queued(pod, queue) or _why_pending(status, events)
        return f"{name} is pending: {one_line(why, LONGEST)}"
    if status.phase == "Failed":
        has_component = COMPONENT in (pod.metadata.labels or {})
        return f"{name} failed: {one_line(_why_failed(status, log, has_component), LONGEST)}"
    return ""


def workflow_words(workflow: dict[str, Any], seen: Collection[str]) -> list[str]:
    """Say, a line each, what Argo knows beyond the pods: of those it cannot make, of those that are gone, of the run.

    A pod that a quota refuses never exists, and a node that is drained takes its pods along.

    Args:
        workflow: as Kubernetes gives it.
        seen: ids of the nodes whose pods speak for themselves.
    """
    status = workflow.get("status") or {}
    nodes = status.get("nodes") or {}
    if packed := status.get("compressedNodes"):
        nodes = json.loads(gzip.decompress(base64.b64decode(packed)))
    said = []
    for node in nodes.values():
        state = {"Pending": "is pending", "Failed": "failed", "Error": "failed"}.get(node.get("phase", ""))
        if state and node.get("type") == "Pod" and node["id"] not in seen and node.get("message"):
            said.append(f"{_task_name(node['name'])} {state}: {one_line(node['message'], LONGEST)}")
    message = status.get("message") or ""
    if status.get("phase") in ("Failed", "Error") and message and not re.fullmatch(r"child '.*' failed", message):
        said.append(f"the run ended: {one_line(message, LONGEST)}")
    return said


def workload_words(workloads: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return what Kueue says of pods that it lets wait, by the names of the pods.

    Args:
        workloads: as Kubernetes gives them; each is owned by the pods that it stands for.
    """
    said: dict[str, str] = {}
    for workload in workloads:
        conditions = {each["type"]: each for each in (workload.get("status") or {}).get("conditions") or []}
        refused = [
            c for kind in ("QuotaReserved", "Admitted") if (c := conditions.get(kind, {})).get("status") == "False"
        ]
        if words := next((c["message"] for c in refused if c.get("message")), ""):
            said |= {owner["name"]: words for owner in workload["metadata"].get("ownerReferences") or []}
    return said


def words_of(run_id: str, namespace: str) -> tuple[str, ...]:
    """Ask Kubernetes what the pods of a run say, a line each; or say why it cannot be asked."""
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    selector = f"pipeline/runid={run_id}"
    try:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            config.load_kube_config()
        core = client.CoreV1Api()

        def log_of(name: str) -> str:
            try:
                return core.read_namespaced_pod_log(name, namespace, container="main", tail_lines=100)
            except ApiException:  # it has none, or the container never began
                return ""

        @cache
        def queue() -> Mapping[str, str]:
            for version in ("v1beta2", "v1beta1"):  # the second is that of Kueue before 0.15
                try:
                    found = client.CustomObjectsApi().list_namespaced_custom_object(
                        "kueue.x-k8s.io", version, namespace, "workloads"
                    )
                    return workload_words(found["items"])
                except ApiException:  # not there, or not everybody may read it
                    continue
            return {}

        pods = core.list_namespaced_pod(namespace, label_selector=selector).items
        words = []
        for pod in pods:
            about = f"involvedObject.name={pod.metadata.name},type=Warning"
            events = partial(core.list_namespaced_event, namespace, field_selector=about)
            words.append(pod_words(pod, events, partial(log_of, pod.metadata.name), queue))
        try:
            workflows = client.CustomObjectsApi().list_namespaced_custom_object(
                "argoproj.io", "v1alpha1", namespace, "workflows", label_selector=selector
            )["items"]
        except ApiException:  # not everybody may read them; the pods have spoken
            workflows = []
        seen = {(pod.metadata.annotations or {}).get(NODE_ID, "") for pod in pods}
        words += [text for workflow in workflows for text in workflow_words(workflow, seen)]
    except config.ConfigException:
        words = ["no kubeconfig here: what its pods say is not shown"]
    except (ApiException, HTTPError) as error:
        words = [f"its pods cannot be read: {getattr(error, 'reason', error)}"]
    return tuple(dict.fromkeys(text for text in words if text))


def _task_of(pod: Any) -> str:
    """Name the task whose pod it is: by its label, or, for one of Kubeflow's drivers, by the place in the run."""
    labels, annotations = pod.metadata.labels or {}, pod.metadata.annotations or {}
    return labels.get(COMPONENT) or _task_name(annotations.get(NODE_NAME, "")) or "pod"


def _task_name(node: str) -> str:
    """`run.root.for-loop-1.plan-rounds-driver` is plan-rounds-driver, `run.root.finish.executor(0)` is finish."""
    parts = [part for part in node.split(".") if not part.startswith("executor")]
    return parts[-1] if parts else ""


def _why_queued(pod: Any, queue: Callable[[], Mapping[str, str]]) -> str:
    """Kueue's words, else the scheduler's, of a pod that is held back in a queue; empty: it is not."""
    held = [c for c in pod.status.conditions or [] if c.type == "PodScheduled" and c.reason == "SchedulingGated"]
    name = (pod.metadata.labels or {}).get(QUEUE)
    if not held or not name:
        return ""
    return f"waits in queue {name}: {queue().get(pod.metadata.name) or held[0].message or 'not admitted yet'}"


def _why_pending(status: Any, events: Callable[[], Any]) -> str:
    """The scheduler's words (resources, taints, claims), else the container's (image), else the newest warning."""
    said = [c.message for c in status.conditions or [] if c.type == "PodScheduled" and c.status == "False"]
    waiting = [c.state.waiting for c in _containers(status) if c.state and c.state.waiting]
    said += [f"{w.reason}: {w.message}" for w in waiting if w.message]
    if not any(said):
        warnings = [event for event in events().items if event.reason not in NEVER_THE_REASON]
        said = [event.message for event in sorted(warnings, key=_when)[-1:]]
    return next((text for text in said if text), "being started")


def _why_failed(status: Any, log: Callable[[], str], has_component: bool) -> str:
    """What the node says (evicted, deadline), or Kueue, else the task itself, else how its container ended.

    A driver has no words of ours, but its log ends with the reason.
    """
    if status.reason:
        return f"{status.reason}: {status.message}"
    if stopped := [c for c in status.conditions or [] if c.type == STOPPED_BY_KUEUE and c.message]:
        return f"stopped by Kueue: {stopped[0].message}"
    text = log()
    if said := re.search(f"{ERROR_PREFIX}(.*)", text):
        return said[1]
    ended = [c.state.terminated for c in _containers(status) if c.state and c.state.terminated]
    ended = [end for end in ended if end.exit_code]
    killed = [end for end in ended if end.reason == "OOMKilled" or end.exit_code in MEANING]
    if not killed and (fatal := _FATAL.findall(text)):
        return fatal[-1]
    if not has_component and not killed and text.strip():
        return text.strip().splitlines()[-1]
    for end in killed or ended:
        meaning = f": {MEANING[end.exit_code]}" if end.reason == "Error" and end.exit_code in MEANING else ""
        return f"{end.reason}, exit status {end.exit_code}{meaning}"
    return "its log may say why"


def _containers(status: Any) -> list[Any]:
    return [*(status.init_container_statuses or []), *(status.container_statuses or [])]


def _when(event: Any) -> str:
    """When an event was last seen; events without a time come first."""
    return str(event.last_timestamp or event.event_time or event.metadata.creation_timestamp or "")
