"""Searches that older commits began: the present code reads them, and takes them to their end. See stores/README.md."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import searches

from rlnas import cli, report, steps
from rlnas.children.export import load_model
from rlnas.spec import load_spec
from rlnas.state import Bucket, list_searches, open_search

STORES = Path(__file__).parent / "stores"
VERSIONS = sorted(path.parent.name for path in STORES.glob("*/objects.zip"))
DOCUMENTS = ("table", "digits", "finished")
FACTS = ("controllers/", "plans/", "results/", "summaries/", "history/", "finals/", "test-readings/")


def test_there_are_searches_of_older_commits() -> None:
    assert VERSIONS


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, bucket: Bucket) -> Path:
    """The folder of a version, its objects in the bucket of the test."""
    folder = STORES / request.param
    with zipfile.ZipFile(folder / "objects.zip") as archive:
        for name in archive.namelist():
            bucket.put(name, archive.read(name))
    return folder


def facts(bucket: Bucket, root: str) -> dict[str, bytes]:
    """What is created once, by its key."""
    keys = [key for key in bucket.list_all(root) if key.removeprefix(root).startswith(FACTS)]
    return {key: bucket.get(key).data for key in keys}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_search_goes_on_to_its_end(folder: Path, document: str, bucket: Bucket) -> None:
    """Opened with the document that it was begun with. What was known stays as it was, to the last byte."""
    spec = load_spec(folder / f"{document}.yaml")
    root = open_search(bucket, spec.name).root
    before = facts(bucket, root)
    assert before
    ledger = searches.run(bucket.settings, spec)
    after = facts(bucket, root)
    assert ledger.root == root
    assert {key: after.get(key) for key in before} == before
    assert ledger.version().children == spec.loop.children
    assert len(ledger.summaries()) == spec.loop.rounds
    assert ledger.data()
    if document == "finished":
        assert after.keys() == before.keys()
    if spec.final:
        (model, *_) = steps.final_test(ledger).models
        assert model.test.keys() >= {"accuracy"}
        assert steps.export_model(ledger, report.card_of).keys() >= {"model.onnx", "architecture.json", "README.md"}


@pytest.fixture
def rlnas(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Run a command that must succeed against the test's bucket; gives what it prints."""
    for name, value in bucket.settings.to_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["rlnas", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capfd.readouterr()
        assert not ended.value.code, printed.err
        return printed.out

    return run


def test_every_command_that_looks_reads_a_search_as_it_is(folder: Path, rlnas: Any, bucket: Bucket) -> None:
    assert [entry["name"] for entry in json.loads(rlnas("list", "--json"))] == list_searches(bucket)
    for document in DOCUMENTS:
        name = load_spec(folder / f"{document}.yaml").name
        assert json.loads(rlnas("status", name, "--json"))["children"] > 0
        assert json.loads(rlnas("leaderboard", name, "--json"))
        assert json.loads(rlnas("show", name, "--json"))["result"]["status"] == "ok"
        assert "report: " in rlnas("report", name)
        assert "table: " in rlnas("export-table", name, f"{name}.csv")
    assert "exported: " in rlnas("export", "old-finished", "--to", "model")
    assert not load_model("model").training
