"""The invariants hold of a real search, and each of them can fail."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import searches
from invariants import (
    outcome,
    violations,
    violations_against,
    violations_at_end,
    violations_between,
    violations_of_promises,
    violations_of_the_seal,
)
from searches import make_spec, run_apart

from rlnas.spec import SearchSpec
from rlnas.state import Bucket
from rlnas.tensors import add_to_document, pack

Objects = dict[str, bytes]
SPEC = make_spec(loop={"children": 8, "children_per_round": 2, "window": 2, "rounds_per_update": 2})
KNOWN: Objects = {}


@pytest.fixture
def objects(bucket: Bucket) -> Objects:
    if not KNOWN:
        KNOWN.update(searches.objects_of(run_apart(bucket, SPEC)))
    return dict(KNOWN)


def change(key: str, **fields: Any) -> Callable[[Objects], None]:
    def act(objects: Objects) -> None:
        if key.startswith("controllers/"):
            objects[key] = add_to_document(objects[key], **fields)
        else:
            objects[key] = json.dumps(json.loads(objects[key]) | fields).encode()

    return act


def copy(key: str, to: str) -> Callable[[Objects], None]:
    return lambda objects: objects.update({to: objects[key]})


def remove(key: str) -> Callable[[Objects], None]:
    return lambda objects: objects.update({key: b""}) or objects.__delitem__(key)


VERSION = "controllers/{:06d}.safetensors"
FAULTS: dict[str, Callable[[Objects], None]] = {
    "the chain of controllers has a gap": remove(VERSION.format(1)),
    "was made from another parent": change(VERSION.format(1), baseline=1.0),
    "promises a version that is not there": lambda objects: objects.update({"head.json": b"3"}),
    "round 1 was applied 2 times": change(VERSION.format(2), applied=[1, 3]),
    "without a summary": remove("summaries/000001.json"),
    "controller 2 counts": change(VERSION.format(2), children=7),
    "says that 3 and": change(VERSION.format(2), low_mark=3),
    "allowed: 2 of [0, 1]": change(VERSION.format(1), applied=[0]),
    "its leaders are not the best": change(VERSION.format(2), leaders=[]),
    "plan 4 has 2 children of round 3": copy("plans/000003.json", "plans/000004.json"),
    "beyond the window": change("plans/000003.json", policy_version=0),
    "which is not there": change("plans/000003.json", policy_version=9),
    "suggestions are taken up, not 0": change("plans/000003.json", suggestions=1),
    "summary 1 is not its plan with its results": change("results/000001-001.json", reward=0.5),
    "result 000009-000 is of a child that was not planned": copy("results/000001-000.json", "results/000009-000.json"),
    "was given up after": change("results/000001-000.json", status="lost"),
    "was stopped after 3": change("results/000001-000.json", stopped=3),
    "an object is damaged": lambda objects: objects.update({"plans/000002.json": b""}),
}
FAULTS_AT_THE_END: dict[str, Callable[[Objects], None]] = {
    "rounds with 4 children were applied": remove(VERSION.format(2)),
    "checkpoints/000000-000.safetensors is left": copy(VERSION.format(0), "checkpoints/000000-000.safetensors"),
    "is gone": lambda objects: objects.pop(next(key for key in objects if key.startswith("snapshots/"))) and None,
    "snapshots/000009-000 is left": copy(VERSION.format(0), "snapshots/000009-000.safetensors"),
    "bundles [0], not []": lambda objects: objects.update({"history/000000.json": b'{"summaries": []}'}),
}


def test_of_a_real_search_they_hold(objects: Objects) -> None:
    assert violations_at_end(objects, SPEC) == []
    assert violations_between(objects, objects) == []
    assert violations_against(objects, outcome(objects)) == []
    assert violations_of_the_seal(objects, 0) == []
    told = [(key, hashlib.sha256(data).hexdigest()) for key, data in objects.items()]
    assert violations_of_promises(objects, told) == []


@pytest.mark.parametrize("words", FAULTS)
def test_at_any_moment(objects: Objects, words: str) -> None:
    FAULTS[words](objects)
    assert words in "\n".join(violations(objects, SPEC))


@pytest.mark.parametrize("words", FAULTS_AT_THE_END)
def test_at_the_end(objects: Objects, words: str) -> None:
    FAULTS_AT_THE_END[words](objects)
    assert words in "\n".join(violations_at_end(objects, SPEC))


def test_the_tested_winner_is_the_best_child(objects: Objects) -> None:
    spec: SearchSpec = make_spec("cnn", finalize={}, loop={"children": 8, "children_per_round": 2})
    assert "tested were [], and the best child is" in "\n".join(violations_at_end(objects, spec))


def test_between_two_moments(objects: Objects) -> None:
    def at(step: int) -> Objects:
        return {"checkpoints/000004-000.safetensors": pack({}, {"epoch": 1, "step": step})}

    def found(earlier: Objects, later: Objects) -> str:
        return "\n".join(violations_between(objects | earlier, objects | later))

    assert found(at(1), at(2)) == ""
    assert "went back from (1, 2) to (1, 1)" in found(at(2), at(1))
    assert "was deleted before its child ended" in found(at(1), {})
    assert found(at(1), {"results/000004-000.json": b"{}"}) == ""
    assert "data.json was changed" in found({}, {"data.json": b""})
    assert "results/000007-000.json was deleted" in found({"results/000007-000.json": b""}, {})


def test_what_was_told_is_there(objects: Objects) -> None:
    told = [("results/000000-000.json", "0"), ("results/000007-000.json", "0"), ("leases/000007-000.json", "0")]
    first, second = violations_of_promises(objects, told)
    assert "is another" in first
    assert "is gone" in second


def test_the_seal(objects: Objects) -> None:
    assert violations_of_the_seal(objects | {"test-readings/1": b""}, 0) == []
    assert violations_of_the_seal(objects | {"test-readings/1": b"", "test-readings/2": b""}, 1) == []
    assert (
        "read 2 times; allowed: 1"
        in violations_of_the_seal(objects | {"test-readings/1": b"", "test-readings/2": b""}, 0)[0]
    )
    record = {"finals/000000.json": json.dumps({"winner": "000000-000", "models": [{"test": {"score": 1}}]}).encode()}
    assert violations_of_the_seal(objects | record, 0) == ["a test without a reading"]


def test_against_an_undisturbed_search(objects: Objects) -> None:
    later = dict(objects)
    change("results/000001-000.json", seconds=99.0, attempts=7)(later)
    assert violations_against(later, outcome(objects)) == []
    change(VERSION.format(2), numbers={})(later)
    assert violations_against(later, outcome(objects)) == [f"{VERSION.format(2)} differs from an undisturbed search's"]
