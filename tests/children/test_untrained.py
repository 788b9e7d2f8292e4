"""What untrained cells show."""

import random

import pytest
import torch

from rlnas.children.untrained import LEAST, variation
from rlnas.spaces.rnn import GRU, LSTM, Cell, Operation, RNNSpace


def cell(*nodes, inject=("add", "identity"), c_out=0, c_in=0):
    return Cell(nodes=tuple(Operation(*node) for node in nodes), inject=Operation(*inject), c_out=c_out, c_in=c_in)


SILENT = cell(*[("elem_mult", "identity")] * 3)
EXPLODING = cell(("add", "identity"), ("add", "identity"), ("elem_mult", "identity"))


@pytest.mark.parametrize("known", [LSTM, GRU])
def test_known_cells_say_much_of_the_words(known):
    assert variation(known) > 0.5


@pytest.mark.parametrize("bad", [SILENT, EXPLODING])
def test_cells_that_say_nothing_have_the_least(bad):
    assert variation(bad) == LEAST


def test_it_is_equal_for_equal_cells_and_touches_no_random_state():
    space, generator = RNNSpace(), random.Random(0)
    cells = [space.decode([generator.randrange(d.choices) for d in space.decisions(0)]) for _ in range(20)]
    before = torch.random.get_rng_state()
    found = [variation(cell) for cell in cells]
    assert found == [variation(cell) for cell in cells]
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(LEAST <= value <= 1 for value in found)
    assert len(set(found)) > 10
