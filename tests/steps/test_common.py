"""What all steps share."""

import subprocess
import sys

import pytest

from rlnas.errors import SearchDeleted, StoreError, UserError
from rlnas.state import StoreSettings
from rlnas.steps.common import Batch, connect, ledger_of, opener, reported_errors


def test_batch_travels_as_text():
    batch = Batch(12, (0, 3, 5))
    assert Batch.parse(str(batch)) == batch
    assert str(batch) == '{"round": 12, "children": [0, 3, 5]}'
    assert batch.names == ["000012-000", "000012-003", "000012-005"]
    assert Batch.parse(str(Batch(0, ()))).names == []


@pytest.mark.parametrize("text", ["", "[]", "3", '{"round": 1}', '{"round": "x", "children": []}', '{"children": 1}'])
def test_not_a_batch(text):
    with pytest.raises(UserError, match="is not a batch; allowed:") as caught:
        Batch.parse(text)
    assert "\n" not in str(caught.value)


def test_store_of_the_environment(bucket, make_ledger, monkeypatch):
    for name in StoreSettings("x", "y", "z").to_environment():
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"RLNAS_STORE_ENDPOINT is not set.*allowed: host:port"):
        connect()
    for name, value in bucket.settings.to_environment().items():
        monkeypatch.setenv(name, value)
    ledger = make_ledger()
    assert ledger_of(ledger.name).record == ledger.record


def test_opener(bucket, tmp_path):
    (tmp_path / "here").write_bytes(b"local")
    bucket.put("there", b"stored")
    open_file = opener(bucket)
    with open_file(str(tmp_path / "here")) as file:
        assert file.read() == b"local"
    with open_file("store:there") as file:
        assert file.read() == b"stored"
    with pytest.raises(UserError, match="there is no object nowhere in the store"):
        open_file("store:nowhere")


@pytest.mark.parametrize(("error", "status"), [(UserError, 2), (StoreError, 1), (SearchDeleted, 1)])
def test_errors_are_one_line(capsys, error, status):
    with pytest.raises(SystemExit) as caught, reported_errors():
        raise error("what is wrong")
    assert caught.value.code == status
    said, *more = capsys.readouterr().out.splitlines()
    assert said == "rlnas error: what is wrong"
    assert more == ([GO_ON] if status == 1 else []), "input that is wrong has to be mended first"


GO_ON = "what is finished is kept: `rlnas status NAME` says what is left, and how to go on"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            Warning("Image size (179560000 pixels)\nexceeds limit"),
            "Warning: Image size (179560000 pixels) exceeds limit",
        ),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (MemoryError("cannot allocate"), "MemoryError: cannot allocate"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_what_nobody_foresaw_is_one_line_behind_its_traceback(capsys, error, line):
    with pytest.raises(SystemExit) as caught, reported_errors():
        raise error
    assert caught.value.code == 1
    trace, _, said = capsys.readouterr().out.rpartition("rlnas error: ")
    assert trace.startswith("Traceback (most recent call last):\n")
    said, more = said.splitlines()
    assert said.startswith(line)
    assert more == GO_ON


def test_being_told_to_stop_is_no_error(capsys):
    for error in (KeyboardInterrupt, SystemExit):
        with pytest.raises(error), reported_errors():
            raise error
    assert capsys.readouterr().out == ""


def test_steps_import_without_torch():
    code = "import sys, rlnas.steps; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
