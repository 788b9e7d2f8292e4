"""A search on a Kubeflow installation: runs, schedules and what becomes of them, through the SDK.

The only place in this package that knows kfp, and only when it is used.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from rlnas.errors import UserError
from rlnas.steps.common import ERROR_PREFIX

EXPERIMENT = "rlnas"
LARGEST_PARAMETER = 10_000  # bytes; Kubeflow's limit
TIMEOUT = 20.0  # seconds for the first answer
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass(frozen=True)
class Endpoint:
    """Where Kubeflow Pipelines answers.

    Args:
        host: URL of its API.
        namespace: of the pods; a person's own in a multi-user installation.
        token: bearer token; never printed.
        ca_file: certificate authorities to trust instead of the system's, in PEM.
    """

    host: str
    namespace: str = "kubeflow"
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], host: str | None, namespace: str | None) -> "Endpoint | None":
        """`KFP_ENDPOINT`, `KFP_NAMESPACE`, `KFP_TOKEN` and `KFP_CA_FILE` where nothing else is said; None: no host.

        Raises:
            UserError: the host comes with a user, whose password would stand in every message.
        """
        host = host or environ.get("KFP_ENDPOINT", "").strip()
        if not host:
            return None
        if "@" in host:
            raise UserError(
                "the Kubeflow endpoint (--endpoint, KFP_ENDPOINT) must be a URL without a user;"
                " allowed: such as http://localhost:8888, with a bearer token in KFP_TOKEN"
            )
        host = (host if "://" in host else f"http://{host}").rstrip("/")
        namespace = namespace or environ.get("KFP_NAMESPACE") or cls.namespace
        return cls(host, namespace, environ.get("KFP_TOKEN") or None, environ.get("KFP_CA_FILE") or None)


@dataclass(frozen=True)
class Schedule:
    """A recurring run: its id, the search it continues, its cron expression, runs at once, and whether it fires."""

    id: str
    search: str
    cron: str
    max_concurrency: int
    enabled: bool


@dataclass(frozen=True)
class RunState:
    """A run: its id, name and state, where to look at it, and what its pods have to say."""

    id: str
    name: str
    state: str
    created: str
    url: str
    words: tuple[str, ...] = ()


def label_package(package: Path, search: str) -> None:
    """Label every pod of a compiled package with the search's name, which Kubeflow takes at compile time only."""
    spec, platform = yaml.safe_load_all(package.read_text())
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        executor["podMetadata"]["labels"]["app.kubernetes.io/instance"] = search
    package.write_text(yaml.safe_dump_all([spec, platform]))


def run_parameters(package: Path, given: Iterable[str]) -> dict[str, Any]:
    """Read `name=value` texts as run parameters of a package, of the types that it declares.

    Raises:
        UserError: a name that the package does not know, or a value of another type.
    """
    known = next(iter(yaml.safe_load_all(package.read_text())))["root"]["inputDefinitions"]["parameters"]
    kinds = {"STRING": str, "NUMBER_INTEGER": int, "STRUCT": dict, "LIST": list}
    found = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or name not in known or name in ("search_name", "search_spec"):
            allowed = ", ".join(name for name in known if name not in ("search_name", "search_spec"))
            raise UserError(f"--set {text}: name=value is needed; allowed names: {allowed}")
        kind = kinds[known[name]["parameterType"]]
        try:
            found[name] = value if kind is str else yaml.safe_load(value)
        except yaml.YAMLError:
            found[name] = None
        if not isinstance(found[name], kind):
            raise UserError(f"--set {text}: {name} must be a {kind.__name__}, written as JSON")
    return found


class Cluster:
    """A Kubeflow installation.

    Args:
        endpoint: where it answers.

    Raises:
        UserError: nothing answers there, or not as Kubeflow does, or it refuses.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        import kfp
        import kfp_server_api

        self.endpoint = endpoint
        configuration = kfp_server_api.Configuration(host=endpoint.host)
        configuration.ssl_ca_cert = endpoint.ca_file
        if endpoint.token:
            configuration.api_key["authorization"] = endpoint.token
            configuration.api_key_prefix["authorization"] = "Bearer"
        with _one_line(endpoint.host):
            health = kfp_server_api.HealthzServiceApi(kfp_server_api.ApiClient(configuration))
            answer = health.healthz_service_get_healthz(_request_timeout=TIMEOUT, _preload_content=False).data
            try:
                multi_user = json.loads(answer).get("multi_user", False)
            except (AttributeError, ValueError):  # a page for people
                raise UserError(
                    f"{endpoint.host} answers, but not as Kubeflow Pipelines does; KFP_TOKEN may spare a login"
                ) from None
            # A single-user installation refuses to hear of namespaces.
            self._namespace = endpoint.namespace if multi_user else None
            self._client = kfp.Client(
                endpoint.host,
                namespace=self._namespace or "kubeflow",
                existing_token=endpoint.token,
                ssl_ca_cert=endpoint.ca_file,
            )

    def submit(self, package: Path, search: str, arguments: dict[str, Any], service_account: str) -> RunState:
        """Start a run of a compiled package.

        Raises:
            UserError: Kubeflow refuses.
        """
        for name, value in arguments.items():
            if len(json.dumps(value).encode()) > LARGEST_PARAMETER:
                raise UserError(f"{name}: Kubeflow takes at most {LARGEST_PARAMETER:,} bytes; shorten it")
        with _one_line(self.endpoint.host):
            run = self._client.create_run_from_pipeline_package(
                str(package),
                arguments,
                run_name=f"{search}-{datetime.now():%Y%m%d-%H%M%S}",
                experiment_name=EXPERIMENT,
                namespace=self._namespace,
                enable_caching=False,
                service_account=service_account,
            )
            return self._state(self._client.get_run(run.run_id))

    def run_of(self, search: str) -> RunState | None:
        """The newest run of a search among the last hundred of the installation, with what its pods say."""
        with _one_line(self.endpoint.host):
            answer = self._client.list_runs(page_size=100, sort_by="created_at desc", namespace=self._namespace)
        for run in answer.runs or []:
            if _search_of(run) == search:
                state = self._state(run)
                return state if state.state == "SUCCEEDED" else self._with_words(state)
        return None

    def schedules(self, search: str | None = None) -> list[Schedule]:
        """The schedules of one search, or of all."""
        with _one_line(self.endpoint.host):
            answer = self._client.list_recurring_runs(page_size=100, namespace=self._namespace)
        found = [
            Schedule(
                job.recurring_run_id,
                _search_of(job),
                job.trigger.cron_schedule.cron if job.trigger and job.trigger.cron_schedule else "",
                int(job.max_concurrency),
                job.status == "ENABLED",
            )
            for job in answer.recurring_runs or []
            if _search_of(job)
        ]
        return [schedule for schedule in found if search in (None, schedule.search)]

    def schedule(
        self,
        package: Path,
        search: str,
        cron: str,
        max_concurrency: int,
        arguments: dict[str, Any],
        service_account: str,
        replace: bool = False,
    ) -> Schedule:
        """Continue a search again and again, until its budget is reached; runs after that end at once.

        Args:
            package: compiled; it is uploaded as a version of its pipeline.
            search: in the store already.
            cron: five fields, or six with seconds first.
            max_concurrency: runs at once, 1 to 10; more than one is harmless.
            arguments: of every run, beside the search's name.
            service_account: of the pods.
            replace: delete the search's other schedules afterwards; else there may be none that fires.

        Raises:
            UserError: there is one already, or Kubeflow refuses.
        """
        fields = cron.split()
        if len(fields) not in (5, 6):
            raise UserError(f"cron: {cron!r} has {len(fields)} fields; allowed: 5, or 6 with seconds first")
        before = self.schedules(search)
        if not replace and any(schedule.enabled for schedule in before):
            raise UserError(
                f"search {search} has a schedule; `rlnas schedule replace {search}` puts another in its place"
            )
        with _one_line(self.endpoint.host):
            pipeline, version = self._upload(package, search)
            job = self._client.create_recurring_run(
                self._client.create_experiment(EXPERIMENT, namespace=self._namespace).experiment_id,
                job_name=search,
                cron_expression=" ".join(fields if len(fields) == 6 else ["0", *fields]),
                max_concurrency=max_concurrency,
                no_catchup=True,
                params={"search_name": search} | arguments,
                pipeline_id=pipeline,
                version_id=version,
                service_account=service_account,
            )
            if replace:
                for schedule in before:
                    self._client.delete_recurring_run(schedule.id)
        return next(schedule for schedule in self.schedules(search) if schedule.id == job.recurring_run_id)

    def disable(self, search: str) -> list[Schedule]:
        """Stop the schedules of a search; a run that is under way goes on.

        Raises:
            UserError: none fires.
        """
        firing = [schedule for schedule in self.schedules(search) if schedule.enabled]
        if not firing:
            raise UserError(f"search {search} has no schedule that fires; `rlnas schedule list` shows all")
        with _one_line(self.endpoint.host):
            for schedule in firing:
                self._client.disable_recurring_run(schedule.id)
        return firing

    def _upload(self, package: Path, search: str) -> tuple[str, str]:
        """Upload a package once; return the ids of pipeline and version."""
        name = next(iter(yaml.safe_load_all(package.read_text())))["pipelineInfo"]["name"]
        version = f"{search}-{hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
        pipeline = self._client.get_pipeline_id(name)
        if pipeline is None:
            pipeline = self._client.upload_pipeline(str(package), name, namespace=self._namespace).pipeline_id
        for known in self._client.list_pipeline_versions(pipeline, page_size=100).pipeline_versions or []:
            if known.display_name == version:
                return pipeline, known.pipeline_version_id
        uploaded = self._client.upload_pipeline_version(str(package), version, pipeline_id=pipeline)
        return pipeline, uploaded.pipeline_version_id

    def _state(self, run: Any) -> RunState:
        url = f"{self.endpoint.host}/#/runs/details/{run.run_id}"
        return RunState(run.run_id, run.display_name, run.state or "PENDING", f"{run.created_at:%Y-%m-%d %H:%M}", url)

    def _with_words(self, run: RunState) -> RunState:
        from kubernetes import client, config
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            try:
                config.load_incluster_config()
            except config.ConfigException:
                config.load_kube_config()
            core, namespace = client.CoreV1Api(), self.endpoint.namespace
            words = []
            for pod in core.list_namespaced_pod(namespace, label_selector=f"pipeline/runid={run.id}").items:
                name = pod.metadata.name
                about = f"involvedObject.name={name},type=Warning"
                events = partial(core.list_namespaced_event, namespace, field_selector=about)
                log = partial(core.read_namespaced_pod_log, name, namespace, container="main", tail_lines=100)
                words.append(pod_words(pod, events, log))
        except config.ConfigException:
            words = ["no kubeconfig here: what its pods say is not shown"]
        except (ApiException, HTTPError) as error:
            words = [f"its pods cannot be read: {getattr(error, 'reason', error)}"]
        return RunState(**{**vars(run), "words": tuple(dict.fromkeys(text for text in words if text))})


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
        return f"{name} is pending: {_squeezed(next((text for text in said if text), 'being started'))}"
    if status.phase == "Failed":
        ended = [
            c.state.terminated for c in containers if c.state and c.state.terminated and c.state.terminated.exit_code
        ]
        said = [f"{status.reason}: {status.message}"] if status.reason else []
        if not said and labels.get("app.kubernetes.io/component"):
            said = [line.partition(ERROR_PREFIX)[2] for line in log().splitlines() if ERROR_PREFIX in line]
        said += [f"{e.reason}, exit status {e.exit_code}" for e in ended]
        return f"{name} failed: {_squeezed(next(iter(said), 'its log may say why'))}"
    return ""


def _search_of(record: Any) -> str:
    parameters = getattr(record.runtime_config, "parameters", None) or {}
    return str(parameters.get("search_name", ""))


def _squeezed(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:299]}…"


@contextmanager
def _one_line(host: str) -> Iterator[None]:
    """Turn what the SDK raises into one line, and keep to itself what it prints."""
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    except ApiException as error:
        reason = error.reason
        try:
            body = json.loads(error.body or "{}")
            reason = body.get("message") or body.get("error") or reason
        except (ValueError, AttributeError):
            pass
        hint = "; KFP_TOKEN may hold a bearer token" if error.status in (401, 403) else ""
        raise UserError(f"Kubeflow at {host} refuses ({error.status}): {_squeezed(str(reason))}{hint}") from None
    except HTTPError as error:
        cause = getattr(error, "reason", None) or error
        raise UserError(f"Kubeflow at {host} cannot be reached: {_squeezed(str(cause))}") from None


def endpoint_or_fail(host: str | None, namespace: str | None) -> Endpoint:
    """Return where Kubeflow is.

    Raises:
        UserError: nobody said.
    """
    endpoint = Endpoint.from_environment(os.environ, host, namespace)
    if endpoint is None:
        raise UserError("no Kubeflow endpoint: give --endpoint or set KFP_ENDPOINT, such as http://localhost:8888")
    return endpoint
