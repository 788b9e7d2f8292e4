"""How fast a recurrent child trains, and whether the LSTM of the space learns as PyTorch's does.

Everything is measured side by side on one thread, window after window in turn, in processor time, so that a busy
machine slows all alike.
"""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rlnas.children.base import SilentMonitor
from rlnas.children.fast_cell import FastLayer
from rlnas.children.language import LanguageModel, LanguageTrainer, Network
from rlnas.children.lstm import TorchLSTM
from rlnas.children.precision import has_amx, products
from rlnas.children.recipes import RNNRecipe
from rlnas.children.rnn import Layer
from rlnas.datasets import Text, Train, Validation
from rlnas.datasets.base import open_local
from rlnas.datasets.text import PennTreebank
from rlnas.spaces import DataShape
from rlnas.spaces.rnn import LSTM, Cell, RNNSpace

WORDS = 10_000
RECIPE = RNNRecipe(hidden=200)
SHAPE = DataShape("text", WORDS)

NO_AMX = "no AMX here"

Loss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _ordinary(model: nn.Module) -> Loss:
    def loss(words: Tensor, targets: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        logits, state = model(words, state)
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"), state

    return loss


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, loss_of: Loss, window: Tensor, state: Tensor) -> Tensor:
    """Do one update; return the state."""
    optimizer.zero_grad()
    loss, state = loss_of(window[:-1], window[1:], state)
    (loss / RECIPE.batch).backward()
    nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip)
    optimizer.step()
    return state.detach()


def measure(windows: int = 40) -> list[dict[str, Any]]:
    """Compare the training speed of a child of base 8 with the same cell under plain autograd, and with `nn.LSTM`.

    Args:
        windows: of 20 × 35 tokens, for each of the contenders.

    Returns:
        Rows of `name`, `value`, `unit`, `goal` (None: no goal) and `met`.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    space = RNNSpace()
    cell = space.decode([int(torch.randint(decision.choices, ())) for decision in space.decisions(0)])
    child, plain = LanguageModel(cell, RECIPE, WORDS), LanguageModel(cell, RECIPE, WORDS, Layer)
    trainer = LanguageTrainer(RECIPE, SHAPE, "cpu")
    reference = trainer.reference("lstm", cell)
    lstm, lstm_fast = trainer.build(reference), trainer.build(reference)
    contenders: dict[str, tuple[LanguageModel, Loss]] = {
        "child": (child, partial(child.loss, divisor=1)),
        "plain": (plain, _ordinary(plain)),
        "lstm": (lstm, _ordinary(lstm)),
        "lstm_fast": (lstm_fast, partial(lstm_fast.loss, divisor=1)),
    }
    if has_amx():
        auto = LanguageModel(cell, RECIPE, WORDS)
        contenders["auto"] = (auto, partial(auto.loss, divisor=1))
    states = {name: model.start(RECIPE.batch) for name, (model, _) in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    optimizers = {name: torch.optim.SGD(model.parameters(), lr=0.01) for name, (model, _) in contenders.items()}
    for _ in range(windows + 2):
        window = torch.randint(WORDS, (RECIPE.bptt + 1, RECIPE.batch))
        for name, (model, loss_of) in contenders.items():
            start = time.process_time()
            with products("bfloat16" if name == "auto" else "float32"):
                _step(model, optimizers[name], loss_of, window, states[name])
            seconds[name].append(time.process_time() - start)
    median = {name: statistics.median(values[2:]) for name, values in seconds.items()}
    return [
        _row("RNN child, base 8, H 200", RECIPE.batch * RECIPE.bptt / median["child"], "tokens/s"),
        _row("RNN child / the same cell under plain autograd", median["plain"] / median["child"], "times", 1.9),
        _row(
            f"RNN child / nn.LSTM of equal parameters (H {reference.hidden})",
            median["lstm"] / median["child"],
            "times",
            1.0,
        ),
        _row("RNN child / that nn.LSTM with the same loss", median["lstm_fast"] / median["child"], "times"),
        _row(
            "RNN child, precision auto / that nn.LSTM in an ordinary float32 loop",
            median["lstm"] / median["auto"] if "auto" in median else None,
            "times" if "auto" in median else NO_AMX,
            1.3,
        ),
    ]


def measure_perplexity(tokens: int | None = 300_000) -> list[dict[str, Any]]:
    """Train PyTorch's LSTM and the LSTM of the space for one epoch of the Penn Treebank, and compare perplexities.

    The first is trained by an ordinary loop of its own. Needs the folder `ptb` below `RLNAS_DATA`.

    Args:
        tokens: of the training text to use; None: all, which takes 12 minutes on a core.

    Returns:
        Rows as `measure` does; the last is the goal: at most 3 % apart.
    """
    torch.set_num_threads(1)
    data = PennTreebank(folder=f"{os.environ.get('RLNAS_DATA', '../shared/data')}/ptb")
    train, validation = data.train(open_local).content.tokens[:tokens], data.validation(open_local).content.tokens
    scores = {"nn.LSTM": _train_torch(train, validation), "LSTM in the space": _train_space(train, validation)}
    first, second = scores.values()
    rows = [
        _row(f"{name}, validation perplexity after {len(train)} tokens", score, "") for name, score in scores.items()
    ]
    apart = 100 * abs(second / first - 1)
    return [*rows, {"name": "apart", "value": apart, "unit": "%", "goal": 3.0, "met": apart <= 3.0}]


def _train_torch(train: Tensor, validation: Tensor) -> float:
    torch.manual_seed(0)
    model, batch, bptt = LanguageTrainer(RECIPE, SHAPE, "cpu").build(TorchLSTM(hidden=200)), RECIPE.batch, RECIPE.bptt
    optimizer, state = torch.optim.SGD(model.parameters(), lr=RECIPE.learning_rate), model.start(batch)
    streams = train[: len(train) // batch * batch].view(batch, -1).t().contiguous()
    for start in range(0, len(streams) - bptt, bptt):
        state = _step(model, optimizer, _ordinary(model), streams[start : start + bptt + 1], state)
    model.eval()
    total, state = 0.0, model.start(1)
    with torch.no_grad():
        for start in range(0, len(validation) - 1, 700):
            words = validation[start : start + 701, None]
            loss, state = _ordinary(model)(words[:-1], words[1:], state)
            total += float(loss)
    return float(torch.tensor(total / (len(validation) - 1)).exp())


class _LSTMTrainer(LanguageTrainer):
    """Starts the LSTM of the space with its unused leaves at zero, where they stay."""

    def build(self, architecture: Network, layer: type[Layer] = FastLayer) -> LanguageModel:
        assert isinstance(architecture, Cell)
        model = super().build(architecture, layer)
        with torch.no_grad():
            for weights in model.layers.parameters():
                weights.unflatten(0, (architecture.base, -1))[[1, 5, 6, 7]] = 0
        return model


def _train_space(train: Tensor, validation: Tensor) -> float:
    trainer = _LSTMTrainer(RECIPE.model_copy(update={"epochs": 1}), SHAPE, "cpu")
    snapshots = trainer.train(LSTM, Train(Text(train)), 0, None, SilentMonitor())
    return trainer.evaluate(LSTM, snapshots, Validation(Text(validation))).metrics["perplexity"]


def _row(name: str, value: float | None, unit: str, goal: float | None = None) -> dict[str, Any]:
    met = goal is None or value is None or value >= goal
    return {"name": name, "value": value, "unit": unit, "goal": None if value is None else goal, "met": met}


if __name__ == "__main__":
    for row in measure():
        print(row)
