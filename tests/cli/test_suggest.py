"""`rlnas suggest` as a person uses it: what is taken, what is doubtful, and that all else is one line."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from searches import make_spec, run

from rlnas import steps
from rlnas.state import Bucket
from rlnas.state.suggestions import read_suggestions

BAD = {
    "no JSON": ("[1,", "mine.json: not JSON: Expecting value: line 1 column 4 (char 3)"),
    "nothing": ("", "mine.json: not JSON: Expecting value"),
    "too deep": ("[" * 100_000, "mine.json: not JSON: "),
    "no suggestion": (
        "[]",
        "no suggestion is there; allowed: tokens, or an architecture as `rlnas show",
    ),
    "no architecture": ('{"tokenz": 3}', "suggestion 1: {'tokenz': 3} is no architecture; allowed: tokens, or"),
    "a word": ('"abc"', "suggestion 1: 'abc' is no architecture; allowed: "),
    "truth": ("[true, 0, 0]", "suggestion 1: [True, 0, 0] is no architecture; allowed: "),
    "broken numbers": ("[[0, 1.0, 0]]", "suggestion 1: [0, 1.0, 0] is no architecture; allowed: "),
    "no mapping": ('{"architecture": 5}', "suggestion 1: architecture: Input should be a valid dictionary"),
    "another's field": ('{"architecture": {"layers": []}}', "suggestion 1: architecture.tokens: Field required"),
    "outside the space": ("[[0, 0, 0], [0, 0, 3]]", "suggestion 2 is not in space tabular of search "),
    "too long": ("[0, 0, 0, 0]", "suggestion 1 is not in space tabular of search "),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_suggested_is_one_line_and_nothing_waits(
    rlnas: Any, bucket: Bucket, tmp_path: Path, case: str
) -> None:
    text, words = BAD[case]
    spec = make_spec()
    ledger = steps.open_search(bucket, spec.name, spec)
    (tmp_path / "mine.json").write_text(text)
    status, out, err = rlnas("suggest", spec.name, "mine.json")
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"rlnas: {words}")
    assert read_suggestions(ledger, 0, 10) == []


def test_what_is_not_there_is_one_line(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("[0, 0, 0]")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    done = run(bucket.settings, make_spec()).name
    for arguments, words in {
        ("nowhere", "mine.json"): "no search 'nowhere' in the store; `rlnas list` shows what there is",
        (done, "nowhere.json"): "nowhere.json: cannot be read: No such file or directory",
        (done, "."): ".: cannot be read: Is a directory",
        (done, "binary"): "binary: not JSON: 'utf-8' codec",
        (done, "mine.json", "--by", " "): "by: ' ' names nobody; allowed: 1 to 60 printable characters",
        (done, "mine.json"): f"search {done}: its last round is planned already; allowed: a search that goes on",
    }.items():
        status, out, err = rlnas("suggest", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"rlnas: {words}")


def test_suggestions_come_by_file_or_standard_input_and_are_trained(
    rlnas: Any, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(loop={"children": 4, "children_per_round": 2})
    steps.open_search(bucket, spec.name, spec)
    monkeypatch.setattr("sys.stdin", io.StringIO('[[2, 2, 2], {"tokens": [1, 1, 1]}]'))
    status, out, err = rlnas("suggest", spec.name, "-", "--by", "Ada")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "waits for a round: 2-2-2",
        "waits for a round: 1-1-1",
        f"next: rlnas leaderboard {spec.name}  (shows what became of it, once it is trained)",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("oops"))
    status, out, err = rlnas("suggest", spec.name, "-")
    assert (status, out) == (2, "")
    assert err.startswith("rlnas: standard input: not JSON: ")
    run(bucket.settings, spec)
    status, out, err = rlnas("leaderboard", spec.name)
    assert (status, err) == (0, "")
    assert "Ada, who suggested them" in out


def test_what_show_prints_of_another_search_is_taken(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    one = run(bucket.settings, make_spec("cnn")).name
    (tmp_path / "best.json").write_text(shown := rlnas("show", one, "--json")[1])
    other = make_spec("cnn", loop={"children": 8})
    ledger = steps.open_search(bucket, other.name, other)
    assert rlnas("suggest", other.name, "best.json")[0] == 0
    assert [list(s.tokens) for s in read_suggestions(ledger, 0, 10)] == [json.loads(shown)["tokens"]]
    table = make_spec()
    steps.open_search(bucket, table.name, table)
    status, out, err = rlnas("suggest", table.name, "best.json")
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_what_is_doubtful_is_taken_with_a_warning(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    spec = make_spec("cnn", loop={"children": 4, "children_per_round": 2}, objective={"limit": {"parameters": 1}})
    ledger = steps.open_search(bucket, spec.name, spec)
    tokens = spec.space.encode(spec.space.decode([0] * 7))
    (tmp_path / "mine.json").write_text(json.dumps(tokens))
    status, out, err = rlnas("suggest", spec.name, "mine.json")
    assert (status, err) == (0, "")
    (warning,) = [line for line in out.splitlines() if line.startswith("warning: ")]
    assert warning.startswith("warning: it will not be trained, because of its parameters ")
    assert warning.endswith("; allowed: at most 1")
    for batch in steps.sample_architecture(ledger):
        steps.train_child(ledger, batch, "a")
        steps.evaluate(ledger, batch)
    steps.update_controller(ledger)
    out = rlnas("suggest", spec.name, "mine.json")[1]
    assert "warning: this is child 000000-000 already; it is trained once more" in out
