"""A search's children as runs of MLflow (the optional extra `mlflow`)."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from rlnas.errors import UserError, keep_secret, one_line
from rlnas.report.tables import METRIC, rows
from rlnas.state import Ledger

SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
# Heeded when it is imported: no telemetry, no line for each run, and a server that is down is told of in seconds.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
NUMBERS = ("reward", "seconds", "attempts", "stopped", "log_probability")
ENDING = ("status", "reason", "detail")
CHILD, INCARNATION = "rlnas.child", "rlnas.incarnation"


def log_runs(ledger: Ledger, uri: str) -> tuple[int, int]:
    """Log each child of the search's complete rounds as a run, in the experiment of the search's name.

    A run holds a row of the table (see `rlnas.report.tables.frame`): numbers as metrics, how it ended as tags, all else
    as parameters. The ledger knows no times of day, so a run ends when it is logged, and has lasted as long as the
    training. A child that is logged already is not logged again; one whose logging was cut off is logged anew.

    Args:
        ledger: of the search.
        uri: of MLflow's tracking server, such as `http://localhost:5000`, or what else MLflow takes.

    Returns:
        How many children were logged now, and how many had been before.

    Raises:
        UserError: MLflow is not installed, cannot be reached, or refuses.
    """
    keep_secret(*(os.environ.get(name) for name in SECRETS))
    with _one_line(uri):
        address = urlsplit(uri)
        keep_secret(address.password or address.username)
        if not uri.strip():
            raise ValueError("it is empty")
        client = _connect(uri)
        experiment = client.get_experiment_by_name(ledger.name)
        number = experiment.experiment_id if experiment else client.create_experiment(ledger.name)
        known = _known(client, number, ledger.record.incarnation)
        logged = 0
        for row in rows(ledger):
            run = known.get(row["child"])
            if run is None or run.info.status == "RUNNING":
                _log(client, number, run, row, ledger)
                logged += 1
    return logged, sum(run.info.status != "RUNNING" for run in known.values())


def _connect(uri: str) -> Any:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise UserError("runs need MLflow's client; `pip install 'rlnas[mlflow]'` brings it") from None
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri)


def _known(client: Any, experiment: str, incarnation: str) -> dict[str, Any]:
    """Return the runs of a search by child. One that was deleted and made anew has other children."""
    found: dict[str, Any] = {}
    token: str | None = ""
    while token is not None:
        wanted = f"tags.`{INCARNATION}` = '{incarnation}'"
        page = client.search_runs([experiment], wanted, max_results=1000, page_token=token or None)
        found |= {run.data.tags[CHILD]: run for run in page}
        token = page.token
    return found


def _log(client: Any, experiment: str, run: Any, row: dict[str, Any], ledger: Ledger) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    if run is None:
        tags = {CHILD: row["child"], INCARNATION: ledger.record.incarnation}
        start = now - round(row["seconds"] * 1000)
        run = client.create_run(experiment, start, tags, run_name=row["child"])
    plain = row | {"tokens": " ".join(map(str, row["tokens"]))}
    numbers = {name: value for name, value in plain.items() if name in NUMBERS or name.startswith(METRIC)}
    others = {name: value for name, value in plain.items() if name not in (*numbers, *ENDING, "child")}
    client.log_batch(
        run.info.run_id,
        [Metric(name.removeprefix(METRIC), value, now, 0) for name, value in numbers.items() if value is not None],
        [Param(name, str(value)) for name, value in others.items() if value != ""],
        [RunTag(name, str(plain[name])) for name in ENDING if plain[name]],
    )
    client.set_terminated(run.info.run_id, "FINISHED" if row["status"] == "ok" else "FAILED", now)


@contextmanager
def _one_line(uri: str) -> Iterator[None]:
    """Turn what the client raises into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of MLflow, of what it is built on, of sockets
        words = f"{one_line(uri)} cannot be used: {type(error).__name__}: {one_line(error, 400)}"
        allowed = "allowed: http://HOST:PORT of a tracking server, or what else MLflow takes"
        raise UserError(f"--mlflow: {words}; {allowed}") from None
