import errno

import pytest

from rlnas.cli.ending import one_line_endings


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
