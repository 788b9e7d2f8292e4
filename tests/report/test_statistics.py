"""Intervals against known cases, and claims that must not be made."""

import numpy as np
import pytest

from rlnas.report import statistics
from rlnas.report.statistics import best_so_far, best_so_far_interval, difference, mean_interval, top_mean

NAN = np.nan


def normal(seed: int, size: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, size)


def test_best_so_far_passes_over_children_without_a_score() -> None:
    best = best_so_far(np.array([NAN, 0.2, 0.1, NAN, 0.5]))
    np.testing.assert_array_equal(best, [NAN, 0.2, 0.2, 0.2, 0.5])


def test_the_interval_of_the_best_so_far_of_equal_rewards_has_no_width() -> None:
    low, high = best_so_far_interval(np.full(60, 0.7), [1, 30, 60])
    assert low.tolist() == high.tolist() == [0.7, 0.7, 0.7]


def test_the_interval_of_the_best_so_far_ends_at_the_best_and_holds_the_curve() -> None:
    rewards = normal(0, 100)
    at = list(range(1, 101))
    low, high = best_so_far_interval(rewards, at)
    assert high[-1] == rewards.max()
    assert (low <= high).all()
    assert (low[5:] <= best_so_far(rewards)[5:]).all()
    assert (np.diff(low) >= 0).all()


def test_the_mean_of_few_seeds_has_the_width_of_students_interval() -> None:
    from scipy.stats import t

    seeds = normal(1, 12)
    low, high = mean_interval(seeds[:, None])
    half = t.ppf(0.975, 11) * seeds.std(ddof=1) / np.sqrt(12)
    assert high[0] - low[0] == pytest.approx(2 * half, rel=0.12)


def test_the_top_quarter() -> None:
    assert top_mean(np.array([1.0, 8.0, 3.0, 4.0, 5.0, 6.0, 7.0, 2.0])) == 7.5
    assert top_mean(np.array([3.0])) == 3.0


def test_a_clear_difference_of_children_is_shown_and_its_sign_turns_with_the_sides() -> None:
    better, worse = normal(2, 64, mean=2.0), normal(3, 64)
    found = difference([better], [worse])
    assert found is not None
    assert found.of == "children"
    assert found.low > 0
    assert found.low < found.value < found.high
    turned = difference([worse], [better])
    assert turned is not None
    assert turned.high < 0


def test_the_same_children_show_no_difference() -> None:
    found = difference([normal(4, 64)], [normal(4, 64)])
    assert found is not None
    assert found.value == 0
    assert found.low < 0 < found.high


@pytest.mark.parametrize("seeds", [1, 4])
def test_claims_are_false_in_few_of_the_worlds_without_a_difference(
    seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    draw = np.random.default_rng(5)
    claims = 0
    for _ in range(200):
        search, control = ([draw.normal(size=32) for _ in range(seeds)] for _ in range(2))
        found = difference(search, control)
        assert found is not None
        claims += found.low > 0
    assert claims <= 0.07 * 200


def test_only_an_equal_number_of_children_is_compared() -> None:
    late = np.concatenate([normal(6, 32), normal(7, 32, mean=9.0)])
    found, cut = difference([late], [normal(8, 32)]), difference([late[:32]], [normal(8, 32)])
    assert found == cut


def test_four_seeds_a_side_are_compared_by_their_best_and_three_by_their_children() -> None:
    search = [normal(10 + seed, 32, mean=3.0) for seed in range(4)]
    control = [normal(20 + seed, 32) for seed in range(4)]
    found = difference(search, control)
    assert found is not None
    assert (found.of, found.count) == ("seeds", 4)
    assert found.value == pytest.approx(np.mean([s.max() for s in search]) - np.mean([c.max() for c in control]))
    assert found.low > 0
    fewer = difference(search[:3], control)
    assert fewer is not None
    assert fewer.of == "children"


def test_nothing_is_said_of_too_few_children() -> None:
    assert difference([normal(0, 15)], [normal(1, 64)]) is None
    assert difference([normal(0, 64)], [np.full(64, NAN)]) is None
    assert difference([], [normal(1, 64)]) is None
