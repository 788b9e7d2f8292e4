"""Numbers and times as people read them."""

import pytest

from rlnas.report.numbers import compact, duration


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.98, "0.9800"), (0.00123456, "0.00123"), (48, "48"), (113.8, "113.80"), (29_830, "29.8k"), (968_000, "968k")],
)
def test_numbers_in_few_characters(value: float, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.345, "2.3 s"), (119.7, "2 min 0 s"), (3600, "1 h 0 min"), (12_528_000, "145 d 0 h")],
)
def test_times_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
