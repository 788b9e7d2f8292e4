"""A real installation, from manifests to a recurring run: `make test-cluster`. The checks build on one another.

Each check is one line of the output; what is wrong is in the assertion's text, with the words of the pods.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cluster.tools import (
    NEEDS,
    Settings,
    clear,
    forwarded,
    kubectl,
    pods_of,
    set_pull_policy,
    store_environment,
    table,
    wait_for,
)

from pipelines.compile import compile_all
from rlnas.cluster import ENDED, Cluster, Endpoint, RunState, label_package, queue_labels, requests_of, run_parameters
from rlnas.errors import UserError
from rlnas.spec import SearchSpec, parse_spec
from rlnas.state import Bucket, Ledger, StoreSettings, child_id, delete_search, list_searches, open_search

SETTINGS = Settings.from_environment(os.environ)
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(SETTINGS is None or not shutil.which("kubectl"), reason=NEEDS),
]
PLAIN = "plain"
EPOCHS, LONG = 2, 1000  # long enough for a pod to be killed amid its training
"""Searches are named by what is done to them."""


def kill_container(namespace: str, pod: str) -> None:
    """All processes but the first one, which is Argo's: the pod lives, its task was killed."""
    kubectl(namespace, "exec", pod, "-c", "main", "--", "sh", "-c", "kill -9 -1")


def delete_pod(namespace: str, pod: str) -> None:
    kubectl(namespace, "delete", "pod", pod, "--wait=false")


def delete_pod_at_once(namespace: str, pod: str) -> None:
    kubectl(namespace, "delete", "pod", pod, "--grace-period=0", "--force")


def evict_pod(namespace: str, pod: str) -> None:
    """As `kubectl drain` does with every pod of a node."""
    about = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    kubectl(namespace, "create", "--raw", path, "-f", "-", stdin=json.dumps(about))


RUDE = {"killed": kill_container, "deleted": delete_pod, "forced": delete_pod_at_once, "evicted": evict_pod}


@dataclass
class Site:
    """What the checks share."""

    settings: Settings
    folder: Path
    store: StoreSettings
    cluster: Cluster
    name: str
    runs: list[str] = field(default_factory=list)

    def spec(self, kind: str) -> SearchSpec:
        return parse_spec(
            {
                "name": f"{self.name}-{kind}",
                "seed": 1,
                "space": {"kind": "cnn", "layers": 2, "filters": [4, 8]},
                "dataset": {"kind": "digits"},
                "child": {"epochs": LONG if kind in RUDE else EPOCHS, "batch": 64, "snapshots": 1, "upsample_by": None},
                "loop": {"children": 8, "children_per_round": 4, "children_per_batch": 2},
                "failures": {"lease_seconds": 60},
            }
        )

    def package(self, kind: str) -> Path:
        package = compile_all(self.folder / kind)[0]
        label_package(package, f"{self.name}-{kind}", queue_labels(self.settings.queue, None))
        if self.settings.pull_policy:
            set_pull_policy(package, self.settings.pull_policy)
        return package

    def parameters(self, package: Path) -> dict[str, Any]:
        given = [f"container_image={self.settings.image}", f"store_secret_name={self.settings.store_secret}"]
        return run_parameters(package, given + self.settings.parameters)

    def submit(self, kind: str) -> RunState:
        package, spec = self.package(kind), self.spec(kind)
        arguments = self.parameters(package) | {"search_name": spec.name, "search_spec": spec.document}
        run = self.cluster.submit(package, spec.name, arguments, self.settings.service_account)
        self.runs.append(run.id)
        print(f"\nrun {run.name}; a pod asks for", *requests_of(package, arguments), sep="\n  ")
        return run

    def ended(self, run: RunState) -> RunState:
        def read() -> RunState:
            return self.cluster.run(run.id)

        return wait_for(f"run {run.name}", read, lambda now: now.state in ENDED, self.settings.patience)

    def ledger(self, kind: str) -> Ledger:
        return open_search(Bucket(self.store), f"{self.name}-{kind}")

    def training_pods(self, run: RunState, phase: str) -> list[str]:
        return [
            pod["metadata"]["name"]
            for pod in pods_of(self.settings.namespace, run.id)
            if pod["metadata"]["labels"].get("app.kubernetes.io/component") == "train-child"
            and pod["status"]["phase"] == phase
        ]

    def all_runs(self) -> list[Any]:
        runs = self.cluster._client.list_runs(
            page_size=100, sort_by="created_at desc", namespace=self.cluster._namespace
        ).runs
        return [run for run in runs or [] if run.display_name.startswith(self.name)]

    def results(self, kind: str) -> list[Any]:
        ledger = self.ledger(kind)
        return [ledger.result(child_id(number, child)) for number in range(2) for child in range(4)]

    def assert_complete(self, kind: str) -> None:
        version = self.ledger(kind).version()
        assert (version.rounds, version.children, version.failed) == (2, 8, 0), version
        assert version.version == 2, "each round is applied exactly once"
        assert all(result is not None and result.status == "ok" for result in self.results(kind))


@pytest.fixture(scope="module")
def store() -> Iterator[StoreSettings]:
    """The store as it is reached from here."""
    assert SETTINGS is not None
    if SETTINGS.store_service is None:
        yield StoreSettings.from_environment(os.environ)  # type: ignore[misc]
        return
    with forwarded(SETTINGS.namespace, SETTINGS.store_service) as endpoint:
        secret, config = (
            json.loads(kubectl(SETTINGS.namespace, "get", what, "-o", "json"))
            for what in (f"secret/{SETTINGS.store_secret}", "configmap/rlnas-store")
        )
        yield StoreSettings.from_environment(store_environment(secret, config, endpoint))  # type: ignore[misc]


@pytest.fixture(scope="module")
def site(store: StoreSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A connection and names of its own; afterwards the table, and everything that was made is deleted."""
    assert SETTINGS is not None
    endpoint = Endpoint.from_environment(os.environ, SETTINGS.endpoint, SETTINGS.namespace)
    assert endpoint is not None
    site = Site(SETTINGS, tmp_path_factory.mktemp("site"), store, Cluster(endpoint), f"check-{uuid4().hex[:8]}")
    yield site
    bucket, client = Bucket(store), site.cluster._client

    def mine() -> list[Ledger]:
        return [open_search(bucket, name) for name in list_searches(bucket) if name.startswith(site.name)]

    def table_of_all() -> str:
        results = [r for ledger in mine() for r in site.results(ledger.name.removeprefix(f"{site.name}-")) if r]
        seconds = sum(result.seconds for result in results) / max(len(results), 1)
        return table(pods_of(site.settings.namespace, *site.runs) if site.runs else [], len(results), seconds)

    def schedules() -> None:
        for schedule in site.cluster.schedules():
            if schedule.search.startswith(site.name):
                client.delete_recurring_run(schedule.id)

    def runs() -> None:
        for run in site.all_runs():
            if run.state not in ENDED:
                client.terminate_run(run.run_id)
            client.delete_run(run.run_id)

    def searches() -> None:
        for ledger in mine():
            delete_search(ledger)

    # Schedules first, lest they start new runs.
    deeds = [("the table", lambda: print("\n" + table_of_all())), ("schedules", schedules), ("runs", runs)]
    left = clear([*deeds, ("searches", searches)])
    print(f"deleted: runs, schedules and searches named {site.name}-*; manifests stay")
    assert not left, f"left behind, named {site.name}-*: {'; '.join(left)}"


def test_the_manifests_are_accepted_and_applied() -> None:
    assert SETTINGS is not None
    if SETTINGS.overlay is None:
        pytest.skip("OVERLAY is not set: what is applied already is used")
    kubectl(SETTINGS.namespace, "apply", "-k", SETTINGS.overlay, "--dry-run=server")
    kubectl(SETTINGS.namespace, "apply", "-k", SETTINGS.overlay)
    # Of the pods with that label, those of earlier runs have ended and are never ready; what stays is a deployment.
    stays = kubectl(SETTINGS.namespace, "get", "deployments", "-l", "app.kubernetes.io/part-of=rlnas", "-o", "name")
    for deployment in stays.split():
        kubectl(SETTINGS.namespace, "rollout", "status", deployment, "--timeout=300s")


def test_what_tasks_need_is_in_the_namespace() -> None:
    assert SETTINGS is not None
    needed = (f"secret/{SETTINGS.store_secret}", "configmap/rlnas-store", f"pvc/{SETTINGS.data_claim}")
    for what in (*needed, f"serviceaccount/{SETTINGS.service_account}"):
        kubectl(SETTINGS.namespace, "get", what)


def test_a_package_is_uploaded_once(site: Site) -> None:
    package = site.package("plain")
    assert site.cluster._upload(package, site.name) == site.cluster._upload(package, site.name)


def test_a_search_of_two_rounds_succeeds(site: Site) -> None:
    run = site.ended(site.submit("plain"))
    assert run.state == "SUCCEEDED", run.words
    site.assert_complete("plain")


def test_every_pod_is_labelled_and_no_pod_shows_the_secret(site: Site) -> None:
    pods = pods_of(site.settings.namespace, *site.runs)
    named = [p for p in pods if p["metadata"]["labels"].get("app.kubernetes.io/instance") == f"{site.name}-plain"]
    components = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in named}
    assert {"prepare-data", "open-search", "train-child", "evaluate", "update-controller", "finish"} <= components
    for name, value in queue_labels(site.settings.queue, None).items():
        assert {pod["metadata"]["labels"].get(name) for pod in named} == {value}
    logs = [kubectl(site.settings.namespace, "logs", pod["metadata"]["name"], "-c", "main") for pod in named]
    assert any("reward" in log for log in logs), "evaluate prints rewards"
    assert site.store.secret_key not in json.dumps(pods) + "".join(logs)


def test_the_ui_has_the_report_of_every_round(site: Site) -> None:
    """In Kubeflow's own store: its API lists no outputs of tasks."""
    service, namespace = site.settings.artifact_store.partition(":")[0], site.settings.namespace
    if service not in kubectl(namespace, "get", "services", "-o", "name"):
        pytest.skip(f"no service {service} in {namespace}; ARTIFACT_STORE=name:port names Kubeflow's store")
    secret = json.loads(kubectl(namespace, "get", "secret/mlpipeline-minio-artifact", "-o", "json"))
    with forwarded(namespace, site.settings.artifact_store) as endpoint:
        found = store_environment(secret, {"data": {"RLNAS_STORE_BUCKET": "mlpipeline"}}, endpoint)
        settings = StoreSettings.from_environment(found)
        assert settings is not None
        bucket = Bucket(settings)
        roots = [f"{root}v2/artifacts/rlnas-search/{site.runs[0]}/" for root in ("", f"private-artifacts/{namespace}/")]
        keys = [key for root in roots for key in bucket.list_all(root)]
        pages = [key for key in keys if key.endswith("/page")]
        updates = [key for key in pages if "/update-controller/" in key]
        assert len(updates) == 2, keys
        for key in pages:
            page = bucket.get(key)
            assert page is not None
            assert b"Leaderboard" in page.data, key


@pytest.mark.parametrize("how", sorted(RUDE))
def test_a_training_pod_that_ends_early_costs_no_child(site: Site, how: str) -> None:
    """While a second run of the same search is under way. What becomes of the first run is printed, not asserted."""
    first, patience = site.submit(how), site.settings.patience
    pod = wait_for("a training pod to run", lambda: site.training_pods(first, "Running"), bool, patience)[0]
    wait_for("a child to be claimed", lambda: site.ledger(how).claimed_children(0), bool, patience)
    second = site.submit(how)
    RUDE[how](site.settings.namespace, pod)
    ended = site.ended(first)
    print(f"\n{how}: run {first.name}: {ended.state}, run {second.name}: {site.ended(second).state}", *ended.words)
    for _ in range(3):  # a killed pod may fail its run; then the search is continued by the next one
        if site.ledger(how).version().rounds == 2:
            break
        site.ended(site.submit(how))
    site.assert_complete(how)


def test_a_schedule_fires_twice_and_a_search_that_is_complete_ends_at_once(site: Site) -> None:
    name, package = f"{site.name}-plain", site.package("plain")
    before = {run.run_id for run in site.all_runs()}

    def fired() -> list[str]:
        return [run.state for run in site.all_runs() if run.run_id not in before]

    with pytest.raises(UserError, match="no schedule"):
        site.cluster.disable(name)
    site.cluster.schedule(package, name, "* * * * *", 1, site.parameters(package), site.settings.service_account)
    wait_for("two scheduled runs to succeed", fired, lambda s: s.count("SUCCEEDED") >= 2, site.settings.patience)
    site.cluster.disable(name)
    site.assert_complete("plain")
