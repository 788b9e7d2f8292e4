"""The training loop that every torch child shares: steps, snapshots, checkpoints, and the ways a child can fail.

A step seeds itself from (child seed, epoch, step), so a resumed child repeats exactly what an undisturbed one does
and no random state is stored.
"""

import math
import time
import traceback
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from rlnas.adam import adam_step
from rlnas.children.base import Interrupted, Monitor
from rlnas.errors import ChildFailure, SearchDeleted, StoreError, UserError
from rlnas.seeds import derive_seed
from rlnas.tensors import pack, read_document, unpack

# Steps. Reading a value off a GPU waits for it; a child that has gone wrong may go on for a few steps there.
CHECK_EVERY = defaultdict(lambda: 50, cpu=1)


class Optimizer(ABC):
    """Moves weights along their gradients, by torch's functions for it.

    Not by the classes of `torch.optim`: making the first optimiser imports all of torch._dynamo, seconds a process.

    Attributes:
        lr: learning rate; may be set before each step.
    """

    lr: float

    @abstractmethod
    def step(self) -> None:
        """Move the weights, and drop their gradients."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return what the next step needs beside the weights."""

    @abstractmethod
    def load(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` returned."""


class SGD(Optimizer):
    """Stochastic gradient descent.

    Args:
        parameters: the weights; those without a gradient are left as they are.
        lr: learning rate; may be set before each step.
        momentum, weight_decay: as in `torch.optim.SGD`; momentum is Nesterov's.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        self.parameters = list(parameters)
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.moments: list[Tensor | None] = [None] * len(self.parameters)

    @torch.no_grad()
    def step(self) -> None:
        """See `Optimizer.step`; weights without a gradient are left as they are."""
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        moments = [self.moments[i] for i in moved]
        sgd(
            [self.parameters[i] for i in moved],
            [gradient for i in moved if (gradient := self.parameters[i].grad) is not None],
            moments,
            fused=True,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=self.lr,
            dampening=0.0,
            nesterov=self.momentum > 0,
            maximize=False,
        )
        for i, moment in zip(moved, moments, strict=True):
            self.moments[i] = moment
            self.parameters[i].grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the moments there are, by the number of their weight."""
        return {str(i): moment for i, moment in enumerate(self.moments) if moment is not None}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` returned."""
        for i, moment in state.items():
            # The fused kernel needs a moment laid out in memory as its weight is.
            self.moments[int(i)] = torch.empty_like(self.parameters[int(i)]).copy_(moment)


class Adam(Optimizer):
    """Adam, see `rlnas.adam`.

    Args:
        parameters: the weights; each must have a gradient at every step.
        lr: learning rate; may be set before each step.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        self.parameters = list(parameters)
        self.lr = lr
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]

    def step(self) -> None:
        """See `Optimizer.step`."""
        gradients = [gradient for parameter in self.parameters if (gradient := parameter.grad) is not None]
        adam_step(self.parameters, gradients, self.means, self.squares, self.steps, self.lr)
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return both moments and the number of steps of each weight, by its number."""
        named = (("mean", self.means), ("square", self.squares), ("steps", self.steps))
        return {f"{name}/{i}": tensor for name, tensors in named for i, tensor in enumerate(tensors)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` returned."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


class Run(ABC):
    """One child in training: what the loop does not know.

    Args:
        model: the child.
        optimizer: over its weights; a learning rate that changes with the epoch is set by `start_epoch`.
        steps: optimiser steps an epoch.
        loss_limit: a loss above this is a failure (`diverged`).
    """

    model: nn.Module
    optimizer: Optimizer
    steps: int
    loss_limit: float = math.inf

    @abstractmethod
    def start_epoch(self, epoch: int) -> None:
        """Prepare an epoch (order of the data, learning rate) as a pure function of the seed and its number."""

    @abstractmethod
    def step(self, step: int) -> Tensor:
        """Do one update with the global random generator, which is seeded for it.

        Returns:
            The loss before the update, a detached scalar; not a number if the gradient is not finite.
        """

    def carried(self) -> dict[str, Tensor]:
        """State besides weights and optimiser that the next step needs, such as a recurrent state."""
        return {}

    def carry(self, tensors: dict[str, Tensor]) -> None:  # noqa: B027 - most children carry nothing
        """Take up what `carried` returned."""


def train(
    run: Run,
    *,
    epochs: int,
    keep: int,
    seed: int,
    checkpoint: bytes | None,
    monitor: Monitor,
    time_limit: float | None = None,
) -> bytes:
    """Train to the end and return the weights after each of the last `keep` epochs.

    Args:
        run: the child.
        epochs: in all, those before the checkpoint included.
        keep: number of snapshots, of the last epochs (the paper's reward looks at five, Section 4.1).
        seed: of the child.
        checkpoint: what an earlier attempt left with the monitor.
        monitor: asked after every step, and after every epoch whether the child goes on.
        time_limit: seconds of training over all attempts.

    Returns:
        safetensors: `<epoch>/<name of the weight>`, every float as it is. The document says what its rungs said, and
        `stopped`, the epochs that are done, if it was stopped; then there is one snapshot.

    Raises:
        ChildFailure: loss or gradient not finite, loss above the limit, or out of time.
    """
    snapshots: dict[str, Tensor] = {}
    rungs: list[tuple[int, float]] = []
    first_epoch, first_step, spent = 0, 0, 0.0
    if checkpoint is not None:
        first_epoch, first_step, spent, rungs, snapshots = _resume(run, checkpoint)
    check_every = CHECK_EVERY[next(run.model.parameters()).device.type]
    start = time.monotonic() - spent
    peak: Tensor | None = None
    run.model.train()
    for epoch in range(first_epoch, epochs):
        run.start_epoch(epoch)
        for step in range(first_step if epoch == first_epoch else 0, run.steps):
            torch.manual_seed(derive_seed(seed, epoch, step))
            loss = run.step(step)
            peak = loss if peak is None else torch.maximum(peak, loss)  # keeps NaN, as Python's max does not
            last = step + 1 == run.steps
            if last or step % check_every == check_every - 1:
                _check(float(peak), run.loss_limit, epoch, step)
                peak = None
            if time_limit is not None and time.monotonic() - start > time_limit:
                raise ChildFailure("timeout", f"epoch {epoch} of {epochs} after {time_limit:g} s")
            if last and epoch >= epochs - keep:
                snapshots |= _snapshot(run, epoch)
            if last and epoch + 1 < epochs and (verdict := monitor.rung(epoch + 1, partial(_packed, run, epoch))):
                rungs.append((epoch + 1, verdict.score))
                if not verdict.goes_on:
                    return pack(_snapshot(run, epoch), _document(start, rungs) | {"stopped": epoch + 1})
            at = (epoch + 1, 0) if last else (epoch, step + 1)
            monitor.beat(partial(_checked_state, run, at, start, rungs, snapshots, peak))
    return pack(snapshots, _document(start, rungs))


def first_losses(run: Run, steps: int, seed: int) -> Tensor:
    """Do the first steps of a training, as `train` does them.

    Returns:
        The loss of each step.

    Raises:
        ChildFailure: loss or gradient not finite, or loss above the limit.
    """
    losses = []
    run.model.train()
    for number in range(steps):
        epoch, step = divmod(number, run.steps)
        if step == 0:
            run.start_epoch(epoch)
        torch.manual_seed(derive_seed(seed, epoch, step))
        losses.append(run.step(step))
        _check(float(losses[-1]), run.loss_limit, epoch, step)
    return torch.stack(losses)


def by_epoch(snapshots: bytes) -> list[dict[str, Tensor]]:
    """Split what `train` returned into the weights of each epoch, oldest first."""
    epochs: dict[int, dict[str, Tensor]] = {}
    for name, tensor in unpack(snapshots).items():
        epoch, _, weight = name.partition("/")
        epochs.setdefault(int(epoch), {})[weight] = tensor
    return [epochs[epoch] for epoch in sorted(epochs)]


def _snapshot(run: Run, epoch: int) -> dict[str, Tensor]:
    return {f"{epoch}/{name}": t.detach().cpu().clone() for name, t in run.model.state_dict().items()}


def _packed(run: Run, epoch: int) -> bytes:
    return pack(_snapshot(run, epoch), {})


def _document(start: float, rungs: list[tuple[int, float]]) -> dict[str, Any]:
    return {"seconds": round(time.monotonic() - start, 3)} | ({"rungs": rungs} if rungs else {})


def _check(loss: float, limit: float, epoch: int, step: int) -> None:
    where = f"epoch {epoch}, step {step}"
    if not math.isfinite(loss):
        raise ChildFailure("not_finite", f"loss or gradient is {loss} at {where}")
    if loss > limit:
        raise ChildFailure("diverged", f"loss {loss:.3g} is above {limit:.3g} at {where}")


def _checked_state(
    run: Run,
    at: tuple[int, int],
    start: float,
    rungs: list[tuple[int, float]],
    snapshots: dict[str, Tensor],
    peak: Tensor | None,
) -> bytes:
    if peak is not None:  # a checkpoint of a child gone wrong would hand its weights on
        _check(float(peak), run.loss_limit, *at)
    tensors = {f"model/{name}": t for name, t in run.model.state_dict().items()}
    tensors |= {f"optimizer/{name}": t for name, t in run.optimizer.state().items()}
    tensors |= {f"carried/{name}": t for name, t in run.carried().items()}
    tensors |= {f"snapshot/{name}": t for name, t in snapshots.items()}
    return pack(tensors, {"epoch": at[0], "step": at[1], **_document(start, rungs)})


def _resume(run: Run, checkpoint: bytes) -> tuple[int, int, float, list[tuple[int, float]], dict[str, Tensor]]:
    tensors = unpack(checkpoint)
    position = read_document(checkpoint)

    def below(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    run.model.load_state_dict(below("model/"))
    run.optimizer.load(below("optimizer/"))
    run.carry(below("carried/"))
    rungs = [(epoch, score) for epoch, score in position.get("rungs", ())]
    return position["epoch"], position["step"], position["seconds"], rungs, below("snapshot/")


@contextmanager
def child_failures() -> Iterator[None]:
    """Turn whatever goes wrong inside a child into `ChildFailure`, and let everything else pass.

    Each child's training and evaluation in a search runs in it, whatever its trainer is.
    """
    try:
        yield
    except (ChildFailure, Interrupted, UserError, StoreError, SearchDeleted):
        raise
    except Exception as error:
        line = _first_line(error)
        if is_out_of_memory(error):
            raise ChildFailure("out_of_memory", line) from error
        traceback.print_exc()
        reason = "bad_shape" if isinstance(error, RuntimeError | ValueError) and _about_shapes(line) else "error"
        raise ChildFailure(reason, f"{type(error).__name__}: {line}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is for want of memory, the machine's or the GPU's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    line = _first_line(error).lower()
    # The last are the words of oneDNN without room for its code; of what it cannot do it says "primitive descriptor".
    return "can't allocate memory" in line or "out of memory" in line or line.endswith("could not create a primitive")


def _about_shapes(line: str) -> bool:
    words = ("shape", "size", "dimension", "channels", "kernel")
    return any(word in line.lower() for word in words)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
