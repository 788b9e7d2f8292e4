import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlnas.cli.ending import one_line_endings
from rlnas.state import Bucket


def test_a_terminal_that_fails_while_a_command_is_stopped_is_no_bug(tmp_path, monkeypatch, capsys):
    """What rich drew cannot be taken away from a terminal that was closed; its complaint hides the stop."""
    monkeypatch.chdir(tmp_path)
    error = OSError(errno.EIO, "Input/output error")
    error.__context__ = KeyboardInterrupt()
    with pytest.raises(SystemExit) as ending, one_line_endings():
        raise error
    assert ending.value.code == 130
    assert capsys.readouterr().err == "rlnas: stopped\n"
    assert not (tmp_path / ".rlnas").exists()


def test_the_same_failure_of_a_disk_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ending, one_line_endings():
        raise OSError(errno.EIO, "Input/output error")
    assert ending.value.code == 1
    assert "Input/output error" in capsys.readouterr().err


@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(bucket: Bucket, tmp_path: Path, streams: str) -> None:
    ended = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m rlnas.cli list {streams}"],
        cwd=tmp_path,
        env=os.environ | bucket.settings.to_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
