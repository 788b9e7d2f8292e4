"""A real installation, from manifests to a recurring run: `make test-cluster`. The checks build on one another.

Each check is one line of the output; what is wrong is in the assertion's text, with the words of the pods.
"""

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest
from cluster.site import NIGHTLY, PLAIN, Site
from cluster.tools import (
    NEEDS,
    Settings,
    clear,
    forwarded,
    insist,
    kubectl,
    pods_of,
    queue_of,
    store_environment,
    table,
    unlabelled,
    wait_for,
)

from rlnas.cluster import ENDED, Cluster, Endpoint, queue_labels
from rlnas.errors import UserError
from rlnas.state import Bucket, Ledger, StoreSettings, delete_search, list_searches, open_search

SETTINGS = Settings.from_environment(os.environ)
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(SETTINGS is None or not shutil.which("kubectl"), reason=NEEDS),
]


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
    folder, name = tmp_path_factory.mktemp("site"), f"check-{uuid4().hex[:8]}"
    queue = insist("whether Kueue is there", partial(queue_of, SETTINGS))
    site = Site(SETTINGS, folder, store, Cluster(endpoint), name, queue)
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
    package = site.package(PLAIN)
    assert site.cluster._upload(package, site.name) == site.cluster._upload(package, site.name)


def test_a_search_of_two_rounds_succeeds(site: Site) -> None:
    run = site.ended(site.submit(PLAIN))
    assert run.state == "SUCCEEDED", run.words
    site.assert_complete(PLAIN)


def test_every_pod_is_labelled_and_no_pod_shows_the_secret(site: Site) -> None:
    pods = pods_of(site.settings.namespace, *site.runs)
    named = [p for p in pods if p["metadata"]["labels"].get("app.kubernetes.io/instance") == f"{site.name}-plain"]
    components = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in named}
    assert {"prepare-data", "open-search", "train-child", "evaluate", "update-controller", "finish"} <= components
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
    pod = wait_for("a pod that trains", lambda: site.training_pods(first), bool, patience)[0]
    second = site.submit(how)
    RUDE[how](site.settings.namespace, pod)
    ended = site.ended(first)
    print(f"\n{how}: run {first.name}: {ended.state}, run {second.name}: {site.ended(second).state}", *ended.words)
    for _ in range(3):  # a killed pod may fail its run; then the search is continued by the next one
        if site.ledger(how).version().rounds == 2:
            break
        site.ended(site.submit(how))
    site.assert_complete(how)


def test_workers_of_which_one_is_deleted_and_one_comes_late_end_the_search(site: Site) -> None:
    """What becomes of the run whose worker was deleted is printed, not asserted."""
    kind, patience = "workers", site.settings.patience
    first = site.submit(kind, workers=2, training_cpu=1)  # so that both find a place on a small node
    pods = wait_for("two workers that train", lambda: site.training_pods(first), lambda now: len(now) == 2, patience)
    late = site.submit(kind, workers=1, training_cpu=1)
    delete_pod(site.settings.namespace, pods[0])
    ended, last = site.ended(first), site.ended(late)
    print(f"\nworkers, one deleted: run {first.name}: {ended.state}, run {late.name}: {last.state}", *ended.words)
    assert last.state == "SUCCEEDED", last.words
    site.assert_complete(kind)
    components = {
        pod["metadata"]["labels"].get("app.kubernetes.io/component")
        for pod in pods_of(site.settings.namespace, late.id)
    }
    assert {"plan-workers", "work", "finish"} <= components


def test_every_pod_of_loop_and_workers_names_its_queue(site: Site) -> None:
    if site.queue is None:
        pytest.skip("Kueue is installed, and QUEUE names none of its LocalQueues")
    pods = pods_of(site.settings.namespace, *site.runs)
    assert pods
    assert not unlabelled(pods, queue_labels(site.queue, None))


def test_a_schedule_fires_twice_and_a_search_that_is_complete_ends_at_once(site: Site) -> None:
    name = f"{site.name}-{PLAIN}"
    with pytest.raises(UserError, match="no schedule"):
        site.cluster.disable(name)
    states = site.schedule(PLAIN)
    wait_for("two scheduled runs to succeed", states, lambda s: s.count("SUCCEEDED") >= 2, site.settings.patience)
    site.cluster.disable(name)
    site.assert_complete(PLAIN)


def test_a_schedule_of_workers_goes_on_where_a_run_of_one_round_ended(site: Site) -> None:
    run = site.ended(site.submit(NIGHTLY, workers=1, rounds_per_run=1))
    assert run.state == "SUCCEEDED", run.words
    assert site.ledger(NIGHTLY).version().rounds == 1
    states = site.schedule(NIGHTLY, workers=1)
    wait_for("a scheduled run of workers to succeed", states, lambda s: "SUCCEEDED" in s, site.settings.patience)
    site.cluster.disable(f"{site.name}-{NIGHTLY}")
    site.assert_complete(NIGHTLY)
