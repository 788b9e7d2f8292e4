"""The data of a search: recorded when it begins, held against what is there at every open and before the test."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import searches
from watched import install, make_folder, moved, watched_spec

from rlnas import report, steps
from rlnas.errors import SearchDeleted, UserError
from rlnas.report.data import read_report
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, DataRecord, Ledger, delete_search, move_data, open_search
from rlnas.steps import final_test
from rlnas.variants import control_of


@pytest.fixture
def folder(tmp_path: Path, install_plugin: Callable[..., None]) -> Path:
    install(install_plugin)
    return make_folder(tmp_path / "here")


@pytest.fixture
def spec(folder: Path) -> SearchSpec:
    return watched_spec(folder)


@pytest.fixture
def ledger(bucket: Bucket, spec: SearchSpec) -> Ledger:
    return steps.open_search(bucket, spec.name, spec)


def everything(bucket: Bucket) -> dict[str, bytes]:
    return {key: bucket.get(key).data for key in bucket.list_all("searches/")}


def test_the_first_to_open_records_it(bucket: Bucket, ledger: Ledger, spec: SearchSpec) -> None:
    record = ledger.data()
    assert record is not None
    assert list(record.fingerprint) == ["test/cat.txt", "train/cat.txt", "train/dog.txt"]
    assert record.lines == ("3 files", "warning: the smallest class has 1 image")
    assert record.class_names[9] == "digit 9"
    assert ledger.create_data(DataRecord(fingerprint={"other": "1"})) == record
    before = everything(bucket)
    for again in (spec, None):
        assert steps.open_search(bucket, spec.name, again).record == ledger.record
    assert everything(bucket) == before


def change(folder: Path) -> None:
    (folder / "train/cat.txt").write_text("another")


def add(folder: Path) -> None:
    (folder / "train/bird.txt").write_text("new")


def take_away(folder: Path) -> None:
    (folder / "train/dog.txt").unlink()


def change_all(folder: Path) -> None:
    for path in folder.rglob("*.txt"):
        path.write_text("another")


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize(
    ("act", "words"),
    [
        (change, "train/cat.txt of {} changed since"),
        (add, "train/bird.txt of {} is new since"),
        (take_away, "train/dog.txt of {} is gone since"),
        (change_all, "test/cat.txt of {} changed (and 2 more) since"),
    ],
)
def test_a_change_is_refused_by_name(
    bucket: Bucket, ledger: Ledger, spec: SearchSpec, folder: Path, act: Callable, words: str, by_name: bool
) -> None:
    act(folder)
    before = everything(bucket)
    with pytest.raises(UserError) as caught:
        steps.open_search(bucket, spec.name, None if by_name else spec)
    assert str(caught.value) == (
        f"dataset: {words.format(folder)} search {spec.name} began; allowed: the data as it was, or a new search under"
        " another name"
    )
    assert everything(bucket) == before


def test_data_that_cannot_be_searched_begins_nothing(bucket: Bucket, spec: SearchSpec, folder: Path) -> None:
    shutil.rmtree(folder / "test")
    with pytest.raises(UserError, match=r"dataset\.folder: .*test is empty"):
        steps.open_search(bucket, spec.name, spec)
    assert everything(bucket) == {}


def test_data_that_moved_is_the_same_data(
    bucket: Bucket, ledger: Ledger, spec: SearchSpec, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = folder.rename(tmp_path / "there")
    with pytest.raises(UserError, match=r"dataset\.folder: .*here/test is empty"):
        steps.open_search(bucket, spec.name, spec)
    again = steps.open_search(bucket, spec.name, moved(spec, there))
    assert capsys.readouterr().out == (
        f"search {spec.name}: its data moved, dataset.folder is {there}, no longer {folder}\n"
    )
    known = open_search(bucket, spec.name)
    assert known.record == again.record
    assert known.spec == moved(spec, there)
    assert known.record.spec_sha256 == known.spec.sha256
    assert (known.root, known.data()) == (ledger.root, ledger.data())
    steps.open_search(bucket, spec.name, None)
    ledger.check_alive()  # tasks that began before go on


def test_other_data_at_another_place_is_refused(
    bucket: Bucket, ledger: Ledger, spec: SearchSpec, tmp_path: Path
) -> None:
    there = make_folder(tmp_path / "there")
    change(there)
    before = everything(bucket)
    with pytest.raises(UserError, match=rf"dataset: train/cat\.txt of {there} changed since search {spec.name} began"):
        steps.open_search(bucket, spec.name, moved(spec, there))
    with pytest.raises(UserError, match=r"exists with another spec \(seed: 9, not 0; dataset\.folder: .*there, not"):
        steps.open_search(bucket, spec.name, moved(spec, there, seed=9))
    assert everything(bucket) == before


def test_a_search_that_is_deleted_meanwhile_is_not_moved(
    bucket: Bucket, ledger: Ledger, spec: SearchSpec, tmp_path: Path
) -> None:
    delete_search(ledger)
    new = steps.open_search(bucket, spec.name, spec)
    with pytest.raises(SearchDeleted):
        move_data(ledger, moved(spec, tmp_path))
    assert open_search(bucket, spec.name).record == new.record


def forget(ledger: Ledger) -> None:
    """As a search is that began before data was recorded."""
    ledger.bucket.delete([ledger.key("data.json")])


@pytest.mark.parametrize("by_name", [False, True])
def test_a_search_from_before_gets_it_when_it_is_opened(
    bucket: Bucket, ledger: Ledger, spec: SearchSpec, folder: Path, by_name: bool
) -> None:
    known = ledger.data()
    forget(ledger)
    assert steps.open_search(bucket, spec.name, None if by_name else spec).data() == known
    change(folder)
    with pytest.raises(UserError, match="changed since"):
        steps.open_search(bucket, spec.name, spec)


@pytest.mark.parametrize("how", ["not recorded", "not known"])
def test_where_nothing_is_known_nothing_is_compared_and_nothing_moves(
    bucket: Bucket, spec: SearchSpec, folder: Path, tmp_path: Path, how: str
) -> None:
    if how == "not known":
        (folder / "train/unknown.txt").write_text("")
    ledger = steps.open_search(bucket, spec.name, spec)
    if how == "not recorded":
        forget(ledger)
    with pytest.raises(UserError, match=r"exists with another spec \(dataset\.folder: .*there, not .*here\)"):
        steps.open_search(bucket, spec.name, moved(spec, make_folder(tmp_path / "there")))
    change(folder)
    steps.open_search(bucket, spec.name, spec)


def test_children_are_trained_without_a_look_and_the_test_is_not_begun(bucket: Bucket, folder: Path) -> None:
    spec = watched_spec(folder, child={"epochs": 1}, loop={"children": 2}, finalize={})
    ledger = steps.open_search(bucket, spec.name, spec)
    change(folder)
    for turn in range(3):  # the round, the grid, the last training
        for batch in steps.sample_architecture(ledger):
            steps.train_child(ledger, batch, f"task-{turn}")
            steps.evaluate(ledger, batch)
        steps.update_controller(ledger)
    with pytest.raises(UserError, match=r"train/cat\.txt of .* changed since"):
        final_test(ledger)
    assert ledger.test_readings() == 0
    make_folder(folder)
    record = final_test(ledger)
    assert record is not None
    assert record.models[0].test
    assert ledger.test_readings() == 1
    shutil.rmtree(folder)
    assert final_test(ledger) == record, "what is tested is known without the data"
    make_folder(folder)
    files = steps.export_model(ledger, report.card_of)
    assert json.loads(files["architecture.json"])["class_names"] == [f"digit {i}" for i in range(10)]
    card = files["README.md"].decode()
    assert "- 3 files\n- warning: the smallest class has 1 image\n" in card
    assert "in the order of the logits: 0 digit 0, 1 digit 1, " in card
    shutil.rmtree(folder)
    assert steps.export_model(ledger, report.card_of) == files, "exported again without the data"


def test_searches_compare_by_their_data_wherever_it_is(bucket: Bucket, folder: Path, tmp_path: Path) -> None:
    spec = watched_spec(folder, child={"epochs": 1}, loop={"children": 2})
    ledger = searches.run(bucket.settings, spec)
    control = control_of(moved(spec, make_folder(tmp_path / "there")))
    searches.run(bucket.settings, control)
    assert [track.name for track in read_report(ledger).controls] == [control.name]
    delete_search(open_search(bucket, control.name))
    change(tmp_path / "there")
    searches.run(bucket.settings, control)
    data = read_report(ledger)
    assert data.controls == ()
    assert f"{control.name} cannot be compared with {spec.name}: its data is other data" in data.remarks[0]
