"""Recurrent cells: the paper's meaning by hand, known cells, and the fast layer against plain autograd."""

import math
import random
from itertools import groupby

import pytest
import torch
from torch import nn

from rlnas.children.fast_cell import FastLayer, _leaf_order
from rlnas.children.rnn import Layer
from rlnas.spaces.rnn import GRU, LSTM, Cell, Operation, RNNSpace

WIDE = {
    "combinations": ("add", "elem_mult", "max"),
    "activations": ("identity", "tanh", "sigmoid", "relu", "sin"),
}


def random_cell(seed: int, base: int, **settings) -> Cell:
    space, rng = RNNSpace(base=base, **settings), random.Random(seed)
    return space.decode([rng.randrange(decision.choices) for decision in space.decisions(0)])


def results(layer, x, state, weights):
    """Outputs, and the gradients of their weighted sum by the inputs and parameters."""
    inputs = [tensor.clone().requires_grad_() for tensor in (x, *state)]
    output, (h, c) = layer(inputs[0], tuple(inputs[1:]))
    wanted = (*inputs, *layer.parameters())
    gradients = torch.autograd.grad((output, h, c), wanted, weights, allow_unused=True)
    zeros = (torch.zeros_like(w) if g is None else g for w, g in zip(wanted, gradients, strict=True))
    return output.detach(), h.detach(), c.detach(), *zeros


@pytest.mark.parametrize("kind", [Layer, FastLayer])
def test_the_worked_example_of_the_paper(kind):
    nodes = (Operation("add", "tanh"), Operation("elem_mult", "relu"), Operation("elem_mult", "sigmoid"))
    layer = kind(Cell(nodes=nodes, inject=Operation("add", "relu"), c_out=1, c_in=0), 1, 1)
    with torch.no_grad():
        layer.W[:, 0] = torch.tensor([0.5, 2.0])
        layer.U[:, 0] = torch.tensor([-1.0, 3.0])
    h, c, expected = 0.1, 0.25, []
    for x in (0.4, -0.3):
        a0 = math.tanh(0.5 * x - 1.0 * h)
        z1 = (2.0 * x) * (3.0 * h)
        a1 = max(z1, 0)
        a0 = max(a0 + c, 0)
        h, c = 1 / (1 + math.exp(-a0 * a1)), z1
        expected.append(h)
    output, (h_end, c_end) = layer(torch.tensor([[[0.4]], [[-0.3]]]), (torch.tensor([[0.1]]), torch.tensor([[0.25]])))
    assert output.flatten().tolist() == pytest.approx(expected, rel=1e-6)
    assert expected[0] == pytest.approx(1 / (1 + math.exp(-(math.tanh(0.1) + 0.25) * 0.24)))  # 0.5210
    assert (h_end.item(), c_end.item()) == pytest.approx((h, c), rel=1e-6)


@pytest.mark.parametrize("base", [2, 4, 8])
@pytest.mark.parametrize("seed", range(50))
def test_the_fast_layer_is_the_plain_one(seed, base):
    cell = random_cell(seed, base, **(WIDE if seed % 2 else {}))
    torch.manual_seed(seed)
    plain = Layer(cell, 3, 4, bias=seed % 4 < 2).double()
    fast = FastLayer(cell, 3, 4, bias=seed % 4 < 2).double()
    fast.load_state_dict(plain.state_dict())
    new = lambda *shape: torch.randn(shape, dtype=torch.float64)  # noqa: E731
    x, state, weights = new(5, 2, 3), (new(2, 4), new(2, 4)), (new(5, 2, 4), new(2, 4), new(2, 4))
    for _ in range(2):  # the second time in used buffers
        for expected, got in zip(results(plain, x, state, weights), results(fast, x, state, weights), strict=True):
            assert torch.allclose(expected, got, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(50))
def test_the_fast_gradient_is_that_of_finite_differences(seed):
    torch.manual_seed(seed)
    base = (2, 4, 8)[seed % 3]
    cell = random_cell(seed, base, **WIDE)
    shapes = [(3, 2, 2), (2, 2), (2, 2), (2 * base, 2), (2 * base, 2)]
    inputs = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]

    def run(x, h, c, W, U):
        layer = FastLayer(cell, 2, 2)  # with buffers of its own: gradcheck goes backward after other forward passes
        output, state = torch.func.functional_call(layer, {"W": W, "U": U}, (x, (h, c)))
        return output, *state

    assert torch.autograd.gradcheck(run, inputs)


def test_ties_of_a_maximum_are_shared_as_in_autograd():
    nodes = (Operation("max", "relu"), Operation("max", "relu"), Operation("max", "identity"))
    cell = Cell(nodes=nodes, inject=Operation("max", "identity"), c_out=2, c_in=0)
    plain, fast = Layer(cell, 2, 2), FastLayer(cell, 2, 2)
    for layer in (plain, fast):
        for parameter in layer.parameters():
            nn.init.constant_(parameter, 0.5)
    x, state = torch.ones(3, 1, 2), (torch.ones(1, 2), torch.ones(1, 2))
    weights = (torch.ones(3, 1, 2), torch.ones(1, 2), torch.ones(1, 2))
    for expected, got in zip(results(plain, x, state, weights), results(fast, x, state, weights), strict=True):
        assert torch.allclose(expected, got)


def test_a_state_can_be_handed_on():
    layer = FastLayer(random_cell(1, base=8), 3, 4)
    x, start = torch.randn(7, 2, 3), (torch.randn(2, 4), torch.randn(2, 4))
    with torch.no_grad():
        whole, end = layer(x, start)
        first, state = layer(x[:3], start)
        second, last = layer(x[3:], state)
    assert torch.allclose(whole, torch.cat([first, second]), atol=1e-6)
    assert torch.allclose(torch.stack(end), torch.stack(last), atol=1e-6)


def test_a_late_backward_pass_is_refused():
    layer = FastLayer(LSTM, 2, 2)
    x, state = torch.randn(3, 1, 2), (torch.zeros(1, 2), torch.zeros(1, 2))
    first, _ = layer(x, state)
    layer(x, state)
    with pytest.raises(RuntimeError, match="before the layer's next forward pass"):
        first.sum().backward()


def test_equal_leaves_become_neighbours():
    alternating = tuple(Operation("add", ("tanh", "relu")[i % 2]) for i in range(15))
    cell = Cell(nodes=alternating, inject=LSTM.inject, c_out=14, c_in=0)
    assert sorted(_leaf_order(cell)) == list(range(8))
    assert len(list(groupby(_leaf_order(cell), key=lambda leaf: leaf % 2))) == 2
    inside = cell.model_copy(update={"nodes": alternating[:1] * 15, "c_out": 9})  # leaves 2 and 3
    assert len(list(groupby(_leaf_order(inside), key=lambda leaf: leaf in (2, 3)))) == 2


@pytest.mark.parametrize("kind", [Layer, FastLayer])
@pytest.mark.parametrize("bias", [False, True])
def test_the_lstm_is_in_the_space(kind, bias):
    torch.manual_seed(0)
    reference, layer = nn.LSTM(3, 4, bias=bias).double(), kind(LSTM, 3, 4, bias=bias).double()
    leaves = torch.tensor([2, 0, 3, 4])  # PyTorch's order: input gate, forget gate, candidate, output gate
    with torch.no_grad():
        for mine, theirs in ((layer.W, reference.weight_ih_l0), (layer.U, reference.weight_hh_l0)):
            mine.zero_().unflatten(0, (8, 4))[leaves] = theirs.unflatten(0, (4, 4))
        if bias:
            layer.b.unflatten(0, (8, 4))[leaves] = (reference.bias_ih_l0 + reference.bias_hh_l0).unflatten(0, (4, 4))
    x, h, c = (torch.randn(shape, dtype=torch.float64) for shape in [(6, 2, 3), (2, 4), (2, 4)])
    output, state = layer(x, (h, c))
    expected, expected_state = reference(x, (h[None], c[None]))
    assert torch.allclose(output, expected, atol=1e-12)
    assert torch.allclose(torch.stack(state), torch.cat(expected_state), atol=1e-12)
    # The four leaves that only pass zeros on are not woken by training.
    output.square().sum().backward()
    unused = torch.tensor([1, 5, 6, 7])
    assert not layer.W.grad.unflatten(0, (8, 4))[unused].any()
    assert not layer.U.grad.unflatten(0, (8, 4))[unused].any()
    assert layer.U.grad.unflatten(0, (8, 4))[leaves].abs().sum() > 0


@pytest.mark.parametrize("kind", [Layer, FastLayer])
@pytest.mark.parametrize("bias", [False, True])
def test_the_gru_is_in_the_space(kind, bias):
    torch.manual_seed(0)
    reference, layer = nn.GRU(3, 4, bias=bias).double(), kind(GRU, 3, 4, bias=bias).double()
    with torch.no_grad():
        W, U = (parameter.zero_().unflatten(0, (16, 4)) for parameter in (layer.W, layer.U))
        w_r, w_u, w_n = reference.weight_ih_l0.unflatten(0, (3, 4))
        u_r, u_u, u_n = reference.weight_hh_l0.unflatten(0, (3, 4))
        W[0], W[2], W[4], W[8] = w_r, w_n, -w_u, w_u
        U[0], U[1], U[4], U[8] = u_r, u_n, -u_u, u_u
        if bias:
            b_r, b_u, b_n = reference.bias_ih_l0.unflatten(0, (3, 4))
            d_r, d_u, d_n = reference.bias_hh_l0.unflatten(0, (3, 4))
            b = layer.b.unflatten(0, (16, 4))
            b[0], b[1], b[2], b[4], b[8] = b_r + d_r, d_n, b_n, -b_u - d_u, b_u + d_u
    x, h = torch.randn(6, 2, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    output, (h_end, _) = layer(x, (h, h))
    expected, expected_h = reference(x, h[None])
    assert torch.allclose(output, expected, atol=1e-12)
    assert torch.allclose(h_end, expected_h[0], atol=1e-12)
