"""Errors as a person sees them: one printable line."""

import pytest

from rlnas.errors import one_line


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
