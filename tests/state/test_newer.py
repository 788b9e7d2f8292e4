"""What a newer version of rlnas wrote: one line that says so, from every command that reads it, and nothing changes."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from searches import make_spec

from rlnas import steps
from rlnas.errors import StoreError, UserError
from rlnas.state import Bucket, Earlier, FinalModel, FinalRecord, Ledger, Result, child_id, claim
from rlnas.state.records import AppliedChild, History
from rlnas.state.search import record_key
from rlnas.steps.common import Batch
from rlnas.steps.evaluate import summarise
from rlnas.tensors import add_to_document


@pytest.fixture
def begun(bucket: Bucket) -> Ledger:
    """One round applied; one complete; of the third one child finished and one claimed; a suggestion waits."""
    spec = make_spec(loop={"children": 10, "children_per_round": 2, "window": 3, "rounds_per_update": 1})
    ledger = steps.open_search(bucket, spec.name, spec)
    for number in range(3):
        steps.sample_architecture(ledger)
        for i in range(2 - (number == 2)):
            ledger.create_result(child_id(number, i), Result(status="ok", reward=0.5 + number / 10))
        plan = ledger.plan(number)
        assert plan
        summarise(ledger, plan)
        if number == 0:
            steps.update_controller(ledger)
    assert claim(ledger, "000002-001", "another task")
    steps.suggest(ledger, [[0, 0, 0]], "Ada")
    ledger.create_final(0, FinalRecord(winner="000000-000", models=(FinalModel(child="000010-000"),)))
    return ledger


def everything(bucket: Bucket) -> dict[str, bytes]:
    return {key: bucket.get(key).data for key in bucket.list_all("searches/")}


def with_field(data: bytes, *path: str | int) -> bytes:
    """What a newer version would have written: the record with a field more, at a place in it."""
    if not data.startswith(b"{"):
        return add_to_document(data, colour="red")
    document = place = json.loads(data)
    for part in path:
        place = place[part]
    place["colour"] = "red"
    return json.dumps(document, separators=(",", ":")).encode()


Act = Callable[[Ledger], Any]
KINDS: dict[str, tuple[tuple[str | int, ...], tuple[str, ...], Act | None]] = {
    # object: where in it, the commands that read it, the step that does
    "controllers/000001.safetensors": ((), ("status", "leaderboard"), steps.sample_architecture),
    "plans/000002.json": (("children", 0), ("show 000002-000",), steps.sample_architecture),
    "results/000002-000.json": ((), ("show 000002-000",), lambda ledger: ledger.result("000002-000")),
    "summaries/000001.json": (("children", 1, "result"), (), steps.update_controller),
    "history/000000.json": ((), ("report", "leaderboard --pareto"), None),
    "leases/000002-001.json": (("owner",), (), lambda ledger: steps.train_child(ledger, Batch(2, (1,)), "a")),
    "suggestions/000000.json": ((), ("suggest mine.json",), lambda ledger: steps.retry(ledger, [])),
    "data.json": ((), (), lambda ledger: steps.open_search(ledger.bucket, ledger.name, ledger.spec)),
    "finals/000000.json": (("models", 0), (), lambda ledger: ledger.final(0)),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_field_that_this_version_does_not_know(rlnas: Any, bucket: Bucket, begun: Ledger, name: str) -> None:
    path, commands, step = KINDS[name]
    key = begun.key(name)
    if name.startswith("history/"):  # there is none yet
        bucket.put(key, History(summaries=()).to_bytes())
    bucket.put(key, with_field(bucket.get(key).data, *path))
    with open("mine.json", "w") as file:
        file.write("[0, 0, 1]")
    before = everything(bucket)
    where = ".".join(map(str, (*path, "colour")))
    line = (
        f"{key}: a newer version of rlnas wrote it (it has {where}, which this one does not know);"
        " upgrade rlnas to that version, here and in the cluster's image"
    )
    for command in commands:
        verb, *rest = command.split()
        assert rlnas(verb, begun.name, *rest) == (2, "", f"rlnas: {line}\n")
    if step:
        with pytest.raises(UserError) as caught:
            step(Ledger(bucket, begun.record))  # one that has read nothing yet
        assert str(caught.value) == line
    assert everything(bucket) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda data: with_field(data),
        lambda data: with_field(data, "spec", "loop"),
        lambda data: data.replace(b'"schema_version":1,', b'"schema_version":2,'),
    ],
    ids=["field", "field of the spec", "schema"],
)
def test_the_record_itself(rlnas: Any, bucket: Bucket, begun: Ledger, change: Callable[[bytes], bytes]) -> None:
    key = record_key(begun.name)
    bucket.put(key, change(bucket.get(key).data))
    with open("spec.yaml", "w") as file:
        yaml.safe_dump(begun.spec.model_dump(mode="json"), file)
    before = everything(bucket)
    commands = [["status"], ["leaderboard"], ["report"], ["gc", "--yes"]]
    for verb, *rest in commands:
        status, out, err = rlnas(verb, begun.name, *rest)
        if verb == "gc":
            assert (status, err) == (0, "")
            assert f"warning: search {begun.name} is left alone" in out
        else:
            assert (status, out, err.count("\n")) == (2, "", 1)
            assert "a newer version of rlnas wrote it" in err
    status, _, err = rlnas("run", "spec.yaml")
    assert (status, err.count("\n")) == (2, 1)
    assert "a newer version of rlnas wrote it" in err
    status, out, err = rlnas("list", "--json")
    assert (status, err) == (0, "")
    (row,) = json.loads(out)
    assert "a newer version of rlnas wrote it" in row["unreadable"]
    assert everything(bucket) == before


def test_a_warm_start() -> None:
    child = AppliedChild(round=0, tokens=(0,), reward=1.0, scored=True, metrics={})
    data = Earlier(space={"kind": "tabular"}, children=(child,)).to_bytes()
    assert Earlier.from_bytes(data, "key").children == (child,)
    newer = child.model_dump(mode="json") | {"colour": "red"}
    with pytest.raises(UserError, match="key: a newer version of rlnas wrote it"):
        Earlier.from_bytes(add_to_document(data, children=[newer]), "key")


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b'{"colour":"red"}', lambda _: b""]
)
def test_what_is_damaged_is_called_so(bucket: Bucket, begun: Ledger, damage: Callable[[bytes], bytes]) -> None:
    """An unknown field beside one that is missing is nothing that a newer version writes."""
    key = begun.key("plans/000002.json")
    bucket.put(key, damage(bucket.get(key).data))
    with pytest.raises(StoreError, match=r"plans/000002\.json: not a plan of this version of rlnas: "):
        Ledger(bucket, begun.record).plan(2)
