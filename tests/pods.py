"""Pods and events in the shape of Kubernetes' API."""

import json
from typing import Any

from kubernetes.client import ApiClient

WAITING = {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0}


def pod(name: str, phase: str, component: str | None = "train-child", node: str = "", **status: Any) -> dict[str, Any]:
    labels = {"pipeline/runid": "r1"} | ({"app.kubernetes.io/component": component} if component else {})
    annotations = {"workflows.argoproj.io/node-name": node, "workflows.argoproj.io/node-id": name} if node else {}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "status": {"phase": phase} | status,
    }


def waits(reason: str, message: str) -> dict[str, Any]:
    """The status of a container that waits."""
    return {"containerStatuses": [WAITING | {"state": {"waiting": {"reason": reason, "message": message}}}]}


def ended(exit_code: int, reason: str = "Error") -> dict[str, Any]:
    """The status of a container that has ended."""
    return {"containerStatuses": [WAITING | {"state": {"terminated": {"exitCode": exit_code, "reason": reason}}}]}


def unschedulable(message: str) -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}


def read(value: Any, kind: str) -> Any:
    """Make of an answer what the Kubernetes client makes of it."""

    class Response:
        data = json.dumps(value)

    return ApiClient().deserialize(Response, kind)


def event(reason: str, message: str, seen: str | None = None) -> dict[str, Any]:
    return {"reason": reason, "message": message, "lastTimestamp": seen, "metadata": {}, "involvedObject": {}}
