"""Children that train for some epochs, slowly enough to be killed, stopped and resumed: for plans of chaos.

Their architecture is a row of a table. The reward depends on every step of the training, so that one that is resumed
wrongly shows.
"""

import time
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rlnas.children import RECIPES, TRAINERS, EpochRecipe, Evaluation, Monitor, Trainer
from rlnas.children.training import SGD, Run, by_epoch, train
from rlnas.datasets import Table, Train, Validation
from rlnas.errors import ChildFailure
from rlnas.spaces import Architecture
from rlnas.spaces.tabular import TabularArchitecture

STEPS = 3  # an epoch
SICK = (2, 2)  # architectures that begin so cannot be trained
pause = 0.0
"""Seconds that a step takes in this process: no part of the recipe, since nothing may depend on it."""


class SlowRecipe(EpochRecipe):
    """How such a child is trained."""

    modality: ClassVar[str] = "table"
    architecture: ClassVar[type[Architecture]] = TabularArchitecture
    references: ClassVar[tuple[str, ...]] = ("same",)

    kind: Literal["slow"] = "slow"
    epochs: int = Field(default=3, gt=0)
    learning_rate: float = Field(default=0.1, gt=0)


class _Walk(Run):
    """A weight that walks at random."""

    def __init__(self, learning_rate: float) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.optimizer = SGD(self.model.parameters(), lr=learning_rate, momentum=0.5)
        self.steps = STEPS

    def start_epoch(self, epoch: int) -> None:
        """Nothing changes with the epoch."""

    def step(self, step: int) -> Tensor:
        """Take a step whose direction is the generator's."""
        time.sleep(pause)
        loss = ((self.model.weight - torch.rand(1)) ** 2).sum()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class SlowTrainer(Trainer):
    """Trains a walk; see `Trainer`."""

    recipe: SlowRecipe

    def train(
        self, architecture: Any, data: Train[Table], seed: int, checkpoint: bytes | None, monitor: Monitor
    ) -> bytes:
        """See `Trainer.train`."""
        if architecture.tokens[:2] == SICK:
            raise ChildFailure("diverged", f"{list(SICK)} cannot be trained")
        run = _Walk(self.recipe.learning_rate)
        return train(run, epochs=self.recipe.epochs, keep=1, seed=seed, checkpoint=checkpoint, monitor=monitor)

    def evaluate(self, architecture: Any, snapshots: bytes, data: Validation[Table]) -> Evaluation:
        """Return the table's score, and a little of what the walk came to."""
        walked = float(by_epoch(snapshots)[-1]["weight"])
        score = data.content.scores[architecture.tokens] / 100 + walked / 1000
        return Evaluation(history=(score,), reward=score, metrics={"score": score, "walked": walked})

    def reference(self, name: str, architecture: Any) -> Any:
        """Return the architecture itself."""
        return architecture


def register() -> None:
    """Make `slow` a kind of children in this process and those forked from it."""
    RECIPES["slow"], TRAINERS["slow"] = f"{__name__}:SlowRecipe", f"{__name__}:SlowTrainer"
