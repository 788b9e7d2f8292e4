"""How sure a curve is, and whether a search beats a control: the bootstrap (Efron 1979), with a fixed seed.

One search each says something of these two searches only: what is compared is the mean reward of the best quarter of
their children. (The single best child would be the wrong number: resampling says nothing true of a maximum, whereas
for the quarter two searches that do not differ are told apart in 3 to 4% of cases, from 16 children on.) Several
searches each, with different seeds, say something of the method: then the best rewards that they found are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SEED = 0
RESAMPLES = 2000
LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2  # beyond each end of an interval
TOP = 0.25  # of the children are compared
STRETCH = 25  # consecutive children that count as drawn alike
MIN_CHILDREN = 16  # of each side, before anything is said
MIN_SEEDS = 4  # of each side; with 3, chance alone separates the two completely in 5% of cases


@dataclass(frozen=True)
class Difference:
    """Search minus control, in units of reward.

    Args:
        value: the difference.
        low, high: its 95% interval.
        of: what was compared: `children` (the best quarter of one search each) or `seeds` (the best of each search).
        count: children, or seeds, of each side.
    """

    value: float
    low: float
    high: float
    of: str
    count: int


def best_so_far(rewards: Floats) -> Floats:
    """Return the best of the first 1, 2, … rewards; NaN where there is none yet."""
    best = np.maximum.accumulate(np.where(np.isnan(rewards), -np.inf, rewards))
    return np.where(np.isfinite(best), best, np.nan)


def best_so_far_interval(rewards: Floats, at: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the interval of one search's best so far: each reward is drawn anew from its stretch of children.

    Args:
        rewards: of N children in order; NaN counts for nothing.
        at: P numbers of children, ascending, the last at most N.

    Returns:
        The lower and the upper end, [P] each; NaN where no reward was drawn in every resample.
    """
    generator = np.random.default_rng(SEED)
    known = np.where(np.isnan(rewards), -np.inf, rewards)
    starts = np.arange(len(known)) // STRETCH * STRETCH
    ends = np.minimum(starts + STRETCH, len(known))
    blocks = np.concatenate([[0], np.asarray(at)[:-1]])
    curves = [
        np.maximum.accumulate(np.maximum.reduceat(known[generator.integers(starts, ends)][: at[-1]], blocks))
        for _ in range(RESAMPLES // 4)
    ]
    return _interval(np.array(curves))


def mean_interval(curves: Floats) -> tuple[Floats, Floats]:
    """Return the interval of the mean of S searches' curves [S, P], the searches drawn anew."""
    generator = np.random.default_rng(SEED)
    drawn = curves[generator.integers(0, len(curves), (RESAMPLES, len(curves)))].mean(1)
    return _interval(drawn, _tail(len(curves)))


def difference(search: Sequence[Floats], control: Sequence[Floats]) -> Difference | None:
    """Compare a search with a control, both with the rewards of one or more seeds.

    Rewards beyond an equal number of children are left out. With fewer than `MIN_SEEDS` seeds on a side, children are
    compared, those of all seeds together.

    Returns:
        The difference; None if there are too few children to say anything.
    """
    children = min((len(rewards) for rewards in (*search, *control)), default=0)
    sides = [[rewards[:children] for rewards in side] for side in (search, control)]
    if min(len(side) for side in sides) >= MIN_SEEDS:
        best = [np.array([np.nanmax(rewards) for rewards in side if not np.isnan(rewards).all()]) for side in sides]
        if min(len(side) for side in best) >= MIN_SEEDS:
            return _difference(best[0], best[1], "seeds")
    pooled = [np.concatenate(side) if side else np.array([]) for side in sides]
    pooled = [rewards[~np.isnan(rewards)] for rewards in pooled]
    if min(len(rewards) for rewards in pooled) < MIN_CHILDREN:
        return None
    return _difference(pooled[0], pooled[1], "children")


def _difference(one: Floats, other: Floats, of: str) -> Difference:
    generator = np.random.default_rng(SEED)
    statistic = np.mean if of == "seeds" else top_mean
    # One resample at a time: 2,000 of 12,800 children at once would take 200 MB.
    drawn = [
        statistic(one[generator.integers(0, len(one), len(one))])
        - statistic(other[generator.integers(0, len(other), len(other))])
        for _ in range(RESAMPLES)
    ]
    count = min(len(one), len(other))
    low, high = _interval(np.array(drawn), _tail(count) if of == "seeds" else _TAIL)
    return Difference(float(statistic(one) - statistic(other)), float(low), float(high), of, count)


def top_mean(rewards: Floats) -> float:
    """Return the mean of the best quarter, at least one."""
    count = max(1, round(len(rewards) * TOP))
    return float(np.partition(rewards, -count)[-count:].mean())


def _tail(samples: int) -> float:
    """What to cut off at each end so that the percentile interval of few samples is as wide as Student's: with n, the
    bootstrap's own is too narrow by sqrt((n − 1) / n) and by z for t ("expanded percentile interval", Hesterberg 2015).
    """
    from scipy.stats import norm, t

    if samples < 2:
        return 0.0
    return float(norm.cdf(-np.sqrt(samples / (samples - 1)) * t.ppf((1 + LEVEL) / 2, samples - 1)))


def _interval(drawn: Floats, tail: float = _TAIL) -> tuple[Floats, Floats]:
    finite = np.where(np.isfinite(drawn), drawn, np.nan)
    low, high = np.quantile(finite, [tail, 1 - tail], axis=0)
    return low, high
