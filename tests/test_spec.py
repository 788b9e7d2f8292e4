"""The spec: what may be in it, and one clear line for what may not."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field, ValidationError, create_model
from searches import make_spec

from rlnas.children import Recipe
from rlnas.controller import ControllerSettings
from rlnas.datasets import Dataset
from rlnas.errors import UserError
from rlnas.section import EARLIER
from rlnas.spaces import Space
from rlnas.spec import (
    FailureSettings,
    FinalSettings,
    LoopSettings,
    SearchSpec,
    check_name,
    load_spec,
    parse_spec,
)
from rlnas.variants import control_of

GOOD = {
    "name": "good",
    "space": {"kind": "cnn", "layers": 2},
    "dataset": {"kind": "digits"},
    "loop": {"children": 16},
}


def changed(path, value):
    """`GOOD` with one field set, or taken out (`...`)."""
    document = {key: dict(entry) if isinstance(entry, dict) else entry for key, entry in GOOD.items()}
    *sections, field = path.split(".")
    inner = document
    for section in sections:
        inner = inner.setdefault(section, {})
    if value is ...:
        del inner[field]
    else:
        inner[field] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("nmae", "x", ["unknown key nmae", "allowed: name, seed, space, dataset, child, controller, loop"]),
        ("loop.childs", 8, ["unknown key loop.childs", "allowed: children, children_per_round"]),
        ("space.depth", 8, ["unknown key space.depth", "allowed: kind, layers, grow_by"]),
        ("child.epoch", 8, ["unknown key child.epoch", "epochs, rungs"]),
        ("controller.lr", 8, ["unknown key controller.lr", "learning_rate"]),
        ("finalize.gird", {}, ["unknown key finalize.gird", "allowed: grid, retrain, data, references"]),
        ("failures.lease", 8, ["unknown key failures.lease", "allowed: reward, lost, attempts, lease_seconds"]),
        ("loop.children", 0, ["loop.children", "greater than or equal to 1", "got 0"]),
        ("loop.children", "many", ["loop.children", "integer", "'many'"]),
        ("loop.window", 901, ["loop.window", "less than or equal to 900", "901"]),
        ("loop.children", 17, ["loop.children: 17 is not a multiple of children_per_round, 8", "allowed: 16 or 24"]),
        ("loop.children", 3, ["loop.children: 3 is not a multiple", "allowed: 8"]),
        ("loop.replicas", 2, ["loop.window: 1 is less than replicas, 2"]),
        ("loop.rounds_per_update", 2, ["loop.window: 1 is less than rounds_per_update, 2"]),
        ("seed", -1, ["seed", "greater than or equal to 0", "-1"]),
        ("space.layers", 101, ["space.layers", "less than or equal to 100", "101"]),
        ("space.kind", "gnn", ["space.kind: unknown kind 'gnn'", "allowed: cnn, rnn, tabular"]),
        ("space.kind", ["cnn"], ["space.kind: unknown kind ['cnn']", "allowed: cnn, rnn, tabular"]),
        ("dataset.kind", "mnist", ["dataset.kind: unknown kind 'mnist'", "allowed: cifar10, digits"]),
        ("dataset.kind", ..., ["dataset.kind: unknown kind None", "allowed: cifar10, digits"]),
        ("child.kind", "gnn", ["child.kind: unknown kind 'gnn'", "allowed: cnn, rnn, tabular"]),
        (
            "controller.kind",
            "ppo",
            ["controller.kind: unknown kind 'ppo'", "allowed: evolution, guided, largest"],
        ),
        ("controller.learning_rate", 2, ["controller.learning_rate", "less than or equal to 1", "got 2"]),
        ("child", {"kind": "rnn", "parameters": 10**400}, ["child.parameters", "less than or equal to"]),
        ("name", ..., ["name is missing"]),
        ("space", ..., ["space is missing"]),
        ("dataset", ..., ["dataset is missing"]),
        ("loop", ..., ["loop is missing"]),
        ("loop.children", ..., ["loop.children is missing"]),
        ("space", "cnn", ["space: a mapping with a kind is needed", "'cnn'"]),
        ("child", 3, ["child: a mapping with a kind is needed", "got 3"]),
        ("controller", [], ["controller: a mapping with a kind is needed", "got []"]),
        ("loop", 16, ["loop", "got 16"]),
        ("name", 7, ["name", "string", "got 7"]),
        ("name", "Digits", ["'Digits'", "allowed: 1 to 63 of a-z, 0-9 and -"]),
        ("name", "a/b", ["'a/b'", "allowed: 1 to 63 of a-z"]),
        ("name", "", ["''", "allowed: 1 to 63 of a-z"]),
        ("name", "a" * 64, ["allowed: 1 to 63 of a-z"]),
        ("name", "-a", ["'-a'", "no - at either end"]),
        ("name", "a\n", ["'a\\n'", "allowed: 1 to 63 of a-z"]),
        ("failures.lost", "ignore", ["failures.lost", "penalty|neutral", "'ignore'"]),
        ("failures.reward", float("nan"), ["failures.reward", "finite"]),
        ("failures.reward", -1e20, ["failures.reward", "greater than or equal to -1000000"]),
        ("finalize", {"references": ["resnet"] * 2}, ["finalize.references", "resnet is there twice", "each once"]),
        ("failures.lease_seconds", 0.5, ["failures.lease_seconds", "greater than or equal to 1", "0.5"]),
        ("failures.lease_seconds", float("inf"), ["failures.lease_seconds", "finite"]),
        ("space.learning_rates", [0.1, float("inf")], ["space.learning_rates", "finite"]),
        ("controller.entropy_weight", float("inf"), ["controller.entropy_weight", "finite"]),
        ("controller.temperature", float("inf"), ["controller.temperature", "finite"]),
    ],
)
def test_bad_input_gives_one_line(path, value, words):
    with pytest.raises(UserError) as caught:
        parse_spec(changed(path, value), "my.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("my.yaml: ")
    for word in words:
        assert word in message
    assert not isinstance(caught.value.__cause__, ValidationError)


@pytest.mark.parametrize("base", [Space, Dataset, Recipe, ControllerSettings, LoopSettings, FailureSettings])
@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
def test_no_section_takes_a_number_that_is_not_finite(base, number):
    """Sections of other packages included: the base class says it for their fields too."""
    section = create_model("Mine", __base__=base, mine=(float, 0.0))
    section.__abstractmethods__ = frozenset()
    document = {"kind": "mine", "children": 8} if base is LoopSettings else {"kind": "mine"}
    with pytest.raises(ValidationError, match="finite number"):
        section.model_validate(document | {"mine": number})


def test_a_misspelt_section_is_named_before_the_one_that_is_missing_for_it():
    document = {("lop" if key == "loop" else key): value for key, value in GOOD.items()}
    with pytest.raises(UserError, match=r"^spec: unknown key lop; allowed: .*loop.* \(and 1 more\)$"):
        parse_spec(document)


def test_several_mistakes_are_counted():
    with pytest.raises(UserError, match=r"loop\.children.* \(and 1 more\)$"):
        parse_spec(changed("loop", {"children": 0, "window": 0}))


@pytest.mark.parametrize("document", [None, [], "digits", 3])
def test_not_a_mapping(document):
    with pytest.raises(UserError, match=r"^spec: a mapping is needed, got "):
        parse_spec(document)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"name: [", "not YAML: "),
        (b"\xff\xfe\x00", "not YAML: "),
        (b"seed: 2020-13-45", "not YAML: month must be in 1..12"),
        (b"seed: " + b"9" * 5000, "not YAML: Exceeds the limit (4300 digits)"),
        (b"seed: !!bool maybe", "not YAML: 'maybe'"),
        (b"seed: " + b"[" * 5000, "not YAML: maximum recursion depth"),
        (b"", "a mapping is needed, got NoneType"),
        (b"loop:\n  children: 64\n  children: 12800", "loop.children is there twice, in line 2 and in line 3"),
        (b"- 1", "a mapping is needed, got list"),
    ],
)
def test_bad_file(tmp_path, content, words):
    path = tmp_path / "my.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_spec(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "examples").glob("*.yaml")), ids=lambda p: p.stem)
def test_examples(path):
    """Each is a spec, names no folder outside of where it is run, and lets no replica wait for another."""
    spec = load_spec(path)
    assert ".." not in path.read_text()
    assert spec.loop.replicas == 1 or spec.loop.window >= 2 * spec.loop.replicas


def test_defaults():
    spec = parse_spec(GOOD)
    assert spec.child.kind == "cnn"
    assert spec.controller.kind == "reinforce"
    assert spec.loop.rounds == 2
    assert (spec.loop.window, spec.loop.replicas, spec.loop.rounds_per_update) == (1, 1, 1)
    assert parse_spec(changed("controller.learning_rate", 0.1)).controller.kind == "reinforce"
    assert parse_spec(changed("child.epochs", 3)).child.kind == "cnn"


def test_json_round_trip_keeps_the_sha256():
    for kind in ("tabular", "cnn", "rnn"):
        spec = make_spec(kind)
        again = parse_spec(spec.model_dump(mode="json"))
        assert again == spec
        assert again.sha256 == spec.sha256


def test_sha256_is_of_the_content():
    """Equal whatever the order and whether defaults are written out; another by any field; the same for ever."""
    spec = parse_spec(GOOD)
    shuffled = parse_spec(dict(reversed(GOOD.items())) | {"seed": 0, "child": {"kind": "cnn", "epochs": 50}})
    assert shuffled.sha256 == spec.sha256
    assert parse_spec(changed("seed", 1)).sha256 != spec.sha256
    assert parse_spec(changed("space.layers", 3)).sha256 != spec.sha256
    code = f"from rlnas.spec import parse_spec; print(parse_spec({GOOD!r}).sha256)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == spec.sha256


def test_differences():
    spec, other = parse_spec(GOOD), parse_spec(changed("loop.children", 32) | {"seed": 3})
    assert spec.differences(spec) == []
    assert spec.differences(other) == ["seed: 0, not 3", "loop.children: 16, not 32"]
    random = parse_spec(changed("controller.kind", "random"))
    assert random.differences(spec) == ["controller.kind: random, not reinforce"], "all its other fields differ, too"


LATER = """
from typing import Literal
from pydantic import Field
from rlnas.datasets.digits import Digits

class Mine(Digits):
    kind: Literal["mine"] = "mine"
    split: Literal["random", "stratified", "by day"] = Field("stratified", json_schema_extra={"earlier": "random"})
"""


def test_a_field_that_came_later(install_plugin):
    """A search that began before it keeps what it was, and its own document still opens it."""
    install_plugin(LATER, {"rlnas.datasets": {"mine": "Mine"}})
    written = changed("dataset.kind", "mine")
    new = parse_spec(written)
    stored = new.model_dump(mode="json")
    del stored["dataset"]["split"]
    old = parse_spec(stored, earlier=True)
    assert (new.dataset.split, old.dataset.split) == ("stratified", "random")
    assert new.differences(old) == new.differences(new) == []
    assert parse_spec(new.document).differences(old) == [], "as it is sent to a cluster"
    assert control_of(new).differences(control_of(old)) == []

    def told(split):
        return parse_spec(written | {"dataset": {"kind": "mine", "split": split}})

    assert told("random").differences(old) == []
    assert told("stratified").differences(old) == ["dataset.split: stratified, not random"]
    assert new.differences(told("by day")) == ["dataset.split: stratified, not by day"], "a line that was taken out"


@pytest.mark.parametrize(
    "base", [Space, Dataset, Recipe, ControllerSettings, LoopSettings, FailureSettings, FinalSettings, SearchSpec]
)
def test_every_section_can_have_fields_that_came_later(base):
    later = Field(1, json_schema_extra={"earlier": 0})
    section = create_model("Mine", __base__=base, later=(int, later))
    section.__abstractmethods__ = frozenset()
    document = GOOD if base is SearchSpec else {"children": 8} if base is LoopSettings else {}
    document = document | ({"kind": "mine"} if "kind" in base.model_fields else {})
    assert section.model_validate(document).later == 1
    assert section.model_validate(document, context=EARLIER).later == 0
    assert section.model_validate(document | {"later": 5}, context=EARLIER).later == 5


def test_a_document_says_all_that_is_set():
    for spec in (parse_spec(GOOD), make_spec("cnn"), make_spec("rnn"), make_spec(), control_of(make_spec())):
        assert parse_spec(spec.document) == spec
    assert "failures" not in parse_spec(GOOD).document


def test_parses_without_torch():
    code = (
        f"import sys; from rlnas.spec import parse_spec; parse_spec({GOOD!r});"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names():
    for name in ("a", "a" * 63, "0", "a-b-0"):
        assert check_name(name) == name


@pytest.mark.parametrize(
    "section",
    [
        {"loop": {"children": True}},
        {"seed": True},
        {"child": {"time_limit": False}},
        {"child": {"rungs": [True, 2]}},
        {"space": {"filter_heights": [3, True]}},
    ],
)
def test_true_and_false_are_no_numbers(section):
    document = make_spec("cnn").model_dump(mode="json")
    changed = {name: (document[name] | value if isinstance(value, dict) else value) for name, value in section.items()}
    with pytest.raises(UserError, match=r"(true|false) is no number; allowed: a number"):
        parse_spec(document | changed)
