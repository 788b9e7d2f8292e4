"""What children that were stopped would have come to, so that they can be compared with those that went on.

A score after one epoch and a reward after twelve are not of one measure. But the children that went on have both.
"""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from rlnas.controller.searchers import Trial

Line = tuple[float, float]
"""Offset and slope."""


def whole_rewards(history: Sequence[Trial]) -> list[float | None]:
    """Return each child's reward; of a stopped one, that which is expected of a whole training.

    From each rung to the next, and from the last to the reward, it is read off a straight line through the scores of
    the children that have both. Which children went on was decided by the score that the line reads from, so that
    leaving out the others does not tilt it.

    Args:
        history: children of one search.
    """
    rungs = sorted({rung for trial in history for rung in trial.rungs})
    lines = {
        rung: _line([(t.rungs[rung], end) for t in history if rung in t.rungs and (end := _at(t, after)) is not None])
        for rung, after in zip_longest(rungs, rungs[1:])
    }
    return [_expected(trial, lines) for trial in history]


def _at(trial: Trial, rung: int | None) -> float | None:
    """The score at a rung, or the reward of a whole training."""
    if rung is not None:
        return trial.rungs.get(rung)
    return trial.reward if trial.scored and not trial.stopped else None


def _line(points: Sequence[tuple[float, float]]) -> Line:
    """The line of least squares, never falling; through too few points, as steep as scores would be that stay."""
    if not points:
        return 0.0, 1.0
    x, y = np.array(points).T
    spread = ((x - x.mean()) ** 2).sum()
    slope = max(float(((x - x.mean()) * (y - y.mean())).sum() / spread), 0.0) if spread > 0 else 1.0
    return float(y.mean() - slope * x.mean()), slope


def _expected(trial: Trial, lines: dict[int, Line]) -> float | None:
    if trial.reward is None or not trial.stopped:
        return trial.reward
    value = trial.rungs[trial.stopped]  # its reward need not be of this measure
    for rung, (offset, slope) in lines.items():
        if rung >= trial.stopped:
            value = offset + slope * value
    return value
