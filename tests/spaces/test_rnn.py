"""The space of recurrent cells: its count, its sequences, what they mean, and what a person reads."""

import random
import subprocess
import sys

import pytest
from pydantic import ValidationError

from rlnas.spaces import SPACES, DataShape
from rlnas.spaces.rnn import GRU, LSTM, Cell, Operation, RNNSpace

SHAPE = DataShape("text", classes=10)
WORKED = (0, 1, 1, 3, 1, 2, 0, 3, 1, 0)
"""The paper's example of base 2: (add, tanh), (elem_mult, relu), (elem_mult, sigmoid), inject (add, relu), (1, 0)."""


def cells(space: RNNSpace, count: int) -> list[Cell]:
    rng = random.Random(0)
    return [space.decode([rng.randrange(d.choices) for d in space.decisions(0)]) for _ in range(count)]


def test_size_is_that_of_the_paper():
    assert RNNSpace().size == 8**15 * 8 * 15**2
    assert f"{RNNSpace().size:.0e}" == "6e+16"
    assert RNNSpace(base=2, combinations=("add",), activations=("tanh", "relu")).size == 2**3 * 2 * 3**2


def test_decisions_are_in_the_order_of_the_paper():
    decisions = RNNSpace(base=4).decisions(0)
    assert [d.kind for d in decisions] == ["combination", "activation"] * 8 + ["node", "node"]
    assert [d.choices for d in decisions] == [2, 4] * 8 + [7, 7]
    assert [d.label for d in decisions[8:10]] == ["node 4 combination", "node 4 activation"]
    assert [d.label for d in decisions[14:]] == [
        "cell inject combination",
        "cell inject activation",
        "new cell state from node (c_out)",
        "old cell state into node (c_in)",
    ]
    assert decisions == RNNSpace(base=4).decisions(10_000)


def test_heads_are_what_the_decisions_ask_for():
    space = RNNSpace(combinations=("add", "elem_mult", "max"), activations=("tanh", "sin"))
    assert space.heads == {"combination": 3, "activation": 2, "node": 15}
    assert all(space.heads[d.kind] == d.choices for d in space.decisions(0))


def test_decodes_the_worked_example():
    cell = RNNSpace(base=2).decode(WORKED)
    assert cell.nodes == (("add", "tanh"), ("elem_mult", "relu"), ("elem_mult", "sigmoid"))
    assert (cell.inject, cell.c_out, cell.c_in) == (("add", "relu"), 1, 0)


@pytest.mark.parametrize("base", [2, 4, 8, 16])
def test_encode_undoes_decode(base):
    space = RNNSpace(base=base, combinations=("max", "add"), activations=("sin", "tanh", "identity"))
    rng = random.Random(base)
    for _ in range(20):
        tokens = tuple(rng.randrange(d.choices) for d in space.decisions(0))
        assert space.encode(space.decode(tokens)) == tokens


def test_cells_survive_json():
    for cell in cells(RNNSpace(), 5):
        assert Cell.model_validate_json(cell.model_dump_json()) == cell


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (WORKED[:-1], "takes 10 tokens, got 9"),
        ((*WORKED, 0), "left over"),
        ((2, *WORKED[1:]), "leaf 0 combination"),
        ((*WORKED[:-1], 3), "old cell state into node"),
    ],
)
def test_refuses_other_sequences(tokens, message):
    with pytest.raises(ValueError, match=message):
        RNNSpace(base=2).decode(tokens)


@pytest.mark.parametrize(
    ("cell", "message"),
    [(LSTM, "base 8"), (RNNSpace(base=2, activations=("sin",)).decode((0, 0) * 4 + (0, 0)), "not in")],
)
def test_refuses_to_encode_cells_of_other_spaces(cell, message):
    with pytest.raises(ValueError, match=message):
        RNNSpace(base=2).encode(cell)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": 3}, "power of two.*got 3"),
        ({"base": 1}, "greater than or equal to 2"),
        ({"activations": ["tanh", "gelu"]}, "'identity', 'tanh', 'sigmoid', 'relu' or 'sin'"),
        ({"combinations": ["minus"]}, "'add', 'elem_mult' or 'max'"),
        ({"combinations": []}, "at least 1 item"),
        ({"activations": ["tanh", "tanh"]}, "must differ"),
        ({"depth": 3}, "depth"),
    ],
)
def test_refuses_settings_that_mean_nothing(fields, message):
    with pytest.raises(ValidationError, match=message):
        RNNSpace(**fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": LSTM.nodes[:-1]}, "2N − 1 nodes"),
        ({"nodes": LSTM.nodes[:5]}, "2N − 1 nodes"),
        ({"nodes": LSTM.nodes[:1]}, "2N − 1 nodes"),
        ({"c_out": 15}, "c_out: node 15 is not one of 0 to 14"),
        ({"c_in": -1}, "c_in: node -1"),
    ],
)
def test_a_cell_is_a_tree(change, message):
    with pytest.raises(ValidationError, match=message):
        Cell(**LSTM.model_dump() | change)


def test_subtrees():
    assert LSTM.children(14) == (12, 13)
    assert LSTM.below(9) == {9, 2, 3}
    assert LSTM.below(14) == set(range(15))
    assert GRU.below(24) == {24, 16, 17, 0, 1, 2, 3}


def test_describes_the_worked_example_as_the_paper_does():
    description = RNNSpace(base=2).describe(RNNSpace(base=2).decode(WORKED), SHAPE)
    assert description.remarks == (
        "a0 = tanh(W0 x + U0 h_prev)",
        "a0' = relu(a0 + c_prev)",
        "z1 = (W1 x) * (U1 h_prev)",
        "a1 = relu(z1)",
        "a2 = sigmoid(a0' * a1)",
        "h = a2",
        "c = z1",
    )
    assert description.rows[0] == ("0", "W0 x, U0 h_prev", "add", "tanh", "c_prev joins: add relu")
    assert description.rows[1] == ("1", "W1 x, U1 h_prev", "elem_mult", "relu", "c, before its activation")
    assert description.rows[2] == ("2", "node 0, node 1", "elem_mult", "sigmoid", "h")
    assert "c from node 1, c_prev into node 0 (add relu)" in description.summary
    assert set(description.edges) == {
        ("input", "0"),
        ("input", "1"),
        ("0", "2"),
        ("1", "2"),
        ("c_prev", "0"),
        ("1", "c"),
        ("2", "h"),
    }


def test_equations_of_a_maximum_and_of_a_root_that_is_everything():
    nodes = (Operation("max", "sin"), Operation("add", "identity"), Operation("max", "identity"))
    cell = Cell(nodes=nodes, inject=Operation("max", "identity"), c_out=2, c_in=2)
    space = RNNSpace(base=2, combinations=("add", "max"), activations=("identity", "sin"))
    assert space.describe(cell, SHAPE).remarks == (
        "a0 = sin(max(W0 x, U0 h_prev))",
        "a1 = W1 x + U1 h_prev",
        "z2 = max(a0, a1)",
        "a2 = z2",
        "a2' = max(a2, c_prev)",
        "h = a2'",
        "c = z2",
    )


def test_boxes_of_the_drawing_do_not_overlap():
    for base in (2, 4, 8):
        space = RNNSpace(base=base)
        for cell in cells(space, 50):
            description = space.describe(cell, SHAPE)
            boxes = [(node.x, node.y) for node in description.nodes]
            assert all(abs(x - u) >= 1 or abs(y - v) >= 1 for i, (x, y) in enumerate(boxes) for u, v in boxes[i + 1 :])
            names = {node.name for node in description.nodes}
            assert all(name in names for edge in description.edges for name in edge)
            heights = {node.name: node.y for node in description.nodes}
            assert all(heights[start] <= heights[end] for start, end in description.edges)


def test_is_registered_and_imports_without_torch():
    assert SPACES["rnn"] == "rlnas.spaces.rnn:RNNSpace"
    code = "import rlnas.spaces.rnn, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_features_count_operations_and_what_the_cell_state_meets():
    counts = RNNSpace().features(RNNSpace().encode(LSTM), SHAPE).counts
    assert counts["leaf add sigmoid"] == 3
    assert counts["node add identity"] == 4
    assert counts["inject elem_mult"] == 1
    # From leaf 0 by nodes 8 and 12 into the new cell state, with no activation after the last.
    assert counts["cell state kept"] == 1
    assert counts["steps to cell state"] == 2
    assert counts["add on the way to cell state"] == 2
    assert counts["identity on the way to cell state"] == 1
    assert "tanh on the way to cell state" not in counts
    assert counts["tanh on the way to hidden state"] == 1
    lost = RNNSpace().features(RNNSpace().encode(LSTM.model_copy(update={"c_out": 0})), SHAPE)
    assert lost.counts["cell state kept"] == lost.counts["steps to cell state"] == 0
    assert not lost.sizes
