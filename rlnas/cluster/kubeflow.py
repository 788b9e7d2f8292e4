"""A Kubeflow installation: runs and schedules, through the SDK."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from rlnas.cluster.endpoint import Endpoint
from rlnas.cluster.pods import words_of
from rlnas.errors import UserError, one_line

EXPERIMENT = "rlnas"
LARGEST_PARAMETER = 10_000  # bytes; Kubeflow's limit
TIMEOUT = 20.0  # seconds for the first answer
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


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


def cron_of(written: str) -> str:
    """Return a cron expression as Kubeflow takes it, with seconds first.

    Raises:
        UserError: it has not five fields, or six with seconds first.
    """
    fields = written.split()
    if len(fields) not in (5, 6):
        raise UserError(f"cron: {written!r} has {len(fields)} fields; allowed: 5, or 6 with seconds first")
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


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
        with _refusals(endpoint.host):
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
        with _refusals(self.endpoint.host):
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
        with _refusals(self.endpoint.host):
            answer = self._client.list_runs(page_size=100, sort_by="created_at desc", namespace=self._namespace)
        for run in answer.runs or []:
            if _search_of(run) == search:
                return self._with_words(run)
        return None

    def run(self, run_id: str) -> RunState:
        """A run, with what its pods say."""
        with _refusals(self.endpoint.host):
            return self._with_words(self._client.get_run(run_id))

    def schedules(self, search: str | None = None) -> list[Schedule]:
        """The schedules of one search, or of all."""
        with _refusals(self.endpoint.host):
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
            cron: as `cron_of` gives it.
            max_concurrency: runs at once, 1 to 10; more than one is harmless.
            arguments: of every run, beside the search's name.
            service_account: of the pods.
            replace: delete the search's other schedules afterwards; else there may be none that fires.

        Raises:
            UserError: there is one already, or Kubeflow refuses.
        """
        before = self.schedules(search)
        if not replace and any(schedule.enabled for schedule in before):
            raise UserError(
                f"search {search} has a schedule; `rlnas schedule replace {search}` puts another in its place"
            )
        with _refusals(self.endpoint.host):
            pipeline, version = self._upload(package, search)
            job = self._client.create_recurring_run(
                self._client.create_experiment(EXPERIMENT, namespace=self._namespace).experiment_id,
                job_name=search,
                cron_expression=cron,
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
        with _refusals(self.endpoint.host):
            for schedule in firing:
                self._client.disable_recurring_run(schedule.id)
        return firing

    def _upload(self, package: Path, search: str) -> tuple[str, str]:
        """Upload a package once; return the ids of pipeline and version."""
        name = next(iter(yaml.safe_load_all(package.read_text(encoding="utf-8"))))["pipelineInfo"]["name"]
        version = f"{search}-{hashlib.sha256(package.read_bytes()).hexdigest()[:12]}"
        pipeline = self._client.get_pipeline_id(name)
        if pipeline is None:
            pipeline = self._client.upload_pipeline(str(package), name, namespace=self._namespace).pipeline_id
        for known in self._client.list_pipeline_versions(pipeline, page_size=100).pipeline_versions or []:
            if known.display_name == version:
                return pipeline, known.pipeline_version_id
        uploaded = self._client.upload_pipeline_version(str(package), version, pipeline_id=pipeline)
        return pipeline, uploaded.pipeline_version_id

    def _with_words(self, run: Any) -> RunState:
        state = self._state(run)
        if state.state == "SUCCEEDED":
            return state
        return replace(state, words=words_of(state.id, self.endpoint.namespace))

    def _state(self, run: Any) -> RunState:
        url = f"{self.endpoint.host}/#/runs/details/{run.run_id}"
        return RunState(run.run_id, run.display_name, run.state or "PENDING", f"{run.created_at:%Y-%m-%d %H:%M}", url)


def _search_of(record: Any) -> str:
    parameters = getattr(record.runtime_config, "parameters", None) or {}
    return str(parameters.get("search_name", ""))


@contextmanager
def _refusals(host: str) -> Iterator[None]:
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
        raise UserError(f"Kubeflow at {host} refuses ({error.status}): {one_line(reason, 300)}{hint}") from None
    except HTTPError as error:
        cause = getattr(error, "reason", None) or error
        raise UserError(f"Kubeflow at {host} cannot be reached: {one_line(cause, 300)}") from None
