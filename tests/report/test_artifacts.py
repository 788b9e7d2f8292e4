"""What tasks leave for the UI, also when the report cannot be drawn."""

from pathlib import Path

import pytest
from report.made_up import make_up, spec_of

from rlnas.report.artifacts import progress, write_page
from rlnas.state import Bucket
from rlnas.state.records import Leader, Version


def test_the_page_compares_with_the_control_that_is_in_the_store(bucket: Bucket, tmp_path: Path) -> None:
    ledger = make_up(bucket, spec_of("tabular", "mine", 64), gain=0.3)
    make_up(bucket, spec_of("tabular", "mine-control", 64, controller={"kind": "random"}))
    write_page(ledger, str(tmp_path / "deep" / "page.html"))
    assert "Better than random" in (tmp_path / "deep" / "page.html").read_text()


def test_what_hinders_a_page_stands_in_the_log_and_in_the_page(
    bucket: Bucket, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger = make_up(bucket, spec_of("tabular", "mine", 64))
    bucket.put(ledger.key("summaries/000003.json"), b"<damaged>")
    write_page(ledger, str(tmp_path / "page.html"))
    assert "the report cannot be drawn: StoreError: " in capfd.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert "the report cannot be drawn" in page
    assert "<damaged>" not in page


def test_progress_names_the_best_once_there_is_one() -> None:
    leader = Leader(child="000000-000", reward=0.5, tokens=(), metrics={})
    assert progress(Version(children=4, failed=1)) == {"children": 4, "failed": 1}
    assert progress(Version(children=4, leaders=(leader,))) == {"children": 4, "failed": 0, "best reward": 0.5}
