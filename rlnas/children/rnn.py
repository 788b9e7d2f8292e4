"""Recurrent cells as torch modules: an architecture of the RNN space, run over a window of steps.

`Layer` is the definition, step by step under autograd; `rlnas.children.fast_cell.FastLayer` computes the same faster.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rlnas.spaces.rnn import Cell

State = tuple[Tensor, Tensor]
"""Hidden state and cell state (h, c), each [batch, hidden]."""

COMBINE: dict[str, Callable[..., Tensor]] = {"add": torch.add, "elem_mult": torch.mul, "max": torch.maximum}
ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "sin": torch.sin,
}


def step(cell: Cell, from_x: Tensor, from_h: Tensor, c_prev: Tensor) -> State:
    """Do one step of a cell (Zoph & Le 2017, Section 3.4).

    Args:
        cell: the architecture, of base N.
        from_x: W_i x of every leaf, [batch, N, hidden].
        from_h: U_i h_prev of every leaf, [batch, N, hidden].
        c_prev: the old cell state, [batch, hidden].

    Returns:
        The new hidden state and the new cell state.
    """
    values: list[Tensor] = []
    for i, (combination, activation) in enumerate(cell.nodes):
        if i < cell.base:
            left, right = from_x[:, i], from_h[:, i]
        else:
            left, right = (values[child] for child in cell.children(i))
        z = COMBINE[combination](left, right)
        if i == cell.c_out:
            c = z
        a = ACTIVATE[activation](z)
        if i == cell.c_in:
            a = ACTIVATE[cell.inject.activation](COMBINE[cell.inject.combination](a, c_prev))
        values.append(a)
    return values[-1], c


class Layer(nn.Module):
    """A cell with weights, applied to one step after another.

    Args:
        cell: the architecture, of base N.
        inputs: size of the input.
        hidden: size of the hidden and the cell state.
        bias: add a bias to `W_i x`; the paper's cells have none.

    Attributes:
        W: [N · hidden, inputs], leaf after leaf.
        U: [N · hidden, hidden].
        b: [N · hidden], or None.
    """

    def __init__(self, cell: Cell, inputs: int, hidden: int, bias: bool = False) -> None:
        super().__init__()
        self.cell = cell
        self.W = nn.Parameter(torch.empty(cell.base * hidden, inputs))
        self.U = nn.Parameter(torch.empty(cell.base * hidden, hidden))
        self.b = nn.Parameter(torch.zeros(cell.base * hidden)) if bias else None
        nn.init.xavier_uniform_(self.W)
        nn.init.xavier_uniform_(self.U)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run over a window.

        Args:
            x: [steps, batch, inputs].
            state: of the step before the window.

        Returns:
            The hidden states [steps, batch, hidden], and the state after the window.
        """
        h, c = state
        leaves = (self.cell.base, h.shape[1])
        outputs = []
        for from_x in nn.functional.linear(x, self.W, self.b).unflatten(-1, leaves):
            h, c = step(self.cell, from_x, nn.functional.linear(h, self.U).unflatten(-1, leaves), c)
            outputs.append(h)
        return torch.stack(outputs), (h, c)
