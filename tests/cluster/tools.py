"""What the cluster suite needs beside rlnas itself: settings, kubectl, patience, and the table at the end."""

import base64
import json
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError

from rlnas.cluster.package import QUEUE
from rlnas.cluster.pods import COMPONENT
from rlnas.errors import StoreError, UserError

T = TypeVar("T")


class KubectlFailed(AssertionError):
    """What kubectl complains of."""


PASSING = (ApiException, HTTPError, KubectlFailed, OSError, StoreError, UserError)
"""May be over in a moment: probes of a busy node kill Kubeflow's servers, a forwarded port dies with its pod."""
UNMINDED = "rlnas-check"
NEEDS = (
    "make test-cluster needs KFP_ENDPOINT=http://host:port and NAMESPACE=name; kubectl with a kubeconfig for that"
    " namespace; and the store: RLNAS_STORE_* as reached from here, or STORE_SERVICE=name:port to forward from there"
)


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    Args:
        endpoint, namespace: KFP_ENDPOINT and NAMESPACE.
        image, pull_policy: IMAGE and PULL_POLICY of all tasks, such as Never for images that were loaded onto nodes.
        overlay: OVERLAY, a folder of manifests to apply; nothing is applied without.
        queue: QUEUE, a LocalQueue that all tasks wait in; without, see `queue_of`.
        service_account: SERVICE_ACCOUNT of the pods.
        store_service: STORE_SERVICE, to be forwarded where no RLNAS_STORE_ENDPOINT is set.
        store_secret: STORE_SECRET, where the store's keys are.
        artifact_store: ARTIFACT_STORE, service and port of Kubeflow's own store, in the same namespace.
        parameters: PARAMETERS, more run parameters, as name=value with spaces between.
        patience: PATIENCE, seconds that a run may take.
    """

    endpoint: str
    namespace: str
    image: str = "rlnas:latest"
    pull_policy: str | None = None
    overlay: str | None = None
    queue: str | None = None
    service_account: str = "rlnas"
    store_service: str | None = None
    store_secret: str = "rlnas-store"
    artifact_store: str = "seaweedfs:9000"
    parameters: list[str] = field(default_factory=list)
    patience: float = 1800

    @property
    def data_claim(self) -> str:
        """The claim that tasks mount."""
        given = dict(parameter.partition("=")[::2] for parameter in self.parameters)
        return given.get("data_volume_claim", "rlnas-data")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings | None":
        """None where something is missing that `NEEDS` names."""
        given = {name: value for name, value in environ.items() if value}
        if not {"KFP_ENDPOINT", "NAMESPACE"} <= set(given) or not {"RLNAS_STORE_ENDPOINT", "STORE_SERVICE"} & set(
            given
        ):
            return None
        return cls(
            endpoint=given["KFP_ENDPOINT"],
            namespace=given["NAMESPACE"],
            image=given.get("IMAGE", cls.image),
            pull_policy=given.get("PULL_POLICY"),
            overlay=given.get("OVERLAY"),
            queue=given.get("QUEUE"),
            service_account=given.get("SERVICE_ACCOUNT", cls.service_account),
            store_service=None if "RLNAS_STORE_ENDPOINT" in given else given["STORE_SERVICE"],
            store_secret=given.get("STORE_SECRET", cls.store_secret),
            artifact_store=given.get("ARTIFACT_STORE", cls.artifact_store),
            parameters=given.get("PARAMETERS", "").split(),
            patience=float(given.get("PATIENCE", cls.patience)),
        )


def kubectl(namespace: str, *arguments: str, stdin: str = "") -> str:
    """Run kubectl and return its output, or raise `KubectlFailed`."""
    done = subprocess.run(["kubectl", "-n", namespace, *arguments], input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def pods_of(namespace: str, *run_ids: str) -> list[dict[str, Any]]:
    """All pods of some runs."""
    selector = f"pipeline/runid in ({','.join(run_ids)})"
    return json.loads(kubectl(namespace, "get", "pods", "-l", selector, "-o", "json"))["items"]


def running(pods: Iterable[dict[str, Any]], components: Collection[str]) -> list[str]:
    """The names of those that run one of our components."""
    return [
        pod["metadata"]["name"]
        for pod in pods
        if pod["status"]["phase"] == "Running" and pod["metadata"].get("labels", {}).get(COMPONENT) in components
    ]


def unlabelled(pods: Iterable[dict[str, Any]], labels: Mapping[str, str]) -> list[str]:
    """The names of our tasks' pods that lack one of these labels. Those of Kubeflow's drivers carry none of ours."""
    found = []
    for pod in pods:
        given = pod["metadata"].get("labels", {})
        if COMPONENT in given and not labels.items() <= given.items():
            found.append(pod["metadata"]["name"])
    return found


def queue_of(settings: Settings) -> str | None:
    """The queue of all runs: QUEUE; where Kueue is not installed, one that nobody minds; else None.

    Where Kueue is installed, a pod waits for ever in a queue that is not there; else nobody reads the label.
    """
    if settings.queue:
        return settings.queue
    groups = json.loads(kubectl(settings.namespace, "get", "--raw", "/apis"))["groups"]
    return None if any(group["name"] == QUEUE.partition("/")[0] for group in groups) else UNMINDED


def store_environment(secret: dict[str, Any], config: dict[str, Any], endpoint: str) -> dict[str, str]:
    """The `RLNAS_STORE_*` of the namespace's secret and config map, reached at another endpoint."""
    keys = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    values = {"RLNAS_STORE_ACCESS_KEY": keys["accesskey"], "RLNAS_STORE_SECRET_KEY": keys["secretkey"]}
    kept = {
        name: value for name, value in config["data"].items() if name in ("RLNAS_STORE_BUCKET", "RLNAS_STORE_REGION")
    }
    return values | kept | {"RLNAS_STORE_ENDPOINT": endpoint}


def wait_for(what: str, read: Callable[[], T], done: Callable[[T], bool], seconds: float, every: float = 3) -> T:
    """Read until it is done; where it never is, say what was seen last. Nobody answering is a thing that was seen."""
    deadline = time.monotonic() + seconds
    while True:
        seen: object
        try:
            now = seen = read()
            if done(now):
                return now
        except PASSING as error:
            seen = error
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s; last seen: {seen}"
        time.sleep(every)


def insist(what: str, act: Callable[[], T], seconds: float = 120, every: float = 3) -> T:
    """Do something, and again while nobody answers."""
    return wait_for(what, act, lambda result: True, seconds, every)


def clear(deeds: Iterable[tuple[str, Callable[[], object]]], seconds: float = 120, every: float = 3) -> list[str]:
    """Do each of the deeds, insisting; return what could not be done, which keeps none from the others."""
    left = []
    for what, act in deeds:
        try:
            insist(what, act, seconds, every)
        except AssertionError as failed:
            left.append(str(failed))
    return left


@contextmanager
def forwarded(namespace: str, target: str) -> Iterator[str]:
    """Forward a port of the namespace, `service:port`, and again whenever that ends; yields where it is reached."""
    (service, port), local, stopping = target.split(":"), free_port(), threading.Event()
    command = ["kubectl", "-n", namespace, "port-forward", f"svc/{service}", f"{local}:{port}"]
    running: list[subprocess.Popen[bytes]] = []

    def forward() -> None:
        while not stopping.is_set():
            running[:] = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
            if stopping.is_set():
                running[0].terminate()
            running[0].wait()
            stopping.wait(1)

    thread = threading.Thread(target=forward)
    thread.start()
    try:
        wait_for(f"forwarding to {target}", lambda: listens(local), bool, 60, 1)
        yield f"127.0.0.1:{local}"
    finally:
        stopping.set()
        for process in running:
            process.terminate()
        thread.join()


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether somebody answers at a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def set_pull_policy(package: Path, policy: str) -> None:
    """Give every pod of a package a pull policy, which Kubeflow takes at compile time only."""
    spec, platform = yaml.safe_load_all(package.read_text())
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        executor["imagePullPolicy"] = policy
    package.write_text(yaml.safe_dump_all([spec, platform]))


def pod_seconds(pod: dict[str, Any]) -> float | None:
    """How long a pod took, from its creation to the end of its last container; None: it has not ended."""
    statuses = pod["status"].get("containerStatuses", [])
    ends = [s.get("state", {}).get("terminated", {}).get("finishedAt") for s in statuses]
    if not ends or not all(ends):
        return None
    start = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    return (max(datetime.fromisoformat(end) for end in ends) - start).total_seconds()


def table(pods: list[dict[str, Any]], children: int, child_seconds: float) -> str:
    """Pods, seconds a pod, and seconds a child, in lines."""
    groups: dict[str, list[float]] = defaultdict(list)
    for pod in pods:
        seconds = pod_seconds(pod)
        if seconds is not None:
            groups[pod["metadata"]["labels"].get(COMPONENT, "(driver)")].append(seconds)
    lines = [f"{'pods of':22} {'number':>6} {'mean s':>7} {'longest s':>9}"]
    for name, seconds_each in sorted(groups.items()):
        mean = sum(seconds_each) / len(seconds_each)
        lines.append(f"{name:22} {len(seconds_each):6} {mean:7.1f} {max(seconds_each):9.1f}")
    every = [seconds for group in groups.values() for seconds in group]
    lines.append(f"{len(every)} pods, {sum(every):.0f} pod seconds, {sum(every) / max(children, 1):.1f} a child")
    lines.append(f"{children} children, of which each trained for {child_seconds:.1f} s")
    return "\n".join(lines)
