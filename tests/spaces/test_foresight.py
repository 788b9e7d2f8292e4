"""What operations foretell of a cell, against what a cell with weights does."""

import random

import pytest
import torch

from rlnas.children.rnn import Layer
from rlnas.spaces.foresight import growth, is_silent
from rlnas.spaces.rnn import GRU, LSTM, Cell, Operation, RNNSpace

TANH = Operation("add", "tanh")
PRODUCT = Operation("elem_mult", "identity")
SPACES = (
    RNNSpace(),
    RNNSpace(base=2, combinations=("add", "elem_mult", "max"), activations=("identity", "sin", "relu")),
)


def cells(space: RNNSpace, count: int) -> list[Cell]:
    rng = random.Random(0)
    return [space.decode([rng.randrange(d.choices) for d in space.decisions(0)]) for _ in range(count)]


def states(cell: Cell, scale: float, start: float, steps: int) -> torch.Tensor:
    """Run a layer with random weights; returns h [steps, batch, hidden], and last c in its place."""
    torch.manual_seed(0)
    layer = Layer(cell, 16, 16).double()
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, -scale, scale)
    h = torch.full((4, 16), start, dtype=torch.float64)
    with torch.no_grad():
        output, (_, c) = layer(torch.randn(steps, 4, 16, dtype=torch.float64), (h, h))
    return torch.cat([output, c[None]])


@pytest.mark.parametrize("space", SPACES, ids=["paper", "wide"])
def test_a_cell_is_silent_exactly_if_its_state_stays_zero(space):
    found = [(is_silent(cell), bool(states(cell, 0.5, 0.0, 40)[:-1].abs().sum() == 0)) for cell in cells(space, 150)]
    assert [a for a, _ in found] == [b for _, b in found]
    assert len(set(found)) == 2


@pytest.mark.parametrize("space", SPACES, ids=["paper", "wide"])
def test_a_bounded_state_comes_back_and_only_one_that_grows_by_a_power_explodes(space):
    exploded: dict[int, list[bool]] = {0: [], 1: [], 2: []}
    for cell in cells(space, 150):
        degree = min(max(growth(cell)), 2)
        if degree == 0:
            assert states(cell, 1.0, 1e30, 12)[6:].abs().max() < 1e20  # what is left are products of inputs
        exploded[degree].append(not bool(states(cell, 1.0, 1e3, 12).abs().max() < 1e100))
    assert not any(exploded[0] + exploded[1])
    assert sum(exploded[2]) > 0.2 * len(exploded[2]) > 1  # a relu at zero may save one
    assert all(exploded.values())


def test_worked_examples():
    assert growth(Cell(nodes=(TANH,) * 3, inject=PRODUCT, c_out=0, c_in=1)) == (0, 0)
    assert growth(LSTM) == (1, 1)  # its unused leaves, whose weights are not zero at random, multiply by h
    assert growth(Cell(nodes=(PRODUCT,) * 3, inject=PRODUCT, c_out=2, c_in=2)) == (4, 4)
    assert not is_silent(LSTM)
    assert not is_silent(GRU)
    assert is_silent(Cell(nodes=(TANH, PRODUCT, PRODUCT), inject=PRODUCT, c_out=0, c_in=2))
