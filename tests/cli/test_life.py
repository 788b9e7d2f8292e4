"""`pause`, `resume`, `stop` and `extend` as a person uses them: what they say, what comes next, and who did it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from searches import make_spec, run

from rlnas import steps
from rlnas.spec import load_spec
from rlnas.state import Bucket, open_search


@pytest.fixture
def search(bucket: Bucket, tmp_path: Path) -> str:
    """The name of a search; its spec is in `spec.yaml`."""
    spec = make_spec(loop={"children": 4, "hours": 9})
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec.document))
    return steps.open_search(bucket, spec.name, spec).name


def test_a_search_is_paused_and_resumed(rlnas: Any, search: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    status, out, _ = rlnas("pause", search)
    assert status == 0
    assert f"search {search} is paused (by ada@" in out
    assert f"next: rlnas resume {search}" in out
    assert "by ada@" in rlnas("pause", search, "--by", "Bob")[1]
    assert "│ paused by ada@" in rlnas("status", search)[1].replace("state │", "│")
    now = json.loads(rlnas("status", search, "--json")[1])
    assert now["paused"]["by"].startswith("ada@")
    assert now["command"] == f"rlnas resume {search}"
    assert "paused" in rlnas("list")[1]
    status, out, err = rlnas("run", "spec.yaml")
    assert (status, err) == (0, "")
    assert f"search {search} is paused (by ada@" in out
    assert "it ends 9 hours after its creation, if that is before its 4 children" in out
    assert f"next: rlnas resume {search}" in out
    assert f"search {search} is paused no longer" in rlnas("resume", search)[1]
    assert f"search {search} is not paused" in rlnas("resume", search)[1]
    assert json.loads(rlnas("status", search, "--json")[1])["paused"] is None


def test_a_search_is_stopped_and_extended(rlnas: Any, search: str, bucket: Bucket) -> None:
    steps.sample_architecture(open_search(bucket, search))
    status, out, _ = rlnas("stop", search, "--by", "Ada")
    assert status == 0
    assert f"search {search} is ended (stopped by Ada, " in out
    assert "with 2 children" in out
    assert "1 round is left" in out
    assert "there is nothing to stop" in rlnas("stop", search, "--by", "Bob")[1]
    assert "stopped by Ada, " in rlnas("status", search)[1]
    status, out, _ = rlnas("extend", search, "--set", "failures.attempts=7", "--by", "Bob")
    assert status == 0
    assert f"search {search}: failures.attempts: 7, before 5; by Bob, " in out
    assert f"`rlnas extend {search} --children N` lets it go on" in out
    assert "loop.children: 8, before 4; by Cy, " in rlnas("extend", search, "--children", "8", "--by", "Cy")[1]
    assert "has all that already" in rlnas("extend", search, "--children", "8")[1]
    now = json.loads(rlnas("status", search, "--json")[1])
    assert [change["field"] for change in now["changes"]] == ["failures.attempts", "loop.children", "ended"]
    assert (now["ended"], now["budget"], now["rounds"]) == (None, 8, 4)
    assert "changed" in rlnas("status", search)[1]
    ledger = run(bucket.settings, open_search(bucket, search).spec)
    assert ledger.version().children == 8
    assert f"search {search} is complete with 8 children: there is nothing to stop" in rlnas("stop", search)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to change; allowed: --children N, --hours H, --device-hours H, --set FIELD=VALUE"),
        (("--set", "seed"), "--set seed: allowed: field=value, each field once"),
        (("--children", "8", "--set", "loop.children=6"), "--set loop.children=6: allowed: field=value, each field"),
        (
            ("--set", "seed=3"),
            "seed: it stays as it is, since children before and after a change",
        ),
        (("--children", "2"), "loop.children: 2; allowed: more than 4, which the search has"),
        (("--hours", "0"), "search "),
        (("--set", "=3"), "--set =3: allowed: field=value, each field once"),
        (("--set", "loop.windows=3"), "loop.windows: search "),
        (("--set", "loop.hours=1:30"), "--set loop.hours=1:30: 1:30, in line 1, is 90 in YAML"),
        (("--set", "loop.window=[1"), "--set loop.window=[1: not YAML: "),
        (("--set", "dataset.path=store:"), "store:: no data can lie there"),
        (("--by", "", "--children", "8"), "by: '' names nobody; allowed: 1 to 200 printable characters"),
        (("--by", " ", "--children", "8"), "by: ' ' names nobody; allowed: 1 to 200 printable characters"),
        (("--set", "dataset.path=nowhere.csv"), "dataset"),
    ],
)
def test_what_cannot_be_is_one_line(
    rlnas: Any, search: str, bucket: Bucket, arguments: tuple[str, ...], words: str
) -> None:
    before = open_search(bucket, search).record
    status, out, err = rlnas("extend", search, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"rlnas: {words}")
    assert open_search(bucket, search).record == before


def test_data_moves_if_it_is_the_same(rlnas: Any, search: str, bucket: Bucket, tmp_path: Path) -> None:
    ledger = open_search(bucket, search)
    old, there = Path(ledger.spec.dataset.path), tmp_path / "there.csv"
    there.write_bytes(old.read_bytes().replace(b"1-1-1", b"1-1-2"))
    assert rlnas("extend", search, "--set", f"dataset.path={there}")[0] == 2
    there.write_bytes(old.read_bytes())
    assert rlnas("extend", search, "--set", f"dataset.path={there}")[0] == 0
    assert open_search(bucket, search).spec.dataset.path == str(there)
    steps.open_search(bucket, search, load_spec("spec.yaml"))  # as `rlnas run` does
    assert open_search(bucket, search).spec.dataset.path == str(there), "the spec that it began with undoes nothing"
