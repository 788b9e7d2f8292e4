"""What a run takes, counted in the compiled package and by the formula that the documentation gives."""

from typing import Any

import pytest
from packages import count_pods

from pipelines.search import ROUNDS_PER_RUN
from pipelines.size import MOST_PODS, pods_of_run, rounds_that_fit


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("batches", [1, 2, 8])
@pytest.mark.parametrize("turns", [1, 10])
def test_a_run_takes_as_many_pods_as_the_formula_says(
    package: dict[str, Any], batches: int, turns: int, replicas: int
) -> None:
    items = {
        "open-search": replicas,
        "plan-rounds": turns,
        "sample-architecture": batches,
        "plan-grid": turns,
        "plan-retraining": batches,
    }
    pods = 1 + count_pods(package, package["root"]["dag"], items)
    if "exec-plan-rounds" in package["deploymentSpec"]["executors"]:
        assert pods == pods_of_run(turns * replicas, batches, replicas=replicas) + 4, "4 for the test and the export"
    else:
        assert pods == 11 + 5 * turns + 3 * batches


def test_the_documented_figures() -> None:
    assert pods_of_run(10, 8) == 13 + 10 * (6 + 5 * 8)
    assert pods_of_run(1, 1, winner=2) - pods_of_run(1, 1) == 26, "one winner without a grid"
    # With a grid of a batch and a last training of another, which both take a turn of the loop like any round.
    assert pods_of_run(3, 1, winner=2) == pods_of_run(5, 1) + 4
    # The second replica has as many turns, and nothing to do in the winner's.
    assert pods_of_run(6, 1, winner=2, replicas=2) == pods_of_run(10, 1, replicas=2) + 4


def test_the_default_fits_with_a_winner_even_where_each_child_has_a_pod() -> None:
    assert ROUNDS_PER_RUN == 5
    assert pods_of_run(ROUNDS_PER_RUN, 8, winner=2) <= MOST_PODS < pods_of_run(ROUNDS_PER_RUN + 1, 8, winner=2)


@pytest.mark.parametrize(("batches", "replicas", "most"), [(1, 1, 23), (2, 1, 16), (8, 2, 4), (100, 1, 1)])
def test_rounds_that_fit(batches: int, replicas: int, most: int) -> None:
    assert rounds_that_fit(batches, replicas=replicas) == most
