"""The example of the Python interface, cell by cell, as a person runs it."""

import importlib.util
from pathlib import Path

import pytest

from rlnas.state import Bucket, open_search

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.py"


def test_the_notebook_runs_from_its_first_cell_to_its_last(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    for name, value in bucket.settings.to_environment().items():
        monkeypatch.setenv(name, value)
    found = importlib.util.spec_from_file_location("notebook", NOTEBOOK)
    assert found is not None
    assert found.loader is not None
    found.loader.exec_module(importlib.util.module_from_spec(found))
    here, elsewhere = open_search(bucket, "notebook"), open_search(bucket, "elsewhere")
    assert here.version().children == 4
    children = [child for summary in elsewhere.summaries() for child in summary.children]
    assert len(children) == 8
    (suggested,) = [child for child in children if child.suggested]
    assert (suggested.by, suggested.tokens) == ("the notebook", here.version().leaders[0].tokens)
    assert "4 children, best reward" in capsys.readouterr().out
