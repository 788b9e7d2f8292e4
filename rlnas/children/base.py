"""What a child is: an architecture, trained by a recipe on training data, scored on validation data."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from rlnas.datasets import Train, Validation
from rlnas.spaces import DataShape, Space


class Recipe(BaseModel):
    """How a child is trained. Its fields are what a person may set in the `child` section of a spec."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    modality: ClassVar[str]
    """The kind of data this trainer can use: `images`, `text` or `table`."""

    kind: str
    time_limit: float | None = Field(
        default=None, gt=0, description="seconds of training after which a child has failed"
    )
    children_at_once: int | None = Field(
        default=None, gt=0, description="children trained side by side; unset: one a core, or as many as fit the GPU"
    )
    gpu_memory_gib: float = Field(default=4, gt=0, description="GPU memory one child is taken to need, in GiB")

    def check(self, space: Space, shape: DataShape) -> None:
        """Raise `UserError` if children of this space cannot be trained so on data of this shape."""


class Monitor(Protocol):
    """Who watches a training: asked after every step, it decides whether to keep a checkpoint."""

    def beat(self, state: Callable[[], bytes]) -> None:
        """Called between steps; may take `state()` as a checkpoint and may raise `Interrupted`."""


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


class Trainer(ABC):
    """Turns architectures into snapshots, and snapshots into rewards."""

    def __init__(self, recipe: Any, shape: DataShape, device: str) -> None:
        self.recipe = recipe
        self.shape = shape
        self.device = device

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


class SilentMonitor:
    """A monitor that keeps nothing and never interrupts, for use outside a search."""

    def beat(self, state: Callable[[], bytes]) -> None:
        """Do nothing."""
