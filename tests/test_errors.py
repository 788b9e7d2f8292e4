"""Errors as a person sees them: one printable line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlnas import errors
from rlnas.errors import Unforeseen, keep_secret, one_line, unforeseen_line, unforeseen_traceback


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("as it is, ü", "as it is, ü"),
        ("two\nlines\tand a tab ", "two lines and a tab"),
        ("a\0b\x1b[31m", r"a\x00b\x1b[31m"),
        ("half of \ud800", r"half of \ud800"),
    ],
)
def test_one_line(text, line):
    assert one_line(ValueError(text)) == line
    line.encode()


def test_a_long_line_keeps_both_ends():
    line = one_line("path: " + "x" * 5000 + "; allowed: less")
    assert len(line) < 820
    assert line.startswith("path: xxx")
    assert line.endswith("xxx; allowed: less")


@given(st.sampled_from([ValueError, KeyError, OSError, RuntimeError, Warning, MemoryError, SystemError]), st.text())
def test_what_nobody_foresaw_is_one_line_with_its_own_words(kind, words):
    line = unforeseen_line(kind(words))
    assert line.startswith(kind.__name__)
    assert line.isprintable()
    assert one_line(kind(words)) in line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AssertionError(), "AssertionError"),
        (OSError(2, "No such file or directory", "/x"), "FileNotFoundError: [Errno 2] No such file or directory: '/x'"),
        (ExceptionGroup("all", [ValueError("one"), ValueError("two")]), "ExceptionGroup: all (2 sub-exceptions)"),
        (Unforeseen("child 000000-000: KeyError: 'x'"), "child 000000-000: KeyError: 'x'"),
        (OSError(28, "No space left on device", "/a/b"), "OSError: [Errno 28] No space left on device: '/a/b'"),
    ],
)
def test_unforeseen_line(error, line):
    assert unforeseen_line(error) == line


def test_a_full_disk_is_named_where_the_error_does_not(monkeypatch, tmp_path):
    """As of a library that says of it in words of its own only."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(errors, "SCARCE", 2**63)  # any disk is scarce then: the fullest is named
    try:
        try:
            with open("/dev/full", "w") as full:
                full.write("x")
        except OSError as error:
            raise RuntimeError("cannot save") from error
    except RuntimeError as error:
        line = unforeseen_line(error)
    assert line.startswith("RuntimeError: cannot save; the least room is in /")
    assert line.endswith(" MB are free")
    assert unforeseen_line(RuntimeError("something else")) == "RuntimeError: something else"


def test_no_secret_is_told(monkeypatch):
    monkeypatch.setattr(errors, "_secrets", set())
    keep_secret("planted-secret", None, "", "short")
    signed = "http://store/b/k?X-Amz-Credential=AKIA%2F2026&X-Amz-Signature=0123abcd&list-type=2"
    text = f"key planted-secret of short at {signed} through http://me:password@proxy:3128/x"
    expected = (
        "key *** of short at http://store/b/k?X-Amz-Credential=***&X-Amz-Signature=***&list-type=2"
        " through http://***@proxy:3128/x"
    )
    assert one_line(text) == expected
    secret = "-".join(("planted", "secret"))  # a traceback holds the lines of the source
    with pytest.raises(ValueError, match="key") as caught:
        raise ValueError(text) from KeyError(secret)
    assert unforeseen_line(caught.value) == f"ValueError: {expected}"
    trace = unforeseen_traceback(caught.value)
    assert expected in trace
    assert secret not in trace
