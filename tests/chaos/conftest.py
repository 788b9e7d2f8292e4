"""Kinds that a plan makes known are forgotten after the test."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from rlnas.children import RECIPES, TRAINERS


@pytest.fixture(autouse=True)
def same_kinds() -> Iterator[None]:
    """Other tests of this process name the kinds that are there."""
    with patch.dict(RECIPES), patch.dict(TRAINERS):
        yield
