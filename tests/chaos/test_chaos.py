"""Plans pass, and they find faults that are planted."""

import pytest

from chaos.__main__ import play_all
from chaos.mutants import MUTANTS
from chaos.plans import draw

OVERLAPPING = range(100, 130)
"""Plans until a fault is found: nearly each one finds those of overlapping processes."""


def test_equal_seeds_give_equal_plans() -> None:
    assert [draw(seed) for seed in range(5)] == [draw(seed) for seed in range(5)]
    assert draw(0) != draw(1)


@pytest.mark.slow
def test_plans_pass() -> None:
    played = list(play_all(range(4), lanes=2))
    assert len(played) == 4
    assert [line for of in played for line in of.violations] == []


@pytest.mark.slow
@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_planted_fault_is_found(mutant: str) -> None:
    assert any(played.violations for played in play_all(OVERLAPPING, lanes=2, mutant=mutant))
