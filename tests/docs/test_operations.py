"""The lines that docs/operations.md shows are those that rlnas prints, and each entry has what a person needs."""

import ast
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from proxy import FaultyProxy
from searches import make_spec

from rlnas import steps
from rlnas.cli import common
from rlnas.spec import parse_spec
from rlnas.state import Bucket, Ledger, Result, claim
from rlnas.state.search import record_key

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/operations.md").read_text("utf-8")
SHOWN = [
    line for block in re.findall(r"^```text\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
VARIABLE = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d UTC": "TIME",
    r"bucket [\w-]+ at [\w.-]+:\d+": "BUCKET",
    r"on (nas|test-\w+)/": "on BUCKET/",
    r"probe/\w+": "probe/KEY",
    r"/[\w/.-]*/(?=mine\.csv)": "FOLDER/",
    r"\d[\d.,]* (kB|MB|objects)": "SO MANY",
    r"[\w.-]+, process \d+": "HOST, process N",
    r"epoch \d+": "epoch N",
    r"with \d+ children": "with N children",
}


def plain(line: str) -> str:
    """A line without what is another one each time."""
    line = " ".join(line.replace("│", " ").split())
    for pattern, word in VARIABLE.items():
        line = re.sub(pattern, word, line)
    return line


def check(printed: str) -> None:
    """Hold what was printed against the page: one of its lines is there, but for names and numbers."""
    lines = {plain(line) for line in printed.splitlines()}
    assert lines & set(map(plain, SHOWN)), f"docs/operations.md does not show {lines}"


@pytest.fixture
def ledger(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A search of two rounds, one of them planned; its spec is in `digits.yaml`, its data in `data/mine.csv`."""
    spec = make_spec(loop={"children": 32, "children_per_round": 2})
    data = tmp_path / "data/mine.csv"
    data.parent.mkdir()
    data.write_bytes(Path(spec.dataset.path).read_bytes())
    document = spec.document | {"name": "digits", "dataset": {"kind": "table", "path": "data/mine.csv"}}
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.chdir(tmp_path)
    ledger = steps.open_search(bucket, "digits", parse_spec(document))
    steps.sample_architecture(ledger)
    return ledger


def test_what_the_store_says(rlnas: Any, ledger: Ledger, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "PATIENCE", 0.1)
    monkeypatch.setenv("RLNAS_STORE_ACCESS_KEY", "the-old-access-key")
    check(rlnas("status", "digits")[2])
    monkeypatch.setenv("RLNAS_STORE_ACCESS_KEY", ledger.bucket.settings.access_key)
    with FaultyProxy("nobody") as closed:
        pass
    monkeypatch.setenv("RLNAS_STORE_ENDPOINT", closed.endpoint)
    check(rlnas("status", "digits")[2])


def test_what_a_long_life_says(rlnas: Any, ledger: Ledger) -> None:
    check(rlnas("pause", "digits", "--by", "Ada")[1])
    check(rlnas("run", "digits.yaml")[1])
    assert rlnas("resume", "digits")[0] == 0
    check(rlnas("extend", "digits", "--children", "64", "--by", "Ada")[1])
    check(rlnas("stop", "digits", "--by", "Ada")[1])


def test_who_trains_and_who_is_lost(rlnas: Any, ledger: Ledger) -> None:
    assert claim(ledger, "000000-001", "a task")
    out = rlnas("status", "digits")[1]
    assert f"{socket.gethostname()}, process {os.getpid()} (attempt 1" in out
    check(out.replace("000000-001", "000003-001"))
    ledger.create_result(
        "000000-000", Result(status="lost", reward=0.0, reason="lost", detail="5 attempts ended without progress")
    )
    check(re.sub(r".*(lost: 5)", r"\1", rlnas("show", "digits", "000000-000")[1]))
    check(rlnas("retry", "digits", "000000-000")[1].replace("000000-000", "000003-001"))


def test_what_becomes_of_data(rlnas: Any, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    there = (tmp_path / "data/mine.csv").rename(tmp_path / "new/mine.csv")
    check(rlnas("run", "digits.yaml")[2])
    whole = there.read_bytes()
    there.write_bytes(whole.replace(b"0-0-0,0", b"0-0-0,9"))
    check(rlnas("extend", "digits", "--set", f"dataset.path={there}", "--by", "Ada")[2])
    there.write_bytes(whole)
    check(rlnas("extend", "digits", "--set", f"dataset.path={there}", "--by", "Ada")[1])


def test_what_is_refused(rlnas: Any, ledger: Ledger, bucket: Bucket) -> None:
    spec = yaml.safe_load(Path("digits.yaml").read_text())
    Path("digits.yaml").write_text(yaml.safe_dump(spec | {"seed": 9}))
    check(re.sub(r"seed: 9, not \d+", "child.epochs: 9, not 6", rlnas("run", "digits.yaml")[2]))
    bucket.put(ledger.checkpoint_key("000000-000"), b"x" * 1500)
    ledger.create_result("000000-000", Result(status="ok", reward=0.5))
    check(rlnas("gc")[1])
    key = record_key("digits")
    bucket.put(key, bucket.get(key).data.replace(b'"schema_version":1,', b'"schema_version":2,'))
    check(rlnas("status", "digits")[2])


def messages() -> Iterator[str]:
    """Every text of the code with a place where something is put in, as a pattern."""
    for path in (ROOT / "rlnas").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "" for part in node.values]
                if len("".join(parts)) > 10:
                    yield ".*".join(map(re.escape, parts))


def test_every_line_is_in_the_code() -> None:
    """Also those that nothing here has printed."""
    patterns = [re.compile(pattern) for pattern in messages()]
    for line in SHOWN:
        assert any(pattern.search(line) for pattern in patterns), line
    wrong = "rlnas: the run broke: a task was killed; see .rlnas/logs/digits.log"
    assert not any(pattern.search(wrong) for pattern in patterns)


def test_every_entry_says_what_to_type() -> None:
    entries = TEXT.split("\n## ")[1:]
    assert len(entries) >= 16
    for entry in entries:
        name = entry.partition("\n")[0]
        assert "`" in entry or "Nothing to do" in entry, name
        assert len(entry.splitlines()) < 40, f"{name}: an entry is short"
