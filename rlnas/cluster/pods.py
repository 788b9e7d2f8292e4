"""What the pods of a run say: why one is pending, why one failed."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rlnas.errors import one_line
from rlnas.steps.common import ERROR_PREFIX

LONGEST = 300  # characters of what a pod says


def pod_words(pod: Any, events: Callable[[], Any], log: Callable[[], str]) -> str:
    """Say in one line why a pod does not run, or why it failed; empty if it does well.

    Args:
        pod: as the Kubernetes client gives it.
        events, log: fetch its warnings and the end of its log, if need be.
    """
    status, labels = pod.status, pod.metadata.labels or {}
    name = f"{labels.get('app.kubernetes.io/component', 'pod')} ({pod.metadata.name})"
    containers = [*(status.init_container_statuses or []), *(status.container_statuses or [])]
    if status.phase == "Pending":
        said = [c.message for c in status.conditions or [] if c.type == "PodScheduled" and c.status == "False"]
        waiting = [c.state.waiting for c in containers if c.state and c.state.waiting]
        said += [f"{w.reason}: {w.message}" for w in waiting if w.message]
        if not any(said):
            said = [event.message for event in events().items][-1:]
        return f"{name} is pending: {one_line(next((text for text in said if text), 'being started'), LONGEST)}"
    if status.phase == "Failed":
        ended = [
            c.state.terminated for c in containers if c.state and c.state.terminated and c.state.terminated.exit_code
        ]
        said = [f"{status.reason}: {status.message}"] if status.reason else []
        if not said and labels.get("app.kubernetes.io/component"):
            said = [line.partition(ERROR_PREFIX)[2] for line in log().splitlines() if ERROR_PREFIX in line]
        said += [f"{e.reason}, exit status {e.exit_code}" for e in ended]
        return f"{name} failed: {one_line(next(iter(said), 'its log may say why'), LONGEST)}"
    return ""


def words_of(run_id: str, namespace: str) -> tuple[str, ...]:
    """Ask Kubernetes what the pods of a run say, a line each; or say why it cannot be asked."""
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            config.load_kube_config()
        core, words = client.CoreV1Api(), []
        for pod in core.list_namespaced_pod(namespace, label_selector=f"pipeline/runid={run_id}").items:
            name = pod.metadata.name
            about = f"involvedObject.name={name},type=Warning"
            events = partial(core.list_namespaced_event, namespace, field_selector=about)
            log = partial(core.read_namespaced_pod_log, name, namespace, container="main", tail_lines=100)
            words.append(pod_words(pod, events, log))
    except config.ConfigException:
        words = ["no kubeconfig here: what its pods say is not shown"]
    except (ApiException, HTTPError) as error:
        words = [f"its pods cannot be read: {getattr(error, 'reason', error)}"]
    return tuple(dict.fromkeys(text for text in words if text))
