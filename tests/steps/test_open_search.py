"""Opening: whatever can be refused is refused before anything is created."""

import pytest
from searches import make_spec, parse_spec

from rlnas.datasets import open_local
from rlnas.errors import StoreError, UserError
from rlnas.spaces import DataShape
from rlnas.state import Bucket, SearchRecord
from rlnas.steps import check_spec, open_search, plan_rounds
from rlnas.steps.common import opener


def test_create_continue_and_by_name(bucket):
    spec = make_spec()
    first = open_search(bucket, spec.name, spec)
    assert open_search(bucket, spec.name, spec).record == first.record
    assert open_search(bucket, spec.name, None).record == first.record
    assert SearchRecord.from_bytes(bucket.get(f"searches/{spec.name}/search.json").data, "").spec["name"] == spec.name
    assert bucket.list("probe/") == []


def test_refusals_change_nothing(bucket, proxied, proxy):
    spec = make_spec()
    with pytest.raises(UserError, match=f"search_name: 'other' is not the spec's name; allowed: {spec.name}"):
        open_search(bucket, "other", spec)
    with pytest.raises(UserError, match="no search 'other' in the store"):
        open_search(bucket, "other", None)
    wrong = spec.model_dump(mode="json")
    wrong["dataset"]["path"] = "/nowhere.csv"
    with pytest.raises(UserError, match=r"dataset: cannot read /nowhere.csv: No such file"):
        open_search(bucket, spec.name, parse_spec(wrong))
    wrong["dataset"]["path"] = "store:nowhere.csv"
    with pytest.raises(UserError, match=r"dataset: there is no object nowhere.csv in the store"):
        open_search(bucket, spec.name, parse_spec(wrong))
    wrong["dataset"] = {"kind": "digits"}
    with pytest.raises(UserError, match=r"dataset.kind: digits holds images, but a child of kind tabular needs table"):
        open_search(bucket, spec.name, parse_spec(wrong))
    proxy.drop = {"If-None-Match"}
    with pytest.raises(StoreError, match="ignores If-None-Match"):
        open_search(proxied, spec.name, spec)
    assert bucket.list("") == []


def test_space_must_fit_the_data():
    spec = make_spec("cnn", space={"stride_heights": [1, 9]})
    with pytest.raises(UserError, match=r"space.stride_heights: a stride of 9 leaves no pixels"):
        check_spec(spec, opener(None))
    spec = make_spec("rnn", child={"bptt": 100_000})
    with pytest.raises(UserError, match="less than a window"):
        check_spec(spec, opener(None))


@pytest.mark.parametrize(("space", "child"), [("rnn", "cnn"), ("cnn", "rnn"), ("cnn", "tabular"), ("tabular", "cnn")])
def test_child_must_fit_the_space(space, child):
    document = make_spec(space).model_dump(mode="json") | {"child": {"kind": child}}
    words = f"child.kind: {child} trains a .*, but space.kind {space} makes a .*; allowed: {space}$"
    with pytest.raises(UserError, match=words):
        check_spec(parse_spec(document), opener(None))


PLUGIN = """
from typing import Literal
from rlnas.children import Recipe
from rlnas.spaces import Space
from rlnas.spaces.cnn import CNNArchitecture, CNNSpace

class Mine(CNNSpace):
    kind: Literal["mine"] = "mine"

class Deeper(CNNArchitecture):
    pass

class Deep(CNNSpace):
    architecture = Deeper
    kind: Literal["deep"] = "deep"

class Any(Recipe):
    modality = "images"
    kind: Literal["any"] = "any"

class Picky(Recipe):
    modality = "images"
    architecture = Deeper
    kind: Literal["picky"] = "picky"
"""


@pytest.mark.parametrize(
    ("space", "child", "allowed"),
    [
        ("mine", "cnn", None),
        ("deep", "cnn", None),
        ("deep", "picky", None),
        ("mine", "any", None),
        ("cnn", "any", None),
        ("mine", "picky", "any, cnn"),
        ("deep", "tabular", "any, cnn, picky"),
    ],
)
def test_spaces_and_children_of_other_packages_fit_by_what_they_declare(install_plugin, space, child, allowed):
    spaces, recipes = {"mine": "Mine", "deep": "Deep"}, {"any": "Any", "picky": "Picky"}
    install_plugin(PLUGIN, {"rlnas.spaces": spaces, "rlnas.recipes": recipes})
    sections = {"space": {"kind": space}, "child": {"kind": child}}
    spec = parse_spec(make_spec("cnn").model_dump(mode="json") | sections)
    if allowed is None:
        assert check_spec(spec, opener(None)).modality == "images"
    else:
        with pytest.raises(UserError, match=f"child.kind: {child} trains a .*; allowed: {allowed}$"):
            check_spec(spec, opener(None))


def test_a_class_of_the_wrong_room_is_refused(install_plugin):
    install_plugin(PLUGIN, {"rlnas.spaces": {"any": "Any"}})
    with pytest.raises(UserError, match=r"space.kind: 'any' is .*Any.*; allowed: a Space"):
        parse_spec(make_spec("cnn").model_dump(mode="json") | {"space": {"kind": "any"}})


def test_table_must_fit_the_space():
    with pytest.raises(UserError, match=r"space.choices: decision 2 has 4 options"):
        check_spec(make_spec(space={"choices": [3, 4, 3]}), opener(None))


@pytest.mark.parametrize("finalize", [{"retrain": {"batch": 1000}}, {"grid": {"batch": [4, 1000]}}])
def test_recipes_of_the_winner_must_fit_the_data_too(finalize):
    spec = make_spec("rnn", finalize=finalize)
    with pytest.raises(UserError, match=r"less than a window of child\.batch 1000"):
        check_spec(spec, open_local)
    check_spec(make_spec("rnn", finalize={"retrain": {"batch": 5}}), open_local)


def test_dataset_in_the_store(bucket):
    spec = make_spec()
    with open(spec.dataset.path, "rb") as file:
        bucket.put("data/table.csv", file.read())
    document = spec.model_dump(mode="json")
    document["dataset"]["path"] = "store:data/table.csv"
    ledger = open_search(bucket, spec.name, parse_spec(document))
    assert ledger.shape == DataShape(modality="table", classes=0)


def test_plan_rounds(make_ledger):
    ledger = make_ledger(loop={"children": 20, "window": 3, "replicas": 3})
    assert [plan_rounds(ledger, rounds) for rounds in (0, 1, 3, 4, 10, 99)] == [4, 1, 1, 2, 4, 4]
    with pytest.raises(UserError, match=r"rounds_per_run: -1 is negative; allowed: 0 \(all that are left\) or more"):
        plan_rounds(ledger, -1)


def test_store_that_is_down(bucket, proxied, proxy):
    proxy.refuse = True
    spec = make_spec()
    with pytest.raises(StoreError, match=f"cannot find the bucket .*{proxy.endpoint}"):
        open_search(Bucket(proxied.settings, patience=0), spec.name, spec)
