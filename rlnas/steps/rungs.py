"""Rungs: after some epochs only the better part of the children goes on: successive halving.

A child is compared with the last children of earlier rounds that came to the same rung and were scored in the end,
whether they went on or not: nobody waits for others, as in ASHA (Li et al., 2020). ASHA compares with all, but its
children are drawn alike. Those of a searcher that learns become better, and soon nearly all would be above the middle
of all before them. The scores to reach are in the round's plan. So whoever trains a child, and however often, decides
alike. In the first round there is nothing to compare with, and all go on.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rlnas.children import EpochRecipe, Judge, Recipe, Trainer, Verdict
from rlnas.controller import Trial
from rlnas.datasets import Validation
from rlnas.errors import ChildFailure

NEWEST = 16  # children at a rung to compare with


def bars(recipe: Recipe, history: Iterable[Trial]) -> dict[int, float | None]:
    """Return for each rung the score that lets a child go on: that of the last of the part that would.

    Args:
        recipe: says which rungs there are, and what part goes on.
        history: of all children so far, the newest last.

    Returns:
        By epochs; None: there is nothing to compare with.
    """
    if not isinstance(recipe, EpochRecipe):
        return {}
    came = {rung: [child.rungs[rung] for child in history if rung in child.rungs] for rung in recipe.rungs}
    newest = {rung: sorted(scores[-NEWEST:], reverse=True) for rung, scores in came.items()}
    return {
        rung: scores[max(int((len(scores) + 1) * recipe.going_on) - 1, 0)] if scores else None
        for rung, scores in newest.items()
    }


@dataclass(frozen=True)
class Rungs:
    """Where a round's children are scored in training.

    Args:
        bars: of the round's plan, see `bars`.
        data: that scores them; no gradient sees it.
    """

    bars: Mapping[int, float | None]
    data: Validation

    def judge(self, trainer: Trainer, architecture: Any, weigh: Callable[[float], float]) -> Judge:
        """Return what scores one child.

        Args:
            trainer, architecture: of the child.
            weigh: makes the search's reward of the trainer's, and alike of a promise.
        """

        def verdict(epoch: int, weights: Callable[[], bytes]) -> Verdict | None:
            if epoch not in self.bars:
                return None
            score, bar = weigh(trainer.promise(architecture, weights(), self.data)), self.bars[epoch]
            if not math.isfinite(score):
                raise ChildFailure("not_finite", f"what it promises after epoch {epoch} is {score}")
            return Verdict(score, bar is None or score >= bar)

        return verdict
