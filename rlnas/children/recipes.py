"""How children are trained: what a person may set in the `child` section of a spec. Imports without torch."""

from typing import ClassVar, Literal

from pydantic import Field

from rlnas.children.base import Recipe


class CNNRecipe(Recipe):
    """How a convolutional child is trained; the defaults are those of Zoph & Le (2017), Section 4.1.

    The paper leaves open the batch, the side of the upsampled image and the kind of whitening: these are derived.
    """

    modality: ClassVar[str] = "images"

    kind: Literal["cnn"] = "cnn"
    epochs: int = Field(default=50, gt=0)
    batch: int = Field(
        default=128, gt=0, description="images a step; of more than one batch the incomplete last is left out"
    )
    learning_rate: float = Field(default=0.1, gt=0, description="unless the architecture predicts its own")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant",
        description="of the learning rate; cosine falls to zero over the epochs, for short trainings",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Nesterov momentum")
    weight_decay: float = Field(default=1e-4, ge=0)
    upsample_by: int | None = Field(
        default=4,
        gt=0,
        description="pixels added to each side before a random crop of the original size; null: no crop",
    )
    flip: bool = Field(default=True, description="mirror every other image, at random")
    whitening: bool = Field(default=True, description="bring each image to mean 0 and variance 1")
    snapshots: int = Field(default=5, gt=0, description="last epochs whose best accuracy is the child's")
    reward_exponent: float = Field(default=3, gt=0, description="the reward is accuracy to this power")


class TabularRecipe(Recipe):
    """How a child whose score is in a table becomes a reward: it is looked up, nothing is trained."""

    modality: ClassVar[str] = "table"

    kind: Literal["tabular"] = "tabular"
    scale: float = Field(default=0.01, gt=0, description="the reward is the score times this")
