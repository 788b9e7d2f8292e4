"""`rlnas export-table`: to a file, to MLflow, or to both."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from searches import make_spec, run

from rlnas.state import Bucket


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed")
def test_children_go_to_a_file_and_to_mlflow(rlnas: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    name = run(bucket.settings, make_spec()).name
    status, out, err = rlnas("export-table", name, "table.csv", "--mlflow", "runs")
    assert (status, err) == (0, "")
    assert "table: table.csv, 4 children" in out
    assert f"MLflow: 4 children logged to experiment {name}, 0 were there already" in out
    assert f"next: rlnas report {name}" in out
    status, out, _ = rlnas("export-table", name, "--mlflow", "runs")
    assert "MLflow: 0 children logged to experiment" in out
    assert "table:" not in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to write; allowed: a file, --mlflow URI, or both"),
        (("--mlflow", "ftp://ada:word@here"), "--mlflow: ftp://***@here cannot be used: "),
    ],
)
def test_wrong_use_is_one_line(rlnas: Any, bucket: Bucket, options: tuple[str, ...], said: str) -> None:
    name = run(bucket.settings, make_spec()).name
    status, out, err = rlnas("export-table", name, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"rlnas: {said}")
    assert "; allowed: " in err
    assert not Path("runs").exists()
