"""The command line: what it says, its exit statuses, and that bad input starts nothing."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import watched
import yaml
from model_registry_stand_in import running
from proxy import FaultyProxy
from searches import make_spec
from searches import run as run_steps

from rlnas.cli import common
from rlnas.errors import one_line
from rlnas.spec import parse_spec
from rlnas.state import Bucket, Result, delete_search, list_searches
from rlnas.steps import open_search, sample_architecture
from rlnas.variants import control_of, with_seed

DIGITS = {
    "name": "tiny",
    "seed": 3,
    "space": {"kind": "cnn", "layers": 2, "filters": [4, 8]},
    "dataset": {"kind": "digits"},
    "child": {"epochs": 1, "batch": 128, "snapshots": 1, "upsample_by": None},
    "loop": {"children": 4, "children_per_round": 2},
    "finalize": None,
}


def write(folder: Path, document: Any) -> str:
    path = folder / "spec.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return str(path)


def changed(**sections: Any) -> dict[str, Any]:
    return {**DIGITS, **sections}


def npz(folder: Path, **arrays: Any) -> dict[str, Any]:
    images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40, dtype=np.uint8) % 4
    known = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(folder / "data.npz", **{**known, **arrays})
    return {"kind": "npz", "path": str(folder / "data.npz"), "classes": 4}


BAD_SPECS = {
    "unknown key": (changed(space={"kind": "cnn", "layer": 3}), ["unknown key space.layer"]),
    "out of range": (changed(space={"kind": "cnn", "layers": 0}), ["space.layers", "greater than or equal to 1", "0"]),
    "unknown kind": (changed(dataset={"kind": "mnist"}), ["dataset.kind", "mnist", "allowed", "digits"]),
    "stride": (
        changed(space={"kind": "cnn", "stride_heights": [1, 9]}),
        ["space.stride_heights", "no pixels", "1 to 8"],
    ),
    "missing folder": (changed(dataset={"kind": "cifar10", "folder": "/nowhere"}), ["/nowhere"]),
    "missing file": (changed(dataset={"kind": "npz", "path": "/nowhere.npz"}), ["/nowhere.npz"]),
    "missing object": (changed(dataset={"kind": "npz", "path": "store:data/x.npz"}), ["data/x.npz", "store"]),
    "empty key": (changed(dataset={"kind": "npz", "path": "store:"}), ["store:", "allowed"]),
    "key with dots": (changed(dataset={"kind": "npz", "path": "store:../x.npz"}), ["store:../x.npz", "allowed"]),
    "key of our own": (changed(dataset={"kind": "npz", "path": "store:searches/x"}), ["store:searches/x", "allowed"]),
    "path with NUL": (changed(dataset={"kind": "npz", "path": "a\0b"}), ["no path", "allowed"]),
    "nobody's home": (changed(dataset={"kind": "image_folder", "folder": "~nobody-here/x"}), ["~nobody-here", "user"]),
    "date": ("name: 2020-13-45", ["not YAML", "month"]),
    "name": (changed(name="My_Search"), ["name", "My_Search", "a-z"]),
    "no mapping": ("just words", ["mapping"]),
    "no YAML": ("a: [", ["not YAML"]),
    "a key twice": ("loop:\n  children: 64\n  children: 12800", ["loop.children is there twice", "line 2", "line 3"]),
    "budget": (changed(loop={"children": 5, "children_per_round": 2}), ["loop.children", "4 or 6"]),
    "other data": (changed(dataset={"kind": "python_docs"}), ["dataset.kind", "text", "images"]),
}


def text(folder: Path, train: str) -> dict[str, Any]:
    for part, words in {"train": train, "validation": "a b c", "test": "a b c"}.items():
        (folder / f"{part}.txt").write_text(words)
    return {"kind": "text"} | {f"{part}_file": str(folder / f"{part}.txt") for part in ("train", "validation", "test")}


BAD_RNN = {
    "empty text": ("", {}, ["train_file", "empty"]),
    "shorter than a window": ("a b a b a b a b", {}, ["training text", "child.bptt", "at least"]),
    "one word": ("a " * 500, {}, ["training text", "two different"]),
    "unknown activation": ("a b " * 500, {"activations": ["tanh", "gelu"]}, ["space.activations", "gelu", "sigmoid"]),
    "base 3": ("a b " * 500, {"base": 3}, ["space.base", "3", "power of two"]),
}


@pytest.mark.parametrize("case", BAD_RNN)
def test_a_bad_recurrent_search_is_one_line_and_starts_nothing(
    rlnas: Any, bucket: Bucket, tmp_path: Path, case: str
) -> None:
    train, space, words = BAD_RNN[case]
    document = {
        "name": "cell",
        "space": {"kind": "rnn", "base": 2} | space,
        "dataset": text(tmp_path, train),
        "child": {"hidden": 8, "batch": 4, "bptt": 10},
        "loop": {"children": 2, "children_per_round": 2},
    }
    status, out, err = rlnas("run", write(tmp_path, document))
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    for word in words:
        assert word in err
    assert list(bucket.list_all("")) == []


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize("case", BAD_SPECS)
def test_a_bad_spec_is_one_line_and_starts_nothing(
    rlnas: Any, bucket: Bucket, tmp_path: Path, case: str, command: str
) -> None:
    document, words = BAD_SPECS[case]
    status, out, err = rlnas(command, write(tmp_path, document))
    assert status == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    for word in words:
        assert word in err
    assert list(bucket.list_all("")) == []
    assert not (tmp_path / ".rlnas").exists()


def test_a_label_outside_the_classes_is_one_line(rlnas: Any, tmp_path: Path) -> None:
    dataset = npz(tmp_path, train_labels=np.full(40, 9, np.uint8))
    status, _, err = rlnas("validate", write(tmp_path, changed(dataset=dataset)))
    assert status == 2
    assert len(err.splitlines()) == 1
    assert "train_labels" in err
    assert "9" in err


def test_a_file_that_is_not_there_is_one_line(rlnas: Any) -> None:
    assert rlnas("run", "nowhere.yaml")[::2] == (2, "rlnas: nowhere.yaml: cannot be read: No such file or directory\n")


def test_a_store_that_is_down_is_one_line(rlnas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "PATIENCE", 0.1)
    monkeypatch.setenv("RLNAS_STORE_ENDPOINT", "127.0.0.1:9")
    status, _, err = rlnas("run", write(tmp_path, DIGITS))
    assert status == 2
    assert len(err.splitlines()) == 1
    assert "127.0.0.1:9" in err
    assert "refused" in err


@pytest.mark.parametrize("endpoint", ["store:99999", "[:]:80", "sts.amazonaws.com"])
def test_an_endpoint_that_cannot_be_is_one_line(rlnas: Any, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("RLNAS_STORE_ENDPOINT", endpoint)
    status, out, err = rlnas("list")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("rlnas: RLNAS_STORE_ENDPOINT: ")


@pytest.mark.parametrize("store", ["of the environment", "embedded"])
def test_a_folder_that_cannot_be_written_is_one_line(
    rlnas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    spec = write(tmp_path, DIGITS)
    monkeypatch.chdir("/proc")  # nobody can make a folder there, not even root
    if store == "embedded":
        monkeypatch.delenv("RLNAS_STORE_ENDPOINT")
    status, _, err = rlnas("run", spec)
    assert status == 2
    assert len(err.splitlines()) == 1, err
    assert ".rlnas" in err
    assert "No such file" in err


ODD = """
import os
from typing import Literal
from rlnas.datasets.digits import Digits

class Odd(Digits):
    kind: Literal["odd"] = "odd"
    words: str = ""

    def shape(self, open_file):
        raise Warning(self.words + " with " + os.environ["RLNAS_STORE_SECRET_KEY"])
"""


@pytest.mark.parametrize("words", ["Image size (179560000 pixels)\nexceeds limit", "half of \ud800", "\x1b[31mred", ""])
def test_what_nobody_foresaw_is_one_line_and_its_traceback_is_kept(
    rlnas: Any, bucket: Bucket, tmp_path: Path, install_plugin: Any, words: str
) -> None:
    install_plugin(ODD, {"rlnas.datasets": {"odd": "Odd"}})
    for command in ("validate", "run"):
        status, out, err = rlnas(command, write(tmp_path, changed(dataset={"kind": "odd", "words": words})))
        assert (status, out) == (1, "")
        assert len(err.splitlines()) == 1, err
        assert err.startswith(
            f"rlnas: Warning: {one_line(words + ' with ***')}; the traceback is in .rlnas/logs/error-"
        )
        trace = (tmp_path / err.strip().rpartition(" ")[2]).read_text("utf-8")
        assert trace.startswith(f"rlnas {command} ")
        assert "Traceback (most recent call last):" in trace
        assert bucket.settings.secret_key not in trace


def test_a_traceback_that_cannot_be_kept_leaves_the_line(
    rlnas: Any, tmp_path: Path, install_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(ODD, {"rlnas.datasets": {"odd": "Odd"}})
    spec = write(tmp_path, changed(dataset={"kind": "odd", "words": "odd"}))
    monkeypatch.chdir("/proc")
    assert rlnas("validate", spec) == (1, "", "rlnas: Warning: odd with ***\n")


def started(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as a person does, with its own interpreter."""
    return subprocess.run(
        [sys.executable, "-m", "rlnas.cli", *arguments], **{"capture_output": True, "text": True} | settings
    )


def test_an_installation_that_is_broken_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text("raise ImportError('half an upgrade')")
    command = ("status", "tiny", "--endpoint", "http://me:pass-word@there")
    ended = started(*command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("rlnas: ImportError: half an upgrade; the traceback is in ")
    assert ended.stderr.count("\n") == 1
    assert "pass-word" not in (tmp_path / ended.stderr.strip().rpartition(" ")[2]).read_text("utf-8")


def test_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        ended = started("--help", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("rlnas: OSError: [Errno 28] No space left on device")
    assert ended.stderr.count("\n") == 1
    read, write_end = os.pipe()
    os.close(read)
    with open(write_end, "w") as nobody:
        ended = started("--help", stdout=nobody, stderr=subprocess.PIPE, capture_output=False)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") <= 1
    assert "Traceback" not in ended.stderr


def test_a_web_console_is_no_store(
    rlnas: Any, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its port is beside that of the store, and it has a page for everything."""
    monkeypatch.setenv("RLNAS_STORE_ENDPOINT", proxy.endpoint)
    proxy.say = (200, {"Content-Type": "text/html"}, b"<!doctype html><title>Console</title>")
    (tmp_path / "mine.npz").write_bytes(b"data")
    for arguments in (("list",), ("store", "put", "mine.npz", "data/mine.npz"), ("run", write(tmp_path, DIGITS))):
        status, out, err = rlnas(*arguments)
        assert (status, out) == (2, "")
        assert len(err.splitlines()) == 1, err
        assert "a web page answered (HTTP 200): this is no endpoint of S3" in err


def test_a_damaged_controller_is_one_line(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    spec = parse_spec(DIGITS)
    ledger = open_search(bucket, spec.name, spec)
    bucket.put(key := ledger.key("controllers/000000.safetensors"), b"half of")
    for command in (("status", "tiny"), ("show", "tiny"), ("run", write(tmp_path, DIGITS))):
        status, _, err = rlnas(*command)  # `run` says first what it sees
        assert status == 2
        assert err == f"rlnas: {key} is damaged: not a safetensors file with an rlnas document\n"


def test_wrong_keys_are_one_line_without_the_keys(rlnas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLNAS_STORE_SECRET_KEY", "planted-secret-value")
    status, out, err = rlnas("run", write(tmp_path, DIGITS))
    assert status == 2
    assert len(err.splitlines()) == 1
    assert "access denied" in err
    assert "planted" not in out + err


def test_a_search_from_run_to_show(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    spec = write(tmp_path, DIGITS)
    status, out, err = rlnas("run", spec, "--rounds", "1")
    assert status == 0, err
    assert "round 1 of 2: 2 children" in out
    assert "leaderboard of tiny" in out
    assert f"next: rlnas run {spec}" in out
    log = next((tmp_path / ".rlnas" / "logs").glob("tiny-*.log"))
    assert str(log.relative_to(tmp_path)) in "".join(out.split())
    assert bucket.settings.secret_key not in log.read_text() + out

    now = json.loads(rlnas("status", "tiny", "--json")[1])
    assert (now["children"], now["budget"], now["round"], now["complete"]) == (2, 4, 1, False)

    status, out, err = rlnas("run", spec)
    assert status == 0, err
    assert "next: rlnas show tiny" in out
    now = json.loads(rlnas("status", "tiny", "--json")[1])
    assert (now["children"], now["version"], now["complete"]) == (4, 2, True)
    assert json.loads(rlnas("list", "--json")[1])[0]["name"] == "tiny"
    leaders = json.loads(rlnas("leaderboard", "tiny", "--json")[1])
    assert [leader["reward"] for leader in leaders] == sorted((x["reward"] for x in leaders), reverse=True)
    assert leaders[0] == leaders[0] | now["best"]

    shown = json.loads(rlnas("show", "tiny", "--json")[1])
    assert shown["child"] == leaders[0]["child"]
    assert shown["result"]["reward"] == leaders[0]["reward"]
    assert rlnas("show", "tiny", "0-1", "-o", "cell.png")[0] == 0
    assert (tmp_path / "cell.png").read_bytes().startswith(b"\x89PNG")
    assert rlnas("show", "tiny", "9-0")[0] == 2
    assert rlnas("show", "tiny", "-o", "cell.gif")[::2] == (
        2,
        "rlnas: cell.gif: cannot draw .gif; allowed: .svg, .png\n",
    )

    # A changed spec names each field that differs, and changes nothing.
    before = list(bucket.list_all(""))
    status, _, err = rlnas("run", write(tmp_path, changed(seed=4, child={**DIGITS["child"], "epochs": 9})))
    assert status == 2
    assert "seed: 4, not 3" in err
    assert "child.epochs: 9, not 1" in err
    assert list(bucket.list_all("")) == before

    assert rlnas("delete", "tiny", "--yes")[0] == 0
    assert list_searches(bucket) == []
    assert rlnas("status", "tiny")[0] == 2


def test_delete_finishes_an_interrupted_deletion(rlnas: Any, bucket: Bucket) -> None:
    spec = parse_spec(DIGITS)
    ledger = open_search(bucket, spec.name, spec)
    late = ledger.key("results/000000-000.json")
    bucket.put(late, b"{}")

    class Killed(Exception):
        pass

    def kill(keys: Any) -> None:
        raise Killed

    bucket.delete = kill  # type: ignore[method-assign]
    with pytest.raises(Killed):
        delete_search(ledger)
    del bucket.delete
    status, _, err = rlnas("status", "tiny")
    assert status == 1
    assert err == "rlnas: search tiny is being deleted; `rlnas delete tiny` brings that to its end\n"
    status, out, err = rlnas("delete", "tiny", "--yes")
    assert (status, err) == (0, "")
    assert "search tiny is deleted" in out
    assert list(bucket.list_all("searches/tiny/")) == []
    assert open_search(bucket, spec.name, spec).record.incarnation != ledger.record.incarnation, "the name is free"


def test_a_report_is_a_page_that_compares_with_the_control(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    ledger = run_steps(bucket.settings, make_spec())
    run_steps(bucket.settings, control_of(ledger.spec))
    status, out, _ = rlnas("report", ledger.name)
    assert status == 0
    assert f".rlnas/reports/{ledger.name}.html" in out
    assert f"next: rlnas show {ledger.name}" in out
    page = (tmp_path / ".rlnas" / "reports" / f"{ledger.name}.html").read_text()
    assert "control random" in page
    status, out, _ = rlnas("report", f"{ledger.name}-control", "-o", "here.html")
    assert "itself a control: random" in (tmp_path / "here.html").read_text()
    (tmp_path / "file").write_text("")
    status, _, err = rlnas("report", ledger.name, "-o", "file/page.html")
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot be written" in err


def test_a_search_as_a_table_and_as_events(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("tensorboard")
    name = run_steps(bucket.settings, make_spec()).name
    status, out, _ = rlnas("export-table", name, "out/table.csv")
    assert status == 0
    assert "out/table.csv, 4 children" in out
    assert len((tmp_path / "out" / "table.csv").read_text().splitlines()) == 5
    status, out, _ = rlnas("tensorboard", name, "events")
    assert status == 0
    assert "next: tensorboard --logdir events" in out
    status, _, err = rlnas("tensorboard", name, "events")
    assert (status, err.count("\n")) == (2, 1)
    (tmp_path / "file").write_text("")
    status, _, err = rlnas("export-table", name, "file/table.csv")
    assert (status, err.count("\n")) == (2, 1)


def test_an_exported_winner_is_registered_where_a_registry_is_named(
    rlnas: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = run_steps(bucket.settings, make_spec("cnn", finalize={})).name
    status, _, err = rlnas("register", name)
    assert (status, err) == (
        2,
        "rlnas: RLNAS_MODEL_REGISTRY is not set: where is the model registry?; allowed: an http(s) URL\n",
    )
    with running() as registry:
        monkeypatch.setenv("RLNAS_MODEL_REGISTRY", registry.address)
        status, _, err = rlnas("register", name)
        assert (status, err.count("\n")) == (2, 1)
        assert "is not exported; `rlnas export" in err
        assert rlnas("export", name, "--to", "model")[0] == 0
        status, out, _ = rlnas("register", name)
    assert status == 0
    assert f"of model {name} is registered at {registry.address}" in out
    assert [len(kept) for kept in registry.kept.values()] == [1, 1, 1]


def test_a_control_of_another_seed_is_a_search_of_its_own(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    spec = make_spec(loop={"children": 2, "children_per_round": 1})
    path = write(tmp_path, spec.model_dump(mode="json"))
    status, out, _ = rlnas("run", path, "--rounds", "1", "--seed", "5", "--control")
    assert status == 0
    assert f"next: rlnas run {path} --seed 5 --control random  (continues" in out
    assert list_searches(bucket) == [f"{spec.name}-s5-control"]
    ledger = open_search(bucket, f"{spec.name}-s5-control", None)
    assert ledger.spec == control_of(with_seed(spec, 5))
    assert ledger.version().rounds == 1
    run_steps(bucket.settings, ledger.spec)  # the other round, without Kubeflow's runner
    status, out, _ = rlnas("run", path, "--seed", "5", "--control")
    assert status == 0
    assert f"next: rlnas report {spec.name} " in out


LATER = """
from typing import Literal
from pydantic import Field
from rlnas.datasets.digits import Digits

class Later(Digits):
    kind: Literal["later"] = "later"
    shown: Literal["once", "twice"] = Field("twice", json_schema_extra={"earlier": "once"})
"""


def test_a_control_is_of_its_search_as_that_began(
    rlnas: Any, bucket: Bucket, tmp_path: Path, install_plugin: Any
) -> None:
    """What the spec leaves open is as the search has it, or the two could not be compared."""
    install_plugin(LATER, {"rlnas.datasets": {"later": "Later"}})
    document = changed(dataset={"kind": "later"}, loop={"children": 2, "children_per_round": 2})
    key, ledger = "searches/tiny/search.json", open_search(bucket, "tiny", parse_spec(document))
    bucket.put(key, bucket.get(key).data.replace(b',"shown":"twice"', b""))
    assert open_search(bucket, "tiny", parse_spec(document)).spec.dataset.shown == "once"
    path = write(tmp_path, document)
    assert rlnas("run", path, "--control")[::2] == (0, "")
    assert open_search(bucket, "tiny-control", None).spec.dataset.shown == "once"
    delete_search(ledger)
    assert rlnas("run", path, "--control")[::2] == (0, ""), "the control's own spec, with or without the search"


def test_what_a_search_sees_of_its_data_is_said_first(
    rlnas: Any, bucket: Bucket, tmp_path: Path, install_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `validate`, and by `run` before all else; `validate` refuses what an open would."""
    watched.install(install_plugin)
    folder = watched.make_folder(tmp_path / "data")
    spec = watched.watched_spec(folder, child={"epochs": 1}, loop={"children": 2})
    path = write(tmp_path, spec.model_dump(mode="json"))
    said = ["3 files", "warning: the smallest class has 1 image"]
    status, out, _ = rlnas("validate", path)
    assert status == 0
    assert out.splitlines()[-3:-1] == said
    run_steps(bucket.settings, spec)
    status, out, _ = rlnas("run", path)
    assert status == 0
    assert out.splitlines()[:2] == said
    (folder / "train/cat.txt").write_text("another")
    status, out, err = rlnas("run", path)
    assert (status, out) == (2, "")
    assert err.startswith(f"rlnas: dataset: train/cat.txt of {folder} changed since search {spec.name} began; allowed:")
    (folder / "test/cat.txt").unlink()
    status, out, err = rlnas("validate", path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "test is empty" in err


def test_a_search_without_a_scored_child_says_why(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    loop = {"children": 2, "children_per_round": 2}
    spec = parse_spec(changed(child={**DIGITS["child"], "learning_rate": 1e30}, loop=loop, finalize={}))
    path = write(tmp_path, spec.model_dump(mode="json"))
    for arguments in (("run", path), ("leaderboard", "tiny")):
        status, out, err = rlnas(*arguments)
        assert (status, err) == (0, "")
        assert "no child was scored; the first: failed: not_finite: loss" in out
        assert "next: rlnas report tiny " in out
        assert "now the winner" not in out


def test_without_a_store_there_is_no_search_and_none_is_begun(
    rlnas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RLNAS_STORE_ENDPOINT")
    for arguments in (("show", "tiny"), ("list",), ("status", "tiny"), ("report", "tiny")):
        status, _, err = rlnas(*arguments)
        assert status == 2
        assert err.startswith(f"rlnas: {tmp_path}/.rlnas holds no store, so there is no search; allowed: the folder in")
    assert not (tmp_path / ".rlnas").exists()


def test_kubeflow_that_is_down_does_not_hide_the_search(rlnas: Any, bucket: Bucket) -> None:
    name = run_steps(bucket.settings, make_spec()).name
    status, out, _ = rlnas("status", name, "--endpoint", "http://127.0.0.1:9")
    assert status == 0
    assert "4 of 4 done" in out
    assert "cannot be reached" in " ".join(out.split())
    found = json.loads(rlnas("status", name, "--endpoint", "http://127.0.0.1:9", "--json")[1])
    assert (found["children"], found["run"]) == (4, None)
    assert "cannot be reached" in found["run_error"]


def test_next_commands_can_be_typed_whatever_the_path(rlnas: Any, tmp_path: Path) -> None:
    (tmp_path / "my specs").mkdir()
    write(tmp_path / "my specs", DIGITS)
    assert "next: rlnas run 'my specs/spec.yaml'  (" in rlnas("validate", "my specs/spec.yaml")[1]


def test_a_page_goes_into_a_page(rlnas: Any, bucket: Bucket) -> None:
    name = run_steps(bucket.settings, make_spec()).name
    assert rlnas("report", name, "-o", "x.pdf")[::2] == (2, "rlnas: x.pdf: a report is a page; allowed: .html\n")


def test_words_of_others_are_printed_as_they_are(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    """Brackets are no markup, colons no emoji."""
    spec = make_spec()
    ledger = open_search(bucket, spec.name, spec)
    sample_architecture(ledger)
    detail = "loss in [nan, 0.5] at [/data/x] :x:"
    ledger.create_result("000000-000", Result(status="failed", reward=0.0, reason="error", detail=detail))
    status, out, err = rlnas("show", spec.name, "0-0")
    assert (status, err) == (0, "")
    assert f"- failed: error: {detail}\n" in out
    (tmp_path / "[bold] [/x]").mkdir(parents=True)
    path = "[bold] [/x]/spec.yaml"
    (tmp_path / path).write_text(yaml.safe_dump(DIGITS))
    status, out, err = rlnas("validate", path)
    assert (status, err) == (0, "")
    assert f"{path} is valid" in out
    assert f"next: rlnas run '{path}'  (" in out


def test_commands_that_read_say_what_to_do_in_an_empty_store(rlnas: Any) -> None:
    status, out, _ = rlnas("list")
    assert status == 0
    assert "next: rlnas run SPEC" in out
    assert rlnas("leaderboard", "none")[0] == 2


def test_a_search_that_cannot_be_read_is_a_row(rlnas: Any, bucket: Bucket) -> None:
    """It hides none of the others."""
    spec = make_spec()
    open_search(bucket, spec.name, spec)
    bucket.put("searches/odd/search.json", b'{"schema_version":9}')
    bucket.put("searches/torn/search.json", b'{"schema_version":1,')
    status, out, err = rlnas("list")
    assert (status, err) == (0, "")
    for word in (spec.name, "odd", "torn", "unreadable: "):
        assert word in out
    found = {row["name"]: row.get("unreadable", "") for row in json.loads(rlnas("list", "--json")[1])}
    assert found[spec.name] == ""
    assert "a newer version of rlnas wrote it" in found["odd"]
    assert "searches/torn/search.json" in found["torn"]


def test_leaderboard_reads_the_newest_version_only(
    rlnas: Any, bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    ledger = open_search(bucket, spec.name, spec)
    ledger.head()
    monkeypatch.setenv("RLNAS_STORE_ENDPOINT", proxy.endpoint)
    status, out, _ = rlnas("leaderboard", spec.name)
    assert status == 0
    assert "0 of 4 children" in out
    folders = [path.removeprefix(f"/{bucket.settings.bucket}/").partition("/")[0] for _, path in proxy.seen]
    assert set(folders) == {"searches", "probe", ""}
    assert folders.count("") == 1, "one listing, which says which version is the newest; listings have no folder here"


def test_the_store_commands(rlnas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLNAS_STORE_ENDPOINT")
    assert json.loads(rlnas("store", "status", "--json")[1])["running"] is False
    try:
        assert rlnas("store", "start")[0] == rlnas("store", "stop")[0] == 0
        assert rlnas("list")[0] == 0, "a command that needs a store that is there starts it"
        now = json.loads(rlnas("store", "status", "--json")[1])
        assert now["running"]
        assert now["endpoint"].startswith("127.0.0.1:")
    finally:
        assert rlnas("store", "stop")[0] == 0
    assert json.loads(rlnas("store", "status", "--json")[1])["running"] is False


def test_a_file_is_put_into_the_store_and_read_from_there(
    rlnas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into the embedded store, which `validate` starts only if the data lie there."""
    monkeypatch.delenv("RLNAS_STORE_ENDPOINT")
    npz(tmp_path)
    spec = write(tmp_path, changed(dataset={"kind": "npz", "path": "store:data/mine.npz", "classes": 4}))
    try:
        status, out, err = rlnas("validate", spec)
        assert (status, out) == (2, "")
        assert "rlnas store put FILE data/mine.npz" in err
        assert rlnas("store", "stop")[0] == 0
        status, out, err = rlnas("store", "put", "data.npz", "data/mine.npz")
        assert (status, err) == (0, "")
        assert "store:data/mine.npz" in out
        assert rlnas("validate", spec)[0] == 0
    finally:
        assert rlnas("store", "stop")[0] == 0


def test_what_cannot_be_put_into_the_store_is_one_line(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    for arguments, words in {
        ("nowhere.npz", "data/x.npz"): "nowhere.npz: No such file or directory",
        (str(tmp_path), "data/x.npz"): f"{tmp_path}: Is a directory",
        ("file", "searches/tiny/search.json"): "store:searches/tiny/search.json: no data can lie there; allowed: ",
        ("file", ""): "store:: no data can lie there; allowed: ",
        ("file", "a/../b"): "store:a/../b: no data can lie there; allowed: ",
    }.items():
        status, out, err = rlnas("store", "put", *arguments)
        assert (status, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert err.startswith(f"rlnas: {words}")
    assert list(bucket.list_all("")) == []


def test_an_environment_that_names_half_a_store_is_one_line(rlnas: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLNAS_STORE_SECRET_KEY")
    status, _, err = rlnas("list")
    assert status == 2
    assert "RLNAS_STORE_SECRET_KEY" in err


def test_compile_writes_the_packages(rlnas: Any, tmp_path: Path) -> None:
    status, out, _ = rlnas("compile", "packages")
    assert status == 0
    assert (tmp_path / "packages" / "search.yaml").exists()
    assert "kfp run create" in out
    status, out, err = rlnas("compile", "/proc/packages")
    assert (status, out, err) == (2, "", "rlnas: /proc/packages: No such file or directory\n")


def test_settings_hide_their_keys(bucket: Bucket) -> None:
    assert bucket.settings.secret_key not in repr(replace(bucket.settings))


COMMANDS = """
import sys
from rlnas.cli import main
for command in sys.argv[1].split(","):
    sys.argv = ["rlnas", *command.split()]
    try:
        main()
    except SystemExit as ended:
        print("ended with", ended.code or 0)
"""


@pytest.mark.parametrize(
    ("encoding", "sign"),
    [({"LC_ALL": "C", "PYTHONUTF8": "0"}, "3x3"), ({"PYTHONIOENCODING": "latin-1"}, "3×3"), ({}, "3×3")],
)
def test_output_is_readable_whatever_the_locale(
    rlnas: Any, bucket: Bucket, tmp_path: Path, encoding: dict[str, str], sign: str
) -> None:
    """Characters that the terminal lacks are replaced; files are UTF-8 whatever the locale."""
    (tmp_path / "größer").mkdir()
    spec = make_spec("cnn", space={"filter_heights": [3], "filter_widths": [3]})
    ledger = run_steps(bucket.settings, spec)
    path = tmp_path / "größer" / "spec.yaml"
    path.write_text("# größer → kleiner\n" + yaml.safe_dump(spec.model_dump(mode="json")), encoding="utf-8")
    commands = ",".join(
        [
            "validate spec.yaml,compile packages,run --rounds 1 spec.yaml,list,show nobody,validate größer.yaml",
            *(f"{command} {ledger.name}" for command in ("status", "leaderboard", "show", "report -o a.html")),
        ]
    )
    quiet = {
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONWARNDEFAULTENCODING": "1",
        "PYTHONWARNINGS": "error::EncodingWarning:rlnas",
    }
    ended = subprocess.run(
        [sys.executable, "-c", COMMANDS, commands],
        cwd=path.parent,
        env=os.environ | encoding | quiet | {"COLUMNS": "100"},
        capture_output=True,
    )
    coding = "latin-1" if "PYTHONIOENCODING" in encoding else "utf-8"
    out, err = ended.stdout.decode(coding), ended.stderr.decode(coding)
    assert re.findall("ended with (.)", out) == list("0000220000"), err
    assert "Traceback" not in out + err
    assert sign in out
    assert "3×3" in (path.parent / "a.html").read_text("utf-8")


@pytest.mark.parametrize("width", [40, 60])
def test_narrow_terminals_get_whole_numbers(
    rlnas: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    ledger = run_steps(bucket.settings, make_spec("cnn"))
    leaders = ledger.version().leaders
    monkeypatch.setattr(common.console, "width", width)
    shown = {}
    for command in (("list",), ("status", ledger.name), ("leaderboard", ledger.name), ("show", ledger.name)):
        status, shown[command[0]], _ = rlnas(*command)
        assert status == 0
        for line in shown[command[0]].splitlines():
            assert len(line) <= width or line.startswith("next: "), line
    for leader in leaders:
        for whole in (leader.child, f"{leader.reward:.4f}", f"{leader.metrics['accuracy']:.4g}"):
            assert re.search(rf"(?<![\w.]){re.escape(whole)}(?![\w.])", shown["leaderboard"]), whole
    for command in ("list", "status"):
        assert f"{leaders[0].reward:.4f}" in shown[command]
    for word in ("search", "children", "best reward", "4/4", "complete"):
        assert word in shown["list"]


def test_a_wide_terminal_gets_a_table(rlnas: Any, bucket: Bucket) -> None:
    ledger = run_steps(bucket.settings, make_spec("cnn"))
    (line,) = [line for line in rlnas("leaderboard", ledger.name)[1].splitlines() if re.match(r"\W+ 1 ", line)]
    leader = ledger.version().leaders[0]
    for whole in (leader.child, f"{leader.reward:.4f}", f"{leader.metrics['accuracy']:.4g}"):
        assert whole in line


def test_a_search_begins_with_an_earlier_one_through_the_pipeline(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    before = run_steps(bucket.settings, make_spec())
    document = before.spec.document | {"controller": {"kind": "guided", "hidden": 8, "samples": 8}}
    document |= {
        "name": "after",
        "loop": {"children": 2, "children_per_round": 2},
        "warm_start": {"search": before.name},
    }
    path, begun = write(tmp_path, document), f"4 children of search {before.name} and its controller, version 2"
    status, out, err = rlnas("validate", path)
    assert (status, err) == (0, "")
    assert f"it begins with {begun}" in " ".join(out.split())
    assert list_searches(bucket) == [before.name], "nothing is begun"
    status, out, err = rlnas("run", path)
    assert (status, err) == (0, "")
    assert f"search after begins with {begun}" in out
    delete_search(before)
    assert begun in " ".join(rlnas("status", "after")[1].split())
    assert json.loads(rlnas("status", "after", "--json")[1])["warm_start"]["search"] == before.name
    status, _, err = rlnas("validate", write(tmp_path, document | {"name": "late"}))
    assert (status, err) == (
        2,
        f"rlnas: warm_start.search: no search {before.name!r} in the store; `rlnas list` shows what there is\n",
    )
