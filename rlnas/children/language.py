"""Language models with a found cell: trained on windows of a text, scored by their perplexity on another."""

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from rlnas.children.base import Deployable, Evaluation, Monitor, Trainer
from rlnas.children.cost import latencies
from rlnas.children.fast_cell import FastLayer
from rlnas.children.fast_loss import softmax_loss
from rlnas.children.lstm import LSTMLayer, TorchLSTM
from rlnas.children.precision import chosen, products
from rlnas.children.recipes import SMALLEST_IN_BFLOAT16, RNNRecipe
from rlnas.children.rnn import Layer
from rlnas.children.training import SGD, Adam, Optimizer, Run, by_epoch, child_failures, first_losses, train
from rlnas.children.untrained import variation
from rlnas.datasets import Text, Train, Validation
from rlnas.errors import ChildFailure, UserError
from rlnas.seeds import derive_seed
from rlnas.spaces.rnn import Cell

Network = Cell | TorchLSTM
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam}
LayerType = Callable[[Any, int, int], nn.Module]
EXAMPLES, EXAMPLE_STEPS = 16, 20  # streams, and words of each, that a deployed module is tried on


class LanguageModel(nn.Module):
    """Embedding, layers of one cell, softmax; dropout on everything that goes up, never on what goes on in time.

    Args:
        cell: the architecture.
        recipe: number of layers, dropout, tied embeddings, range of the initial weights.
        vocabulary: number of words.
        layer: `FastLayer`, or `Layer` where a model of plain torch operations is wanted, such as for an export;
            `LSTMLayer` for the reference model.
    """

    def __init__(self, cell: Network, recipe: RNNRecipe, vocabulary: int, layer: LayerType = FastLayer) -> None:
        super().__init__()
        self.hidden = recipe.hidden_size(cell.base, vocabulary)
        self.embedding = nn.Embedding(vocabulary, self.hidden)
        self.layers = nn.ModuleList(layer(cell, self.hidden, self.hidden) for _ in range(recipe.layers))
        self.softmax_weight = None if recipe.tied else nn.Parameter(torch.empty(vocabulary, self.hidden))
        self.softmax_bias = nn.Parameter(torch.empty(vocabulary))
        self.dropout = nn.Dropout(recipe.dropout)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -recipe.init, recipe.init)

    def start(self, batch: int) -> Tensor:
        """Return the state before a text: zeros, [layers, 2 (h and c), batch, hidden]."""
        return self.softmax_bias.new_zeros(len(self.layers), 2, batch, self.hidden)

    def encode(self, words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read a window.

        Args:
            words: int64 [steps, batch].
            state: before it.

        Returns:
            The top layer's hidden states [steps, batch, hidden], and the state after the window.
        """
        x, after = self.dropout(self.embedding(words)), []
        for layer, (h, c) in zip(self.layers, state, strict=True):
            x, new = layer(x, (h, c))
            x = self.dropout(x)
            after.append(torch.stack(new))
        return x, torch.stack(after)

    def forward(self, words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of every next word, [steps, batch, vocabulary], and the state; see `encode`."""
        x, state = self.encode(words, state)
        return nn.functional.linear(x, self._classifier, self.softmax_bias), state

    def loss(self, words: Tensor, targets: Tensor, state: Tensor, divisor: float) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of the targets [steps, batch], summed and divided, and the state; see `encode`."""
        x, state = self.encode(words, state)
        return softmax_loss(x.flatten(0, 1), self._classifier, self.softmax_bias, targets.flatten(), divisor), state

    @property
    def _classifier(self) -> Tensor:
        return self.embedding.weight if self.softmax_weight is None else self.softmax_weight


class OneStep(nn.Module):
    """A trained model as people use it: word by word."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read one word of each stream.

        Args:
            words: int64 [batch].
            state: [layers, 2, batch, hidden], zeros before a text.

        Returns:
            The logits of the next words [batch, vocabulary], and the new state.
        """
        logits, state = self.model(words[None], state)
        return logits[0], state


class LanguageTrainer(Trainer):
    """Trains language models by truncated backpropagation through time (Zoph & Le 2017, Section 4.2)."""

    recipe: RNNRecipe
    architectures = Network

    def precision(self, architecture: Network) -> str:
        """See `Trainer.precision`. Small products are faster in float32, on a processor with AMX, too."""
        hidden = self._recipe_of(architecture).hidden_size(architecture.base, self.shape.classes)
        small = self.device == "cpu" and hidden < SMALLEST_IN_BFLOAT16
        return chosen("float32" if small and self.recipe.precision == "auto" else self.recipe.precision, self.device)

    def build(self, architecture: Network, layer: type[Layer] = FastLayer) -> LanguageModel:
        """Build a child, or the reference model, with random weights.

        Raises:
            UserError: no hidden size meets `child.parameters`.
        """
        kind = LSTMLayer if isinstance(architecture, TorchLSTM) else layer
        return LanguageModel(architecture, self._recipe_of(architecture), self.shape.classes, kind).to(self.device)

    def _recipe_of(self, architecture: Network) -> RNNRecipe:
        """The recipe with the hidden size of a reference model, which says its own."""
        own = {"hidden": architecture.hidden} if isinstance(architecture, TorchLSTM) else {}
        return self.recipe.model_copy(update=own)

    def reference(self, name: str, architecture: Cell) -> TorchLSTM:
        """Return PyTorch's LSTM with as many weights as the winner, or as near as a whole hidden size comes.

        Raises:
            UserError: it is not known.
        """
        if name not in self.recipe.references:
            return super().reference(name, architecture)
        recipe, words = self.recipe, self.shape.classes
        count = recipe.count_parameters(architecture.base, words, recipe.hidden_size(architecture.base, words))
        equal = recipe.model_copy(update={"parameters": count})
        return TorchLSTM(hidden=equal.nearest_hidden_size(TorchLSTM.base, words))

    def train(
        self, architecture: Network, data: Train[Text], seed: int, checkpoint: bytes | None, monitor: Monitor
    ) -> bytes:
        """Train a child; see `Trainer.train`.

        Raises:
            UserError: the text does not fill one window, or no hidden size meets `child.parameters`.
        """
        recipe = self.recipe
        recipe.windows(len(data.content.tokens))
        if isinstance(architecture, Cell):
            recipe.hidden_size(architecture.base, self.shape.classes)
        torch.manual_seed(derive_seed(seed, "weights"))
        run = _LanguageRun(self.build(architecture), recipe, data.content.tokens.to(self.device))
        with products(self.precision(architecture)):  # on fast units; the state stays float32
            return train(
                run,
                epochs=recipe.epochs,
                keep=recipe.snapshots,
                seed=seed,
                checkpoint=checkpoint,
                monitor=monitor,
                time_limit=recipe.time_limit,
            )

    def evaluate(self, architecture: Network, snapshots: bytes, data: Validation[Text]) -> Evaluation:
        """Score a child: the reward is `reward_constant / perplexity²`, of the best snapshot.

        Raises:
            ChildFailure: the perplexity is not finite.
            UserError: the text has fewer than two words.
        """
        recipe, tokens = self.recipe, _text(data).to(self.device)
        model, epochs = self.build(architecture), by_epoch(snapshots)
        history = []
        for weights in epochs:
            model.load_state_dict(weights)
            with products("float32"):
                history.append(perplexity(model, tokens, steps=recipe.batch * recipe.bptt))
        best = min(history)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        metrics = {"perplexity": best, "parameters": parameters, "hidden": model.hidden}
        return Evaluation(tuple(history), recipe.reward_constant / best**2, metrics)

    def measure(self, architecture: Network, names: Collection[str]) -> dict[str, float]:
        """Count the weights of an untrained child and the multiply-adds of one word; time one step of a batch of words.

        See `Trainer.measure`.
        """
        model = self.build(architecture, Layer).eval()
        parameters = sum(parameter.numel() for parameter in model.parameters())
        flops = parameters - model.softmax_bias.numel()
        if not self.recipe.tied:
            flops -= model.embedding.weight.numel()  # looked up, not multiplied

        def call(size: int) -> object:
            return model(torch.zeros(1, size, dtype=torch.int64, device=self.device), model.start(size))

        counts = {"parameters": float(parameters), "flops": float(flops)}
        return {name: counts[name] for name in counts if name in names} | latencies(names, call, self.device)

    def scores(self, architecture: Cell) -> dict[str, float]:
        """Return how much an untrained cell's state says of the words; see `Trainer.scores`."""
        return {"variation": variation(architecture)}

    def trial(self, architecture: Network, data: Train[Text], seed: int) -> float:
        """Return the mean loss of the last half of the first windows of a training; see `Trainer.trial`.

        A child that fails on the way has twice the loss of guessing, which is the most that a loss may be.
        """
        recipe = self.recipe
        torch.manual_seed(derive_seed(seed, "weights"))
        run = _LanguageRun(self.build(architecture), recipe, data.content.tokens.to(self.device))
        windows = math.ceil(recipe.trial * recipe.epochs * run.steps)
        try:
            with products(self.precision(architecture)), child_failures():
                return float(first_losses(run, windows, seed)[windows // 2 :].mean())
        except ChildFailure:
            return run.loss_limit

    def deployed(self, architecture: Network) -> OneStep:
        """Return a module that does one step; see `Trainer.deployed`."""
        return OneStep(self.build(architecture, Layer).to("cpu")).eval()

    def deploy(self, architecture: Network, snapshots: bytes, data: Validation[Text]) -> Deployable:
        """Return the module of the last snapshot, its examples being steps from within the text; see `Trainer.deploy`.

        Raises:
            UserError: the text has fewer than two words.
        """
        tokens = _text(data)
        weights = by_epoch(snapshots)[-1]
        module = self.deployed(architecture)
        module.model.load_state_dict(weights)
        # The expected results are those of the layers that it was trained and evaluated with, over a window.
        trained = self.build(architecture).to("cpu").eval()
        trained.load_state_dict(weights)
        windows = tokens.unfold(0, min(EXAMPLE_STEPS, len(tokens)), 1)
        words = windows[torch.linspace(0, len(windows) - 1, EXAMPLES).long()].t()
        with torch.no_grad():
            _, before = trained.encode(words[:-1], trained.start(EXAMPLES))
            logits, after = trained(words, trained.start(EXAMPLES))
        return Deployable(
            module,
            inputs={"words": words[-1], "state": before},
            outputs={"logits": logits[-1], "new_state": after},
            batch_axis={"words": 0, "state": 2, "logits": 0, "new_state": 2},
            architecture=architecture,
            recipe=self.recipe,
            shape=self.shape,
        )


def _text(data: Validation[Text]) -> Tensor:
    if len(data.content.tokens) < 2:
        raise UserError("dataset: the validation text has fewer than two tokens; allowed: at least 2")
    return data.content.tokens


def perplexity(model: LanguageModel, tokens: Tensor, steps: int) -> float:
    """Return the perplexity of a text.

    The text is one stream that is read from its beginning, so every word but the first, which nothing comes before,
    is predicted exactly once, from all that come before it.

    Args:
        model: put into evaluation mode.
        tokens: int64 [N], N at least 2.
        steps: of the windows it is read in; they change the speed, not the result.

    Raises:
        ChildFailure: it is not finite, or far above that of guessing.
    """
    model.eval()
    with torch.no_grad():
        state, total = model.start(1), torch.zeros((), dtype=torch.float64, device=tokens.device)
        for start in range(0, len(tokens) - 1, steps):
            words = tokens[start : start + steps + 1, None]
            loss, state = model.loss(words[:-1], words[1:], state, divisor=1)
            total += loss
    mean = float(total) / (len(tokens) - 1)
    if not math.isfinite(mean):
        raise ChildFailure("not_finite", f"validation loss is {mean}")
    if mean > 2 * math.log(len(model.softmax_bias)):
        raise ChildFailure("diverged", f"validation loss {mean:.3g} is more than twice that of guessing")
    return math.exp(mean)


class _LanguageRun(Run):
    """Windows of a text, the state handed on from one to the next; an epoch reads the text from its beginning."""

    def __init__(self, model: LanguageModel, recipe: RNNRecipe, tokens: Tensor) -> None:
        self.model: LanguageModel = model
        self.recipe = recipe
        self.optimizer = OPTIMIZERS[recipe.optimizer](model.parameters(), recipe.learning_rate)
        self.steps = recipe.windows(len(tokens))
        self.loss_limit = 2 * math.log(len(model.softmax_bias))
        length = len(tokens) // recipe.batch
        self.streams = tokens[: recipe.batch * length].view(recipe.batch, length).t().contiguous()
        self.state = model.start(recipe.batch)
        # The best that a model can do whose cells say nothing: to know how frequent each word is.
        frequencies = tokens.bincount().double() / len(tokens)
        self.frequency_loss = float(-torch.xlogy(frequencies, frequencies).sum())
        self.average = torch.full((), math.inf, device=tokens.device)
        self.epoch = 0

    def start_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        decays = max(epoch + 1 - self.recipe.flat_epochs, 0)
        self.optimizer.lr = self.recipe.learning_rate / self.recipe.decay**decays

    def step(self, step: int) -> Tensor:
        recipe = self.recipe
        if step == 0:
            self.state = torch.zeros_like(self.state)
        window = self.streams[step * recipe.bptt : (step + 1) * recipe.bptt + 1]
        loss, state = self.model.loss(window[:-1], window[1:], self.state, divisor=recipe.batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.optimizer.step()
        self.state = state.detach()
        loss = loss.detach() / recipe.bptt
        self.average = torch.where(self.average.isinf(), loss, torch.lerp(self.average, loss, 0.01))
        if self.epoch * self.steps + step + 1 == recipe.dead_after:
            self._fail_if_dead()
        return loss + 0 * norm  # not a number where the norm is not finite

    def _fail_if_dead(self) -> None:
        if float(self.average) > self.frequency_loss - self.recipe.dead_margin:
            raise ChildFailure(
                "dead",
                f"loss {float(self.average):.3g} after {self.recipe.dead_after} windows;"
                f" word frequencies alone give {self.frequency_loss:.3g}",
            )

    def carried(self) -> dict[str, Tensor]:
        return {"state": self.state, "average": self.average}

    def carry(self, tensors: dict[str, Tensor]) -> None:
        self.state, self.average = (tensors[name].to(self.state.device) for name in ("state", "average"))
