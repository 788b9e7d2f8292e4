"""What a search expects of architectures that it has not tried: a Gaussian process over what their space says of them.

It sees ranks, not rewards: normal scores, so that neither the reward's scale nor a few failures matter. The kernel is
the mean of exp(-d² / scale) over the choices, the counts and the logarithms of the sizes, each with a scale of its own,
plus a linear trend on the logarithms. Scales, trend and noise maximise the marginal likelihood.

It may also see the children of an earlier search, by their ranks there. The function that is sought is then taken for
the sum of what both searches share and of what is its own; how much is its own is chosen by the likelihood, too, and so
is the earlier children's own noise. So an earlier search that misleads is soon hardly listened to. Each search has a
level of its own, too: children that knowledge has chosen are good ones, though their ranks are spread as all ranks are.

Written with torch's Cholesky in float64 and not with scikit-learn: the library's kernels do not add rows to a factor,
which a round of several proposals needs, and importing it takes longer than all the proposals of a small search.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, repeat

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from rlnas.spaces import Features

MOST_POINTS = 1500
"""From here on a surrogate sees the best third of so many, the newest third, and a third spread evenly over the rest:
the cost of a proposal no longer grows with the search."""
MOST_FITTED = 400
"""Scales, trend and noise are chosen on so many points, thinned out in the same way."""


@dataclass(frozen=True)
class Scales:
    """Hyperparameters, in units of the kernel's variance.

    Args:
        choices: of the fraction of decisions that differ.
        counts, sizes: of the mean squared difference of standardised numbers.
        trend: variance of the slope of each standardised logarithm of a size.
        noise: variance of a score around the function that is sought.
        apart: variance of what is a search's own, in units of what it shares with the other.
        earlier_noise: variance of the scores of an earlier search.
        level: variance of the level of each search; 0: there is only one.
    """

    choices: float = 0.5
    counts: float = 2.0
    sizes: float = 2.0
    trend: float = 0.25
    noise: float = 0.1
    apart: float = 0.25
    earlier_noise: float = 0.1
    level: float = 0.0

    @classmethod
    def most_likely(cls, features: Sequence[Features], scores: Tensor, earlier: int = 0) -> "Scales":
        """Return those of the largest marginal likelihood on a grid, climbed one hyperparameter after another.

        No gradient is needed, and the way up is the same on every machine. Arguments as for `Surrogate`.
        """
        seen = _Code(features)(features, earlier)
        distances = seen.distances(seen)
        names = [*distances, *(["trend"] if "sizes" in distances else []), "noise"]
        if earlier:
            names += ["earlier_noise", *(["apart"] if len(features) > earlier + 1 else [])]
        known: dict[Scales, float] = {}

        def likelihood(scales: Scales) -> float:
            if scales not in known:
                covariance = seen.covariance(seen, scales, distances)
                known[scales] = _log_likelihood(seen.add_noise(covariance, scales), scores)
            return known[scales]

        best = cls(level=1.0 if earlier else 0.0)
        for _ in range(_SWEEPS):
            before = best
            for name in names:
                best = max([best, *best.neighbours(name)], key=likelihood)
            if best == before:
                break
        return best

    def neighbours(self, name: str) -> "list[Scales]":
        """Return it with one hyperparameter a step smaller and a step larger, within bounds."""
        low, high, step = _BOUNDS[name]
        value = getattr(self, name)
        return [replace(self, **{name: v}) for v in (value / step, value * step) if low <= v <= high]


_BOUNDS = {
    "choices": (0.06, 8.0, 2.0),
    "counts": (0.1, 64.0, 2.0),
    "sizes": (0.1, 64.0, 2.0),
    "trend": (0.001, 32.0, 4.0),
    "noise": (0.001, 3.0, 2.0),
    "apart": (0.01, 20.0, 4.0),
    "earlier_noise": (0.001, 30.0, 2.0),
}
_SWEEPS = 6


def normal_scores(rewards: Sequence[float]) -> Tensor:
    """Return the normal quantile [N] of each reward's rank; equal rewards get equal scores."""
    _, place, count = torch.unique(torch.tensor(rewards, dtype=torch.float64), return_inverse=True, return_counts=True)
    rank = count.cumsum(0) - (count - 1).double() / 2
    return torch.special.ndtri((rank - 0.5) / len(rewards))[place]


def thinned(rewards: Sequence[float], most: int) -> list[int]:
    """Choose which of N trials a surrogate sees.

    Args:
        rewards: of the trials, in order.
        most: so many; if there are more, a third are the best, a third the newest, the others spread evenly.

    Returns:
        Their positions, ascending.
    """
    count = len(rewards)
    if count <= most:
        return list(range(count))
    chosen = set(sorted(range(count), key=lambda i: (-rewards[i], -i))[: most // 3])
    newest = (i for i in reversed(range(count)) if i not in chosen)
    chosen |= {i for i, _ in zip(newest, range(most // 3), strict=False)}
    rest, free = [i for i in range(count) if i not in chosen], most - len(chosen)
    chosen |= {rest[k * len(rest) // free] for k in range(free)}
    return sorted(chosen)


class Surrogate:
    """A Gaussian process over features.

    Args:
        features: of N architectures that were tried.
        scores: of each [N], about standard normal.
        scales: its hyperparameters.
        earlier: the first so many are of an earlier search. Expectations and improvements are of the other.
    """

    def __init__(self, features: Sequence[Features], scores: Tensor, scales: Scales, earlier: int = 0) -> None:
        self._code = _Code(features)
        self._seen = self._code(features, earlier)
        self._scores = scores
        self.scales = scales
        self.pretended = 0
        covariance = self._seen.covariance(self._seen, self.scales)
        self._factor = torch.linalg.cholesky(self._seen.add_noise(covariance, self.scales))
        self._variance = _variance(self._whiten(scores[:, None]))
        # Not the best score: it owes something to luck, and next to nothing would be expected to exceed it. Before the
        # search has a child of its own, it is the most that is expected of one of the earlier ones.
        self._best = float(self.predict(features[earlier:] or features)[0].max())

    def predict(self, features: Sequence[Features]) -> tuple[Tensor, Tensor]:
        """Return the mean [M] and the standard deviation [M] of the scores of M architectures, noise left out."""
        code = self._code(features)
        across = self._whiten(self._seen.covariance(code, self.scales))
        mean = self._whiten(self._scores[:, None])[:, 0] @ across
        variance = code.variances(self.scales) - across.square().sum(0)
        return mean, (variance.clamp(min=1e-12) * self._variance).sqrt()

    def expected_improvement(self, features: Sequence[Features]) -> Tensor:
        """Return by how much [M] each of M architectures is expected to exceed what is expected of the best tried."""
        mean, deviation = self.predict(features)
        gain = mean - self._best
        z = gain / deviation
        return gain * torch.special.ndtr(z) + deviation * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)

    def pretend(self, features: Features, score: float | None = None) -> None:
        """Take an architecture for tried, so that the next of its round is another one.

        Args:
            features: of the architecture.
            score: that it is pretended to have; None: the expected one.
        """
        self.pretended += 1
        if score is None:
            score = float(self.predict([features])[0])
        wider = self._code.add_options(features)
        self._seen = replace(self._seen, choices=pad(self._seen.choices, (0, wider)))
        code = self._code([features])
        column = self._whiten(self._seen.covariance(code, self.scales))
        corner = code.variances(self.scales) + self.scales.noise - column.square().sum(0)
        below = torch.cat([column.T, corner.clamp(min=1e-12).sqrt()[None]], 1)
        self._factor = torch.cat([pad(self._factor, (0, 1)), below])
        self._seen += code
        self._scores = torch.cat([self._scores, torch.tensor([score], dtype=torch.float64)])

    def _whiten(self, columns: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self._factor, columns, upper=False)


@dataclass(frozen=True)
class _Coded:
    """N architectures as numbers, scaled so that the squared distance of two rows is what a kernel takes.

    Args:
        decisions: how many there are in all.
        choices: one-hot [N, C].
        existing: how many choices each has [N].
        counts, sizes: [N, K] and [N, S], the latter as logarithms.
        earlier: [N], whether it is of the earlier search.
    """

    decisions: int
    choices: Tensor
    existing: Tensor
    counts: Tensor
    sizes: Tensor
    earlier: Tensor

    def __add__(self, other: "_Coded") -> "_Coded":
        names = [field.name for field in fields(self)][1:]
        return _Coded(self.decisions, *(torch.cat([getattr(self, name), getattr(other, name)]) for name in names))

    def distances(self, other: "_Coded") -> dict[str, Tensor]:
        """Return the squared distances [N, M] by the name of their scale, of what the space says at all."""
        found = {}
        if self.choices.shape[1]:
            differing = self.existing[:, None] + other.existing - 2 * self.choices @ other.choices.T
            found["choices"] = differing / (2 * self.decisions)
        for name, mine, theirs in (("counts", self.counts, other.counts), ("sizes", self.sizes, other.sizes)):
            if mine.shape[1]:
                found[name] = mine.square().sum(1)[:, None] + theirs.square().sum(1) - 2 * mine @ theirs.T
        return found

    def covariance(self, other: "_Coded", scales: Scales, distances: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the covariances [N, M] of the function that is sought, in units of the kernel's variance."""
        distances = distances or self.distances(other)
        kernels = [torch.exp(d.clamp(min=0) / -getattr(scales, name)) for name, d in distances.items()]
        covariance = sum(kernels[1:], kernels[0]) / len(kernels) + scales.trend * self.sizes @ other.sizes.T
        if not scales.level:
            return covariance
        same = self.earlier[:, None] == other.earlier
        return torch.where(same, covariance + scales.level, covariance / (1 + scales.apart))

    def variances(self, scales: Scales) -> Tensor:
        """Return the diagonal [N] of their covariance."""
        return 1 + scales.trend * self.sizes.square().sum(1) + scales.level

    def add_noise(self, covariance: Tensor, scales: Scales) -> Tensor:
        """Add to the covariances [N, N] of the function what the scores vary around it."""
        noise = torch.full((len(covariance),), scales.noise, dtype=torch.float64)
        noise[self.earlier] = scales.earlier_noise
        return covariance + noise.diag()


class _Code:
    """Turns features into numbers; counts and logarithms of sizes are standardised over the given ones.

    A size that is not known of an architecture counts as the mean.
    """

    def __init__(self, features: Sequence[Features]) -> None:
        pairs = dict.fromkeys(chain.from_iterable(f.choices.items() for f in features))
        self.column = {pair: at for at, pair in enumerate(pairs)}
        self.decisions = len({label for label, _ in pairs})
        self.counts = list(dict.fromkeys(chain.from_iterable(f.counts for f in features)))
        self.sizes = list(dict.fromkeys(chain.from_iterable(f.sizes for f in features)))
        self.standards = [_standard(columns) for columns in self._numbers(features)]

    def add_options(self, features: Features) -> int:
        """Know these choices from here on; return how many columns this adds at the end."""
        before = len(self.column)
        for pair in features.choices.items():
            self.column.setdefault(pair, len(self.column))
        return len(self.column) - before

    def __call__(self, features: Sequence[Features], earlier: int = 0) -> _Coded:
        # Rows are made by calls that loop in C: a proposal codes hundreds of architectures.
        width, existing = len(self.column), np.array([len(f.choices) for f in features])
        choices = np.zeros((len(features), width + 1))  # the last column: what is not known
        pairs = chain.from_iterable(f.choices.items() for f in features)
        columns = np.fromiter(map(self.column.get, pairs, repeat(width)), int, existing.sum())
        choices[np.arange(len(features)).repeat(existing), columns] = 1.0
        counts, sizes = (
            ((numbers - shift) / scale).nan_to_num(0.0)
            for numbers, (shift, scale) in zip(self._numbers(features), self.standards, strict=True)
        )
        return _Coded(
            self.decisions,
            torch.from_numpy(choices[:, :width]),
            torch.from_numpy(existing.astype(float)),
            counts,
            sizes,
            torch.arange(len(features)) < earlier,
        )

    def _numbers(self, features: Sequence[Features]) -> list[Tensor]:
        """Return the counts and the logarithms of the sizes as they are; not a number: it is not known."""
        counts = _columns([f.counts for f in features], self.counts, 0.0)
        return [counts, _columns([f.sizes for f in features], self.sizes, math.nan).log()]


def _columns(numbers: Sequence[Mapping[str, float]], names: Sequence[str], default: float) -> Tensor:
    """Return the numbers of N architectures by name [N, K]."""
    values = chain.from_iterable(map(row.get, names, repeat(default)) for row in numbers)
    return torch.from_numpy(np.fromiter(values, float, len(numbers) * len(names)).reshape(len(numbers), len(names)))


def _standard(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return what to subtract from numbers [N, K], and what to divide by so that distances are means over columns."""
    mean = columns.nanmean(0)
    deviation = (columns - mean).square().nanmean(0).sqrt()
    varies = deviation > 1e-9
    return mean, torch.where(varies, deviation, 1.0) * max(1, int(varies.sum())) ** 0.5


def _log_likelihood(covariance: Tensor, scores: Tensor) -> float:
    """Return the logarithm of the marginal likelihood, but for a constant, at the likeliest variance of the kernel."""
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, scores[:, None], upper=False)
    return -0.5 * len(scores) * math.log(_variance(white)) - float(factor.diagonal().log().sum())


def _variance(white: Tensor) -> float:
    """Return the kernel's variance, given whitened scores; never 0, though all rewards may be equal."""
    return max(float(white.square().mean()), 1e-6)
