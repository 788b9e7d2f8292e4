"""What a task leaves for Kubeflow's UI beside its result: numbers, a model's files, and the report as a page."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from rlnas.state import Ledger, Version

VERSIONS_READ = 40  # of the controller: fewer than for a report on demand, since this happens after every round


def progress(version: Version) -> dict[str, float]:
    """Return how far a search has come, as numbers with their names."""
    best = {"best reward": version.leaders[0].reward} if version.leaders else {}
    return {"children": version.children, "failed": version.failed} | best


def write_files(files: Mapping[str, bytes], folder: str | Path) -> None:
    """Write a model's files into a folder, which is made if there are any."""
    for name, data in files.items():
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, name).write_bytes(data)


def write_page(ledger: Ledger, path: str) -> None:
    """Write the report, compared with the search's controls. It never fails: a picture is no reason to stop a search.

    If it cannot be drawn, the log and the page say why.
    """
    try:
        from rlnas.report.data import read_report
        from rlnas.report.page import render

        page = render(read_report(ledger, versions=VERSIONS_READ))
    except Exception as error:
        words = f"the report cannot be drawn: {type(error).__name__}: {error}"
        print(words, flush=True)
        page = f"<!doctype html><title>Search {ledger.name}</title><p>{escape(words)}"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page, encoding="utf-8")
