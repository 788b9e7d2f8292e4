"""A search as a table: in a notebook, and read back from CSV and Parquet."""

import sys
from pathlib import Path

import pytest
from report.made_up import make_up, spec_of
from searches import make_spec, run

from rlnas.errors import UserError
from rlnas.report import frame
from rlnas.report.tables import COLUMNS, export_table
from rlnas.state import Bucket, Ledger
from rlnas.steps import open_search

pandas = pytest.importorskip("pandas")


@pytest.fixture
def ledger(bucket: Bucket) -> Ledger:
    return make_up(bucket, spec_of("cnn", "mine", 40), failing=0.3)


def test_a_row_holds_what_the_ledger_says_of_a_child(bucket: Bucket) -> None:
    ledger = run(bucket.settings, make_spec())
    table = frame(ledger)
    assert table["child"].tolist() == ["000000-000", "000000-001", "000001-000", "000001-001"]
    for row in table.to_dict("records"):
        child, result = ledger.plan(row["round"]).children[row["index"]], ledger.result(row["child"])
        assert row["tokens"] == list(child.tokens)
        assert row["log_probability"] == child.log_probability
        assert (row["reward"], row["status"], row["seconds"]) == (result.reward, result.status, result.seconds)
        assert row["metric_score"] == result.metrics["score"]
        assert row["policy_version"] == row["round"]


def test_a_search_without_children_has_all_columns_and_no_rows(bucket: Bucket) -> None:
    spec = make_spec()
    table = frame(open_search(bucket, spec.name, spec))
    assert len(table) == 0
    assert tuple(table.columns) == COLUMNS


def test_metrics_are_missing_where_a_child_has_none(ledger: Ledger) -> None:
    table = frame(ledger)
    failed = table["status"] == "failed"
    assert 0 < failed.sum() < 40
    assert table["metric_accuracy"].isna().tolist() == failed.tolist()


def test_csv_is_read_back_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.csv"
    assert export_table(ledger, path) == 40
    written, table = pandas.read_csv(path, keep_default_na=False, na_values={"metric_accuracy": ""}), frame(ledger)
    assert [[int(token) for token in text.split()] for text in written["tokens"]] == table["tokens"].tolist()
    for column in ("child", "reward", "reason", "detail", "metric_accuracy"):
        pandas.testing.assert_series_equal(written[column], table[column], check_dtype=False)


def test_parquet_is_read_back_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert export_table(ledger, tmp_path / "table.parquet") == 40
    written, table = pandas.read_parquet(tmp_path / "table.parquet"), frame(ledger)
    assert [list(tokens) for tokens in written["tokens"]] == table["tokens"].tolist()
    others = [column for column in table.columns if column != "tokens"]
    pandas.testing.assert_frame_equal(written[others], table[others])


def test_other_endings_are_refused(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"allowed: \.csv, \.parquet"):
        export_table(ledger, tmp_path / "table.xlsx")


@pytest.mark.parametrize(("missing", "ending"), [("pandas", ".csv"), ("pyarrow", ".parquet")])
def test_a_missing_package_is_one_line(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, ending: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"pip install 'rlnas\[tables\]'"):
        export_table(ledger, tmp_path / f"table{ending}")
