"""Plans pass, and they find faults that are planted."""

import pytest

from chaos.__main__ import play_all
from chaos.mutants import MUTANTS
from chaos.plans import Plan, draw

MOST = 8  # plans until a fault must be found; nearly each of these finds it


def overlapping() -> list[int]:
    """Seeds of plans where several processes have several updates and children to quarrel about."""

    def fits(plan: Plan) -> bool:
        loop = plan.spec.loop
        often = loop.children_per_round == loop.rounds_per_update == 1 and loop.rounds > 4
        stops = any(disturbance.what == "stop" for disturbance in plan.disturbances)
        return often and stops and loop.window > 2 and len(plan.workers) > 2 and plan.pause < 0.1

    return [seed for seed in range(2000) if fits(draw(seed))][:MOST]


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
    assert any(played.violations for played in play_all(overlapping(), lanes=2, mutant=mutant))
