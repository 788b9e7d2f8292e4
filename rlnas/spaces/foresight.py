"""What the operations of a cell alone say of how it will behave: whether its state wakes up, and how fast it can grow.

A step is followed with something simpler than numbers in the place of the values, so nothing is built or trained.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rlnas.spaces.rnn import Cell

Value = TypeVar("Value")

STEEPEST = 4
"""Degrees from here on are not told apart."""


def is_silent(cell: "Cell") -> bool:
    """Whether the hidden state stays zero for ever, whatever is read: then the cell says nothing, and cannot learn.

    The state starts at zero, as each leaf that multiplies does with it.
    """
    h = c = False  # whether it can be other than zero
    while True:
        new_h, new_c = _step(
            cell,
            True,
            h,
            c,
            lambda combination, a, b: (a and b) if combination == "elem_mult" else (a or b),
            lambda activation, a: a or activation == "sigmoid",
        )
        if (h or new_h, c or new_c) == (h, c):
            return not h
        h, c = h or new_h, c or new_c


def growth(cell: "Cell") -> tuple[int, int]:
    """Return the degrees by which hidden and cell state can grow from one step to the next, if both are large.

    0: bounded. 1: at most by a factor each step. More: a power each step; once large, such a state explodes.
    """
    h = c = 1
    for _ in range(STEEPEST):
        h, c = (
            min(degree, STEEPEST)
            for degree in _step(
                cell,
                0,
                h,
                c,
                lambda combination, a, b: a + b if combination == "elem_mult" else max(a, b),
                lambda activation, a: a if activation in ("identity", "relu") else 0,
            )
        )
    return h, c


def _step(
    cell: "Cell",
    x: Value,
    h: Value,
    c: Value,
    combine: Callable[[str, Value, Value], Value],
    activate: Callable[[str, Value], Value],
) -> tuple[Value, Value]:
    """Do one step, as `rlnas.children.rnn.step` does it with tensors; returns the new h and c."""
    values: list[Value] = []
    for i, (combination, activation) in enumerate(cell.nodes):
        left, right = (x, h) if i < cell.base else (values[child] for child in cell.children(i))
        z = combine(combination, left, right)
        if i == cell.c_out:
            new_c = z
        a = activate(activation, z)
        if i == cell.c_in:
            a = activate(cell.inject.activation, combine(cell.inject.combination, a, c))
        values.append(a)
    return values[-1], new_c
