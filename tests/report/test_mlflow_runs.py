"""Children as MLflow's runs, in a store of files, read back by MLflow."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from report.made_up import make_up, spec_of
from searches import make_spec, run

from rlnas import steps
from rlnas.errors import UserError
from rlnas.report.mlflow_runs import log_runs
from rlnas.report.tables import rows
from rlnas.state import Bucket, delete_search

pytestmark = pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed")


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before MLflow is imported."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Where nothing is logged yet."""
    return str(tmp_path / "runs")


def read(uri: str, experiment: str) -> dict[str, list[Any]]:
    """All runs by child."""
    from mlflow.tracking import MlflowClient

    client, found = MlflowClient(tracking_uri=uri), {}
    for logged in client.search_runs([client.get_experiment_by_name(experiment).experiment_id]):
        found.setdefault(logged.info.run_name, []).append(logged)
    return found


def test_a_run_holds_what_the_table_says_of_a_child(bucket: Bucket, uri: str) -> None:
    ledger = make_up(bucket, spec_of("cnn", "mine", 16), failing=0.3)
    assert log_runs(ledger, uri) == (16, 0)
    found = read(uri, "mine")
    assert sorted(found) == [row["child"] for row in rows(ledger)]
    assert {row["status"] for row in rows(ledger)} == {"ok", "failed"}
    for row in rows(ledger):
        (logged,) = found[row["child"]]
        data = logged.data
        assert data.metrics["reward"] == row["reward"]
        assert logged.info.status == ("FINISHED" if row["status"] == "ok" else "FAILED")
        assert logged.info.end_time - logged.info.start_time == round(row["seconds"] * 1000)
        metrics = {name.removeprefix("metric_"): row[name] for name in row if name.startswith("metric_")}
        assert metrics.items() <= data.metrics.items()
        assert data.params["tokens"].split() == [str(token) for token in row["tokens"]]
        assert (data.params["seed"], data.params["round"]) == (str(row["seed"]), str(row["round"]))
        assert (data.tags["status"], data.tags.get("reason", "")) == (row["status"], row["reason"])


def test_a_child_is_logged_once_and_one_that_was_cut_off_is_logged_anew(
    bucket: Bucket, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    ledger, count = run(bucket.settings, make_spec()), 0

    def cut_off(*_: Any, **__: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise ConnectionError("gone")
        log_batch(*_, **__)

    log_batch = MlflowClient.log_batch
    monkeypatch.setattr(MlflowClient, "log_batch", cut_off)
    with pytest.raises(UserError, match=r"cannot be used: ConnectionError: gone; allowed: "):
        log_runs(ledger, uri)
    assert log_runs(ledger, uri) == (2, 2)
    assert log_runs(ledger, uri) == (0, 4)
    found = read(uri, ledger.name)
    assert {name: len(runs) for name, runs in found.items()} == dict.fromkeys([row["child"] for row in rows(ledger)], 1)
    assert all("reward" in runs[0].data.metrics and runs[0].info.status == "FINISHED" for runs in found.values())


def test_a_search_that_is_made_anew_has_runs_of_its_own(bucket: Bucket, uri: str) -> None:
    ledger = run(bucket.settings, make_spec())
    assert log_runs(ledger, uri) == (4, 0)
    delete_search(ledger)
    assert log_runs(steps.open_search(bucket, ledger.name, ledger.spec), uri) == (0, 0)
    assert log_runs(run(bucket.settings, ledger.spec), uri) == (4, 0)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "--mlflow:  cannot be used: ValueError: it is empty; allowed: http://HOST:PORT"),
        ("nonsense://here", r"--mlflow: nonsense://here cannot be used: .*; allowed: http://HOST:PORT"),
        ("http://ada:a-secret-word@127.0.0.1:9", r"--mlflow: http://\*\*\*@127.0.0.1:9 cannot be used: .*refused"),
        ("http://[", "--mlflow: .* cannot be used: ValueError"),
    ],
)
def test_where_nobody_takes_runs_it_is_one_line_without_a_password(bucket: Bucket, uri: str, said: str) -> None:
    ledger = run(bucket.settings, make_spec())
    with pytest.raises(UserError, match=said) as refused:
        log_runs(ledger, uri)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_token_is_kept_secret(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    def refuse(*_: Any) -> None:
        raise ConnectionError("a-very-secret-token is refused")

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-very-secret-token")
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", refuse)
    with pytest.raises(UserError, match=r"ConnectionError: \*\*\* is refused"):
        log_runs(run(bucket.settings, make_spec()), "http://127.0.0.1:9")


def test_without_mlflow_it_is_one_line(bucket: Bucket, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"pip install 'rlnas\[mlflow\]'"):
        log_runs(run(bucket.settings, make_spec()), uri)
