"""What a child is: an architecture, trained by a recipe on training data, scored on validation data."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, Self

from pydantic import Field, field_validator

from rlnas.datasets import Train, Validation
from rlnas.errors import UserError
from rlnas.section import Section
from rlnas.spaces import Architecture, DataShape, Space

if TYPE_CHECKING:
    from torch import Tensor, nn


class Recipe(Section):
    """How a child is trained. Its fields are what a person may set in the `child` section of a spec."""

    modality: ClassVar[str]
    """The kind of data this trainer can use: `images`, `text` or `table`."""

    architecture: ClassVar[type[Architecture]] = Architecture
    """What this trainer can train: spaces whose architectures are such, or of a subclass; unset: all."""

    trains: ClassVar[bool] = True
    """Whether there is a model in the end: only then is there one to train longer, to test and to export."""

    references: ClassVar[tuple[str, ...]] = ()
    """Models of the task that the trainer knows beside the found ones, to compare these with."""

    measures: ClassVar[tuple[str, ...]] = ()
    """What an objective may ask of a child before it is trained; see `rlnas.objective.Measure`."""

    trial: ClassVar[float] = 0.0
    """The part of a training that a short trial takes; 0: there is none."""

    kind: str
    time_limit: float | None = Field(
        default=None, gt=0, description="seconds of training after which a child has failed"
    )
    children_at_once: int | None = Field(
        default=None,
        gt=0,
        description="children trained at the same time; null: one for each core, or as many as fit the GPU",
    )
    gpu_memory_gib: float = Field(
        default=4,
        gt=0,
        description="GPU memory of one child, GiB; children that share a GPU get no more than this",
    )

    def vary(self, changes: Mapping[str, Any]) -> Self:
        """Return the recipe with other values for some fields.

        Raises:
            ValidationError: there is no such field, or it cannot have that value.
        """
        return type(self).model_validate(self.model_dump() | dict(changes) | {"kind": self.kind})

    def check(self, space: Space, shape: DataShape) -> None:
        """Raise `UserError` if children of this space cannot be trained so on data of this shape."""


class EpochRecipe(Recipe):
    """A recipe of several epochs, after each of which a child can be judged, and stopped."""

    epochs: int
    rungs: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(),
        description="epochs after which only the better part of the children goes on: those that do as well as the"
        " better part of the last 16 children of earlier rounds that reached this epoch; empty: all train to the end",
    )
    going_on: float = Field(default=0.5, gt=0, lt=1, description="the part that goes on, see `rungs`")

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, rungs: tuple[int, ...]) -> tuple[int, ...]:
        if list(rungs) != sorted(set(rungs)):
            raise ValueError(f"{list(rungs)} does not ascend; allowed: such as [1, 2, 4]")
        return rungs


@dataclass(frozen=True)
class Verdict:
    """What is said of a child at a rung.

    Args:
        score: what it promises, see `Trainer.promise`.
        goes_on: whether its training does.
    """

    score: float
    goes_on: bool


Judge = Callable[[int, Callable[[], bytes]], Verdict | None]
"""Says after so many epochs, given what returns the weights as snapshots, what is to be said; None: it is no rung."""


class Monitor(Protocol):
    """Who watches a training: asked after every step, it decides whether to keep a checkpoint."""

    def beat(self, state: Callable[[], bytes]) -> None:
        """Called between steps; may take `state()` as a checkpoint and may raise `Interrupted`."""

    def rung(self, epoch: int, weights: Callable[[], bytes]) -> Verdict | None:
        """Called after each epoch but the last, before the step's `beat`; None: it is no rung.

        Args:
            epoch: how many are done.
            weights: returns them as snapshots.
        """


class Interrupted(Exception):
    """This process must stop training the child: it is being shut down, or another process has taken over."""


@dataclass(frozen=True)
class Evaluation:
    """What validation data says of a child.

    Args:
        history: one score for each snapshot, oldest first: accuracy for images, perplexity for text.
        reward: what the controller learns from.
        metrics: further finite numbers for people, such as `accuracy`, `perplexity`, `parameters`.
    """

    history: tuple[float, ...]
    reward: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployable:
    """A trained child as a module that people run without us; see `rlnas.children.export`.

    Args:
        module: in evaluation mode, on the CPU.
        inputs: its arguments by name, in order: real examples, at least two.
        outputs: its results by name, in order: what the child, evaluated as it was trained, makes of the examples.
        batch_axis: the axis of each input and output that holds the examples; it may have any length.
        architecture, recipe, shape: what the module is built from.
    """

    module: "nn.Module"
    inputs: "Mapping[str, Tensor]"
    outputs: "Mapping[str, Tensor]"
    batch_axis: Mapping[str, int]
    architecture: Architecture
    recipe: Recipe
    shape: DataShape


class Trainer(ABC):
    """Turns architectures into snapshots, and snapshots into rewards.

    Attributes:
        architectures: the type, or union of types, of what can be trained: the space's and the reference models.
    """

    architectures: ClassVar[Any]

    def __init__(self, recipe: Any, shape: DataShape, device: str) -> None:
        self.recipe = recipe
        self.shape = shape
        self.device = device

    def precision(self, architecture: Any) -> str:
        """Return in which numbers a child is trained, such as `float32`; empty: it is not known."""
        return ""

    @abstractmethod
    def train(self, architecture: Any, data: Train, seed: int, checkpoint: bytes | None, monitor: Monitor) -> bytes:
        """Train a child, from its checkpoint if there is one.

        Returns:
            The snapshots that `evaluate` needs (safetensors).

        Raises:
            ChildFailure: the child cannot be trained, by its own fault.
            Interrupted: the monitor said stop.
        """

    @abstractmethod
    def evaluate(self, architecture: Any, snapshots: bytes, data: Validation) -> Evaluation:
        """Score the snapshots of a child on validation data."""

    def promise(self, architecture: Any, snapshots: bytes, data: Validation) -> float:
        """Return what rungs compare of a child in training: its reward, or what tells more of that to come.

        Args:
            architecture: of the child.
            snapshots: its weights by now.
            data: that scores them.

        Returns:
            A finite number, the larger the better. An objective weighs it as it does a reward.
        """
        return self.evaluate(architecture, snapshots, data).reward

    def measure(self, architecture: Any, names: Collection[str]) -> dict[str, float]:
        """Return measures of the untrained child, by name; see `rlnas.objective.Measure`.

        Args:
            architecture: of the child.
            names: some of the recipe's `measures`.
        """
        return {}

    def scores(self, architecture: Any) -> dict[str, float]:
        """Return what an untrained child shows, by name: positive numbers that may tell of its reward.

        They must be cheap, since a searcher asks for hundreds of architectures to propose one; equal for equal
        architectures; and of no device, so that a search does not depend on it.
        """
        return {}

    def trial(self, architecture: Any, data: Train, seed: int) -> float:
        """Train a child for a small part of a training, the recipe's `trial`; only where that is not 0.

        Returns:
            A positive, finite number: the smaller, the better the child does so far.
        """
        raise NotImplementedError

    def reference(self, name: str, architecture: Any) -> Any:
        """Return a reference model, to be trained, evaluated and deployed in place of an architecture.

        Args:
            name: one of the recipe's `references`.
            architecture: the winner it is for.

        Raises:
            UserError: there is no such model for it.
        """
        allowed = ", ".join(self.recipe.references) or "none"
        raise UserError(f"reference: {self.recipe.kind} has no {name!r}; allowed: {allowed}")

    def deployed(self, architecture: Any) -> "nn.Module":
        """Return the module that people are given, its weights yet to be loaded, in evaluation mode on the CPU.

        Raises:
            UserError: children of this kind are no models.
        """
        raise UserError(f"child.kind: {self.recipe.kind} children leave nothing to export")

    def deploy(self, architecture: Any, snapshots: bytes, data: Validation) -> Deployable:
        """Make the last snapshot of a child ready for use, with examples taken from validation data.

        Raises:
            UserError: children of this kind are no models.
        """
        raise UserError(f"child.kind: {self.recipe.kind} children leave nothing to export")


class SilentMonitor:
    """A monitor that keeps nothing and never interrupts, for use outside a search."""

    def beat(self, state: Callable[[], bytes]) -> None:
        """Do nothing."""

    def rung(self, epoch: int, weights: Callable[[], bytes]) -> Verdict | None:
        """Let it go on."""
        return None
