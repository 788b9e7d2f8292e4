"""Searches that older commits began: the present code reads them, and takes them to their end. See stores/README.md."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import searches

from rlnas import cli, report, steps
from rlnas.children.export import load_model
from rlnas.errors import UserError
from rlnas.spec import load_spec
from rlnas.state import Bucket, extend, list_searches, open_search

STORES = Path(__file__).parent / "stores"
VERSIONS = sorted(path.parent.name for path in STORES.glob("*/objects.zip"))
SEARCHES = sorted(path.parent / path.stem for path in STORES.glob("*/*.yaml") if path.parent.name in VERSIONS)
FACTS = ("controllers/", "plans/", "results/", "summaries/", "history/", "finals/", "test-readings/")


def test_there_are_searches_of_older_commits() -> None:
    assert VERSIONS


def put_objects(folder: Path, bucket: Bucket) -> None:
    """Put the objects of a version into the bucket of the test."""
    with zipfile.ZipFile(folder / "objects.zip") as archive:
        for name in archive.namelist():
            bucket.put(name, archive.read(name))


def facts(bucket: Bucket, root: str) -> dict[str, bytes]:
    """What is created once, by its key."""
    keys = [key for key in bucket.list_all(root) if key.removeprefix(root).startswith(FACTS)]
    return {key: bucket.get(key).data for key in keys}


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: f"{search.parent.name}-{search.name}")
def test_a_search_goes_on_to_its_end(search: Path, bucket: Bucket) -> None:
    """Opened with the document that it was begun with. What was known stays as it was, to the last byte."""
    put_objects(search.parent, bucket)
    spec = load_spec(search.with_suffix(".yaml"))
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
    if search.name == "finished":
        assert after.keys() == before.keys()
    if spec.final:
        (model, *_) = steps.final_test(ledger).models
        assert model.test.keys() >= {"accuracy"}
        assert steps.export_model(ledger, report.card_of).keys() >= {"model.onnx", "architecture.json", "README.md"}


def test_a_search_is_extended_until_its_winner_is_finalized(bucket: Bucket) -> None:
    folder = STORES / VERSIONS[0]
    put_objects(folder, bucket)
    spec = load_spec(folder / "table.yaml")
    ledger = open_search(bucket, spec.name)
    with pytest.raises(UserError, match="nobody wrote down when search old-table began"):
        extend(ledger, {"loop.hours": 5}, "me")
    budget = spec.loop.children + spec.loop.children_per_round
    extend(ledger, {"loop.children": budget}, "me")
    assert searches.run(bucket.settings, spec).version().children == budget
    with pytest.raises(UserError, match=r"older version .* has finalized a winner .*warm_start: \{search: old-fin"):
        extend(open_search(bucket, "old-finished"), {"loop.children": 40}, "me")


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


@pytest.mark.parametrize("version", VERSIONS)
def test_every_command_that_looks_reads_a_search_as_it_is(version: str, rlnas: Any, bucket: Bucket) -> None:
    put_objects(STORES / version, bucket)
    assert [entry["name"] for entry in json.loads(rlnas("list", "--json"))] == list_searches(bucket)
    for document in (STORES / version).glob("*.yaml"):
        name = load_spec(document).name
        assert json.loads(rlnas("status", name, "--json"))["children"] > 0
        assert json.loads(rlnas("leaderboard", name, "--json"))
        assert json.loads(rlnas("show", name, "--json"))["result"]["status"] == "ok"
        assert "report: " in rlnas("report", name)
        assert "table: " in rlnas("export-table", name, f"{name}.csv")
    assert "exported: " in rlnas("export", "old-finished", "--to", "model")
    assert not load_model("model").training
