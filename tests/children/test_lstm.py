"""PyTorch's LSTM as the model that found cells are compared with."""

import pytest
import torch
from torch import nn

from rlnas.children import SilentMonitor
from rlnas.children.language import LanguageTrainer
from rlnas.children.lstm import TorchLSTM
from rlnas.children.recipes import RNNRecipe
from rlnas.datasets import Text, Train, Validation
from rlnas.errors import UserError
from rlnas.spaces import DataShape
from rlnas.spaces.rnn import LSTM, Cell, Operation

TREE = Cell(nodes=(Operation("add", "tanh"),) * 7, inject=Operation("add", "tanh"), c_out=4, c_in=1)


def trainer(words=10_000, **fields):
    return LanguageTrainer(RNNRecipe(**fields), DataShape("text", classes=words), "cpu")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", [LSTM, TREE], ids=["base 8", "base 4"])
@pytest.mark.parametrize("size", [{"hidden": 200}, {"parameters": 2_000_000}], ids=["hidden", "parameters"])
def test_it_has_as_many_weights_as_the_winner(cell, tied, size):
    children = trainer(tied=tied, **size)
    counts = []
    for architecture in (cell, children.reference("lstm", cell)):
        counts.append(sum(p.numel() for p in children.build(architecture).parameters()))
    assert counts[1] == pytest.approx(counts[0], rel=0.01)


def test_the_winners_own_size_serves_where_the_leaves_are_as_many():
    assert trainer(hidden=48, layers=1).reference("lstm", TREE) == TorchLSTM(hidden=48)


def test_where_no_size_gives_as_many_the_nearest_does():
    children = trainer(words=10, hidden=5, layers=1)
    cell, *others = (
        sum(p.numel() for p in children.build(model).parameters())
        for model in (LSTM, TorchLSTM(hidden=6), children.reference("lstm", LSTM), TorchLSTM(hidden=7))
    )
    assert others[1] == min(others, key=lambda count: abs(count - cell))


def test_its_precision_is_known_where_no_size_gives_as_many_weights():
    children = trainer(words=2000, parameters=100_000)
    assert children.precision(children.reference("lstm", LSTM)) in ("float32", "bfloat16")
    large = trainer(words=100, hidden=200, precision="auto")
    assert large.precision(TorchLSTM(hidden=20)) == "float32", "by its own size, not the cell's"


def test_an_unknown_reference_is_refused():
    with pytest.raises(UserError, match="'gru'; allowed: lstm"):
        trainer().reference("gru", TREE)


def test_it_is_the_ordinary_language_model():
    children = trainer(words=50, hidden=16, dropout=0.0)
    model = children.build(TorchLSTM(hidden=16))
    ordinary = nn.LSTM(16, 16, num_layers=2, bias=False)
    with torch.no_grad():
        for at, layer in enumerate(model.layers):
            getattr(ordinary, f"weight_ih_l{at}").copy_(layer.weight_ih_l0)
            getattr(ordinary, f"weight_hh_l{at}").copy_(layer.weight_hh_l0)
        words = torch.randint(50, (7, 3))
        x, (h, c) = ordinary(model.embedding(words))
        logits, state = model(words, model.start(3))
    assert torch.allclose(logits, nn.functional.linear(x, model.softmax_weight, model.softmax_bias), atol=1e-6)
    assert torch.allclose(state, torch.stack([h, c], dim=1), atol=1e-6)


def test_it_learns_by_the_recipe_of_the_children():
    children = trainer(words=8, epochs=2, batch=8, bptt=8, hidden=16, dropout=0.0, learning_rate=0.2, init=0.3)
    text = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7]).repeat(1000)
    lstm = children.reference("lstm", TREE)
    snapshots = children.train(lstm, Train(Text(text)), 0, None, SilentMonitor())
    result = children.evaluate(lstm, snapshots, Validation(Text(text[:400])))
    # What follows a 0 depends on the word before it: without memory the best perplexity is 2^(2/8) = 1.19.
    assert result.metrics["perplexity"] < 1.15
    assert result.metrics["hidden"] == 16
