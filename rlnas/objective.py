"""What a search maximises: the reward of the score, within limits of size and speed, or weighed against them.

Without a limit or a target the reward is the trainer's own, as in the paper. With a target it is MnasNet's weighted
product (Tan et al. 2019, Section 3): reward * (measure / target) ** exponent.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from rlnas.section import Section

Measure = Literal["parameters", "flops", "latency_1", "latency_64"]
"""Of the untrained model: weights; multiply-adds of one example; milliseconds that a batch of 1, or of 64, takes on the
device that trains. Latencies are timed, beside whatever else runs there: a search that uses them is not reproducible,
and `child.children_at_once: 1` gives truer ones."""


MOST_WEIGHED = math.log(1e6)
"""A reward is multiplied by at most a million, and divided by no more: what is beyond is no weighing any more."""


class Target(Section):
    """How a measure is weighed.

    Args:
        target: at this much of it the reward stays as it is.
        exponent: below 0; at twice the target the reward is multiplied by 2 ** exponent. MnasNet's is -0.07.
    """

    target: float = Field(gt=0)
    exponent: float = Field(default=-0.07, lt=0, ge=-10)


class Objective(Section):
    """The `objective` section of a spec.

    Args:
        limit: the most that a child may have of a measure. A child that has more is not trained: it fails, with the
            reward of failures.
        soft: measures that the reward is weighed by: reward * (measure / target) ** exponent, at most a million times
            more or less.
    """

    limit: dict[Measure, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    soft: dict[Measure, Target] = Field(default_factory=dict)

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that this asks for."""
        return tuple(dict.fromkeys([*self.limit, *self.soft]))

    @property
    def words(self) -> str:
        """What it asks for, for people; empty: nothing."""
        limits = [f"at most {limit:,.6g} {name}" for name, limit in self.limit.items()]
        soft = [
            f"reward * ({name} / {weight.target:,.6g}) ** {weight.exponent:g}" for name, weight in self.soft.items()
        ]
        return "; ".join(limits + soft)

    def excess(self, measures: Mapping[str, float]) -> str:
        """Say in words which limit a child is above; empty: none. Measures that are not known are not compared."""
        for name, limit in self.limit.items():
            if (value := measures.get(name, 0.0)) > limit:
                return f"{name} {value:,.6g}; allowed: at most {limit:,.6g}"
        return ""

    def weigh(self, reward: float, measures: Mapping[str, float]) -> float:
        """Return the reward, weighed by the measures that have a target."""
        return reward * self._factor(measures)

    def score(self, reward: float, measures: Mapping[str, float]) -> float:
        """Return what a reward was before it was weighed."""
        return reward / self._factor(measures)

    def _factor(self, measures: Mapping[str, float]) -> float:
        powers = [(measures[name] / weight.target, weight.exponent) for name, weight in self.soft.items()]
        logarithm = sum(exponent * math.log(base) for base, exponent in powers)
        if abs(logarithm) > MOST_WEIGHED:
            return math.exp(math.copysign(MOST_WEIGHED, logarithm))
        return math.prod(base**exponent for base, exponent in powers)
