"""An installation under test: what is sent to it, and what is asked of it.

Searches are named by what is done to them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.tools import Settings, kubectl, pods_of, running, set_pull_policy, wait_for

from pipelines.compile import compile_pipeline
from rlnas.cluster import ENDED, Cluster, RunState, label_package, queue_labels, requests_of, run_parameters
from rlnas.spec import SearchSpec, parse_spec
from rlnas.state import Bucket, Ledger, StoreSettings, child_id, open_search

PLAIN, NIGHTLY = "plain", "nightly"
EPOCHS, LONG = 2, 1000  # long enough for a pod to be killed amid its training
TRAINERS = ("train-child", "work")
CLAIMED = ": attempt "
"""Part of the line that a task logs when it begins to train a child."""


@dataclass
class Site:
    """What the checks share.

    Args:
        settings: of the suite.
        folder: for packages.
        store: as it is reached from here.
        cluster: Kubeflow.
        name: of all searches begin with it.
        queue: in which all tasks wait, or None.
        runs: ids of those that were submitted.
    """

    settings: Settings
    folder: Path
    store: StoreSettings
    cluster: Cluster
    name: str
    queue: str | None
    runs: list[str] = field(default_factory=list)

    def spec(self, kind: str) -> SearchSpec:
        epochs = EPOCHS if kind in (PLAIN, NIGHTLY) else LONG
        return parse_spec(
            {
                "name": f"{self.name}-{kind}",
                "seed": 1,
                "space": {"kind": "cnn", "layers": 2, "filters": [4, 8]},
                "dataset": {"kind": "digits"},
                # Two at once, so that two workers share a round however many cores a node has.
                "child": {"epochs": epochs, "batch": 64, "snapshots": 1, "upsample_by": None, "children_at_once": 2},
                "loop": {"children": 8, "children_per_round": 4, "children_per_batch": 2},
                "failures": {"lease_seconds": 60},
            }
        )

    def package(self, kind: str, workers: int = 0) -> Path:
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        package = compile_pipeline("workers" if workers else "search", folder)
        label_package(package, f"{self.name}-{kind}", queue_labels(self.queue, None))
        if self.settings.pull_policy:
            set_pull_policy(package, self.settings.pull_policy)
        return package

    def parameters(self, package: Path, workers: int = 0, **more: int) -> dict[str, Any]:
        given = [f"container_image={self.settings.image}", f"store_secret_name={self.settings.store_secret}"]
        more |= {"worker_count": workers} if workers else {}
        given += [f"{name}={value}" for name, value in more.items()]
        return run_parameters(package, given + self.settings.parameters)

    def submit(self, kind: str, workers: int = 0, **more: int) -> RunState:
        """Start a run of a search by the loop, or by so many workers; more run parameters may be given."""
        package, spec = self.package(kind, workers), self.spec(kind)
        parameters = self.parameters(package, workers, **more)
        arguments = parameters | {"search_name": spec.name, "search_spec": spec.document}
        run = self.cluster.submit(package, spec.name, arguments, self.settings.service_account)
        self.runs.append(run.id)
        print(f"\nrun {run.name}; a pod asks for", *requests_of(package, arguments), sep="\n  ")
        return run

    def schedule(self, kind: str, workers: int = 0) -> Callable[[], list[str]]:
        """Start a run of a search every minute; return what reads the states of these runs."""
        name, package = f"{self.name}-{kind}", self.package(kind, workers)
        before = {run.run_id for run in self.all_runs()}
        parameters = self.parameters(package, workers)
        self.cluster.schedule(package, name, "* * * * *", 1, parameters, self.settings.service_account)

        def states() -> list[str]:
            new = [run for run in self.all_runs() if run.run_id not in before]
            return [run.state for run in new if run.display_name.startswith(name)]

        return states

    def ended(self, run: RunState) -> RunState:
        def read() -> RunState:
            return self.cluster.run(run.id)

        return wait_for(f"run {run.name}", read, lambda now: now.state in ENDED, self.settings.patience)

    def ledger(self, kind: str) -> Ledger:
        return open_search(Bucket(self.store), f"{self.name}-{kind}")

    def training_pods(self, run: RunState) -> list[str]:
        """Those that train a child, or have."""
        namespace = self.settings.namespace
        pods = running(pods_of(namespace, run.id), TRAINERS)
        return [pod for pod in pods if CLAIMED in kubectl(namespace, "logs", pod, "-c", "main")]

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
