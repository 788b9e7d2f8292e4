"""Stopped children beside those that were trained to the end."""

import pytest

from rlnas.controller.searchers import Trial
from rlnas.controller.stopped import whole_rewards


def trial(*rungs: float, reward: float | None = None) -> Trial:
    """A child with scores after 1, 2, ... epochs; without a reward it was stopped at the last of them."""
    scores = dict(enumerate(rungs, 1))
    if reward is None:
        return Trial((), rungs[-1], scored=True, rungs=scores, stopped=len(rungs))
    return Trial((), reward, scored=True, rungs=scores)


def test_without_rungs_rewards_stay():
    lost, failed = Trial((), None, scored=False), Trial((), 0.0, scored=False)
    assert whole_rewards([lost, failed, Trial((), 0.4, scored=True)]) == [None, 0.0, 0.4]
    assert whole_rewards([]) == []


def test_a_stopped_child_has_what_children_of_its_score_came_to():
    history = [
        trial(0.2, 0.5, reward=0.8),
        trial(0.4, 0.7, reward=0.9),
        trial(0.3),  # at the second rung it would have 0.6, and 0.85 in the end
        trial(0.1, 0.4),  # which the line of the first rung goes through, too
    ]
    assert whole_rewards(history) == pytest.approx([0.8, 0.9, 0.85, 0.75])


def test_a_poor_child_of_the_first_round_is_not_above_a_better_one_that_was_stopped():
    first = [trial(0.1, 0.2, reward=0.3), trial(0.5, 0.6, reward=0.7)]
    poor, good, stopped = whole_rewards([*first, trial(0.4)])
    assert poor is not None
    assert good is not None
    assert stopped is not None
    assert poor < stopped < good


def test_what_a_rung_compares_need_not_be_of_the_rewards_measure():
    """A rung may compare losses, and the reward be an accuracy."""
    stopped = Trial((), 0.9, scored=True, rungs={1: 0.3}, stopped=1)
    assert whole_rewards([trial(0.2, reward=0.8), trial(0.4, reward=0.9), stopped])[-1] == pytest.approx(0.85)


def test_few_or_equal_scores_only_shift():
    assert whole_rewards([trial(0.3)]) == [0.3], "nothing is known of what comes"
    assert whole_rewards([trial(0.2, reward=0.6), trial(0.3)]) == pytest.approx([0.6, 0.7])
    assert whole_rewards([trial(0.2, reward=0.6), trial(0.2, reward=0.8), trial(0.3)])[-1] == pytest.approx(0.8)


def test_a_line_does_not_fall():
    history = [trial(0.2, reward=0.8), trial(0.4, reward=0.6), trial(0.1), trial(0.5)]
    assert whole_rewards(history)[2:] == pytest.approx([0.7, 0.7])


def test_a_child_that_failed_says_nothing_of_the_others():
    failed = Trial((), 0.0, scored=False, rungs={1: 0.9})
    assert whole_rewards([trial(0.2, reward=0.6), failed, trial(0.2)]) == pytest.approx([0.6, 0.0, 0.6])
