"""How children are trained: what a person may set in the `child` section of a spec. Imports without torch."""

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from rlnas.children.base import EpochRecipe, Recipe
from rlnas.errors import UserError
from rlnas.spaces import Architecture, DataShape, Space
from rlnas.spaces.cnn import CNNArchitecture
from rlnas.spaces.rnn import Cell, RNNSpace
from rlnas.spaces.tabular import TabularArchitecture

Precision = Literal["auto", "float32", "bfloat16", "bfloat16_on_cuda"]
SMALLEST_IN_BFLOAT16 = 100
"""The hidden size from which on AMX makes a cell's products faster, measured."""


def precision(small: str = "") -> Any:
    """Return the field that says in which numbers a child is trained; see `rlnas.children.precision`."""
    return Field(
        default="auto",
        description="numbers that children are trained in: `auto` is bfloat16 on CUDA, and on processors with AMX"
        f"{small}, else float32; `bfloat16_on_cuda` is what searches of older versions go on with; all judging is in"
        " float32",
        json_schema_extra={"earlier": "bfloat16_on_cuda"},
    )


class CNNRecipe(EpochRecipe):
    """How a convolutional child is trained; the defaults are those of Zoph & Le (2017), Section 4.1.

    The paper leaves open the batch, the side of the upsampled image and the kind of whitening: these are derived.
    """

    modality: ClassVar[str] = "images"
    architecture: ClassVar[type[Architecture]] = CNNArchitecture
    references: ClassVar[tuple[str, ...]] = ("resnet", "all_skips", "no_skips")
    measures: ClassVar[tuple[str, ...]] = ("parameters", "flops", "latency_1", "latency_64")

    kind: Literal["cnn"] = "cnn"
    epochs: int = Field(default=50, gt=0, description="passes over the training images")
    batch: int = Field(
        default=128, gt=0, description="images a step; if there are several batches, an incomplete last one is left out"
    )
    learning_rate: float = Field(default=0.1, gt=0, description="used unless the architecture predicts its own")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant",
        description="how the learning rate changes; cosine falls to zero over the epochs, good for short trainings",
    )
    decay_epoch: int | None = Field(
        default=None, gt=0, description="epochs after which the learning rate is divided by `decay`; null: never"
    )
    decay: float = Field(default=10, ge=1, description="divisor of the learning rate, see `decay_epoch`")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Nesterov momentum")
    weight_decay: float = Field(default=1e-4, ge=0, description="L2 penalty on the weights")
    norm_epsilon: float = Field(default=1e-5, gt=0, description="added to variances in batch normalisation")
    upsample_by: int | None = Field(
        default=4,
        gt=0,
        description="pixels added to each side before a random crop of the original size; null: no crop",
    )
    flip: bool = Field(default=True, description="mirror images left to right, each with probability one half")
    whitening: bool = Field(default=True, description="bring each image to mean 0 and variance 1")
    snapshots: int = Field(
        default=5, gt=0, description="so many of the last epochs are scored; the best accuracy counts"
    )
    reward_exponent: float = Field(default=3, gt=0, description="the reward is the validation accuracy to this power")
    precision: Precision = precision()
    rungs_by: Literal["loss", "reward"] = Field(
        default="loss",
        description="what `rungs` compare: the `loss` on validation data, which tells more of a short training than"
        " the accuracy does, or the `reward`; searches begun with an older version keep `reward`",
        json_schema_extra={"earlier": "reward"},
    )


class TabularRecipe(Recipe):
    """How a child whose score is in a table becomes a reward: it is looked up, nothing is trained."""

    modality: ClassVar[str] = "table"
    architecture: ClassVar[type[Architecture]] = TabularArchitecture
    trains: ClassVar[bool] = False

    kind: Literal["tabular"] = "tabular"
    scale: float = Field(default=0.01, gt=0, description="the reward is the table's score times this")


class RNNRecipe(EpochRecipe):
    """How a recurrent child is trained: a word-level language model, by Zaremba et al. (2014), "medium".

    As there, the gradient is that of the loss summed over the steps of a window and averaged over the batch: the
    learning rate and the clip are meant for it. The paper's children train for 35 epochs (Section 4.2).
    """

    modality: ClassVar[str] = "text"
    references: ClassVar[tuple[str, ...]] = ("lstm",)
    measures: ClassVar[tuple[str, ...]] = ("parameters", "flops", "latency_1", "latency_64")
    architecture: ClassVar[type[Architecture]] = Cell
    trial: ClassVar[float] = 0.05

    kind: Literal["rnn"] = "rnn"
    epochs: int = Field(default=35, gt=0, description="passes over the training text")
    batch: int = Field(default=20, gt=0, description="streams that the training text is cut into")
    bptt: int = Field(default=35, gt=0, description="steps of a window, through which gradients flow")
    layers: int = Field(default=2, gt=0, le=100, description="recurrent layers, all with the same cell")
    parameters: int = Field(
        default=20_000_000,
        gt=0,
        le=10**12,
        description="weights of every child, within 1 %; the hidden size is chosen to match",
    )
    hidden: int | None = Field(default=None, gt=0, description="size of state and embeddings, in place of `parameters`")
    tied: bool = Field(default=False, description="one matrix for the embeddings and the softmax")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="rate between layers; there is none between steps")
    init: float = Field(
        default=0.05, gt=0, description="weights start uniformly distributed between minus this and this"
    )
    optimizer: Literal["sgd", "adam"] = Field(
        default="sgd", description="`adam`, with a learning rate of about 0.01, brings more kinds of cells to learn"
    )
    learning_rate: float = Field(default=1.0, gt=0, description="in the first epochs")
    flat_epochs: int = Field(default=6, ge=0, description="epochs before the learning rate begins to fall")
    decay: float = Field(default=1.2, ge=1, description="then the learning rate is divided by this after each epoch")
    clip: float = Field(default=5, gt=0, description="largest norm of the gradient")
    dead_after: int | None = Field(
        default=2000,
        gt=0,
        description="after so many windows a child that knows no more than word frequencies fails; null: never",
    )
    dead_margin: float = Field(
        default=0.05,
        ge=0,
        description="nats by which the average loss must be below the entropy of the words, see `dead_after`",
    )
    snapshots: int = Field(
        default=1, gt=0, description="so many of the last epochs are scored; the best perplexity counts"
    )
    reward_constant: float = Field(
        default=80, gt=0, description="the reward is this divided by the square of the validation perplexity"
    )
    precision: Precision = precision(f" if the state has {SMALLEST_IN_BFLOAT16} numbers or more")

    def check(self, space: Space, shape: DataShape) -> None:
        """Raise `UserError` if the text does not fill a window, or no hidden size meets `parameters`."""
        self.windows(shape.tokens)
        if isinstance(space, RNNSpace):
            self.hidden_size(space.base, shape.classes)

    def count_parameters(self, leaves: int, vocabulary: int, hidden: int) -> int:
        """Return the number of weights of a child whose cell has so many leaves."""
        embeddings = vocabulary * hidden * (1 if self.tied else 2)
        return embeddings + vocabulary + 2 * self.layers * leaves * hidden**2

    def hidden_size(self, leaves: int, vocabulary: int) -> int:
        """Return `hidden`, or the size that meets `parameters`: the same for every cell with so many leaves.

        Raises:
            UserError: no size comes within 1 % of `parameters`.
        """
        if self.hidden is not None:
            return self.hidden
        hidden = self.nearest_hidden_size(leaves, vocabulary)
        count = self.count_parameters(leaves, vocabulary, hidden)
        if abs(count - self.parameters) > 0.01 * self.parameters:
            raise UserError(
                f"child.parameters: no hidden size comes within 1 % of {self.parameters} with {vocabulary} words and"
                f" {leaves} leaves; the nearest, {hidden}, gives {count}; allowed: that number, or child.hidden"
            )
        return hidden

    def nearest_hidden_size(self, leaves: int, vocabulary: int) -> int:
        """Return the size that comes nearest to `parameters`."""
        square, linear = 2 * self.layers * leaves, vocabulary * (1 if self.tied else 2)
        root = math.sqrt(linear**2 + 4 * square * max(self.parameters - vocabulary, 0))
        return max(round((root - linear) / (2 * square)), 1)

    def windows(self, tokens: int) -> int:
        """Return the windows of an epoch over a training text of so many tokens; what does not fill one is left out.

        Raises:
            UserError: there is not one.
        """
        windows = (tokens // self.batch - 1) // self.bptt
        if windows < 1:
            raise UserError(
                f"dataset: the training text has {tokens} tokens, less than a window of child.batch {self.batch} ×"
                f" (child.bptt {self.bptt} + 1); allowed: at least {self.batch * (self.bptt + 1)}"
            )
        return windows
