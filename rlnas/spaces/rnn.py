"""NAS-RNN: recurrent cells as full binary trees (Zoph & Le 2017, Section 3.4 and Appendix A).

A cell of base N has N leaves and 2N − 1 nodes, numbered leaves first, level by level, the root last. One step from
(h_prev, c_prev) on input x:

- leaf i: `z_i = (W_i x) ∘ (U_i h_prev)`, `a_i = act_i(z_i)`, where ∘ is the node's combination;
- inner node over nodes l and r: `z_i = a_l ∘ a_r`, `a_i = act_i(z_i)`, without weights;
- injection: `a_{c_in}` becomes `act_inj(a_{c_in} ∘_inj c_prev)` before its parent reads it;
- new cell state: `c = z_{c_out}`, before the activation; new hidden state: `h = a_root`.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from rlnas.spaces.base import Architecture, DataShape, Decision, Description, Features, Node, Space, walk
from rlnas.spaces.foresight import growth, is_silent

Combination = Literal["add", "elem_mult", "max"]
Activation = Literal["identity", "tanh", "sigmoid", "relu", "sin"]


class Operation(NamedTuple):
    """How two values become one: `activation(left combination right)`."""

    combination: Combination
    activation: Activation

    def __str__(self) -> str:
        return f"{self.combination} {self.activation}"


class Cell(Architecture):
    """A cell.

    Args:
        nodes: the operations of the 2N − 1 nodes, leaves first, the root last.
        inject: how the old cell state joins node `c_in`.
        c_out: the node whose value before its activation is the new cell state.
        c_in: the node that the old cell state joins.
    """

    nodes: tuple[Operation, ...]
    inject: Operation
    c_out: int
    c_in: int

    @model_validator(mode="after")
    def _is_a_tree(self) -> "Cell":
        if self.base < 2 or self.base & (self.base - 1) or len(self.nodes) != 2 * self.base - 1:
            raise ValueError(f"a cell has 2N − 1 nodes, N a power of two from 2; got {len(self.nodes)}")
        for name, index in (("c_out", self.c_out), ("c_in", self.c_in)):
            if not 0 <= index < len(self.nodes):
                raise ValueError(f"{name}: node {index} is not one of 0 to {len(self.nodes) - 1}")
        return self

    @property
    def base(self) -> int:
        """The number of leaves, N."""
        return (len(self.nodes) + 1) // 2

    def children(self, node: int) -> tuple[int, int]:
        """Return the two nodes that an inner node combines."""
        first = 2 * (node - self.base)
        return first, first + 1

    def above(self, node: int) -> tuple[int, ...]:
        """Return the nodes that a node's value passes on its way to the root, in order; the root's way is empty."""
        path = []
        while node < len(self.nodes) - 1:
            node = self.base + node // 2
            path.append(node)
        return tuple(path)

    def below(self, node: int) -> frozenset[int]:
        """Return the nodes of the subtree of a node, itself included."""
        if node < self.base:
            return frozenset({node})
        return frozenset({node}).union(*(self.below(child) for child in self.children(node)))


class RNNSpace(Space):
    """The space of the paper by default: base 8, about 6·10^16 cells.

    Args:
        base: number of leaves of the tree: a power of two.
        combinations: how a node may combine its two inputs; `max` belongs to the paper's wider setting.
        activations: activation functions that a node may have; `sin` belongs to the paper's wider setting.
    """

    architecture: ClassVar[type[Architecture]] = Cell

    kind: Literal["rnn"] = "rnn"
    base: int = Field(default=8, ge=2, le=64)
    combinations: Annotated[tuple[Combination, ...], Field(min_length=1)] = ("add", "elem_mult")
    activations: Annotated[tuple[Activation, ...], Field(min_length=1)] = ("identity", "tanh", "sigmoid", "relu")

    @field_validator("base")
    @classmethod
    def _leaves_fill_a_tree(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"the leaves of a full binary tree are a power of two: 2, 4, 8, 16, …; got {value}")
        return value

    @field_validator("combinations", "activations")
    @classmethod
    def _options_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"options must differ from one another, got {list(value)}")
        return value

    @property
    def size(self) -> int:
        """The number of cells: (combinations · activations)^(nodes + 1) · nodes²."""
        nodes = 2 * self.base - 1
        return (len(self.combinations) * len(self.activations)) ** (nodes + 1) * nodes**2

    @property
    def heads(self) -> dict[str, int]:
        return {
            "combination": len(self.combinations),
            "activation": len(self.activations),
            "node": 2 * self.base - 1,
        }

    def decisions(self, samples: int) -> tuple[Decision, ...]:
        return _decisions(self)

    def decode(self, tokens: Sequence[int]) -> Cell:
        decisions = self.decisions(0)
        choices = [choice for _, _, choice in walk(decisions, tokens) if isinstance(choice, int)]
        if len(choices) < len(decisions):
            raise ValueError(f"a cell of base {self.base} takes {len(decisions)} tokens, got {len(choices)}")
        *pairs, c_out, c_in = choices
        *nodes, inject = (
            Operation(self.combinations[combination], self.activations[activation])
            for combination, activation in zip(pairs[::2], pairs[1::2], strict=True)
        )
        return Cell(nodes=tuple(nodes), inject=inject, c_out=c_out, c_in=c_in)

    def encode(self, cell: Cell) -> tuple[int, ...]:
        """Return the tokens that mean a cell, the inverse of `decode`.

        Raises:
            ValueError: the cell is not one of this space.
        """
        if cell.base != self.base:
            raise ValueError(f"the cell has base {cell.base}, the space {self.base}")
        tokens: list[int] = []
        for combination, activation in (*cell.nodes, cell.inject):
            tokens += self.combinations.index(combination), self.activations.index(activation)
        return (*tokens, cell.c_out, cell.c_in)

    def features(self, tokens: Sequence[int], shape: DataShape) -> Features:
        """Count operations of leaves and of inner nodes apart, and those that the cell state meets on its way; foresee
        whether the state wakes up and how fast it can grow.

        All cells of a base are of one size, so none is given.
        """
        cell = self.decode(tokens)
        counts: Counter[str] = Counter()
        for i, operation in enumerate(cell.nodes):
            counts[f"{'leaf' if i < self.base else 'node'} {operation}"] += 1
        to_cell = cell.above(cell.c_in)
        to_cell = to_cell[: to_cell.index(cell.c_out) + 1] if cell.c_out in to_cell else ()
        counts["cell state kept"] = int(bool(to_cell))
        for name, path in (("cell state", to_cell), ("hidden state", cell.above(cell.c_in))):
            counts[f"steps to {name}"] = len(path)
            for i in path:
                counts[f"{cell.nodes[i].combination} on the way to {name}"] += 1
                if i != cell.c_out or name == "hidden state":  # the cell state leaves its node before the activation
                    counts[f"{cell.nodes[i].activation} on the way to {name}"] += 1
        counts["inject " + cell.inject.combination] += 1
        counts["inject " + cell.inject.activation] += 1
        counts["hidden state " + cell.nodes[-1].activation] += 1
        counts["silent"] = int(is_silent(cell))
        counts["growth of hidden state"], counts["growth of cell state"] = growth(cell)
        return Features(super().features(tokens, shape).choices, counts, {})

    def describe(self, architecture: Cell, shape: DataShape) -> Description:
        cell, root = architecture, len(architecture.nodes) - 1
        rows = []
        for i, operation in enumerate(cell.nodes):
            inputs = f"W{i} x, U{i} h_prev" if i < cell.base else "node {}, node {}".format(*cell.children(i))
            roles = []
            if i == cell.c_in:
                roles.append(f"c_prev joins: {cell.inject}")
            if i == cell.c_out:
                roles.append("c, before its activation")
            if i == root:
                roles.append("h")
            rows.append((str(i), inputs, *operation, "; ".join(roles)))
        nodes, edges = _drawing(cell)
        return Description(
            summary=f"base {cell.base}, c from node {cell.c_out}, c_prev into node {cell.c_in} ({cell.inject}): "
            + ", ".join(str(operation) for operation in cell.nodes),
            columns=("node", "inputs", "combination", "activation", "role"),
            rows=tuple(rows),
            remarks=_equations(cell),
            nodes=nodes,
            edges=edges,
        )


@lru_cache(maxsize=16)
def _decisions(space: RNNSpace) -> tuple[Decision, ...]:
    names = [f"leaf {i}" if i < space.base else f"node {i}" for i in range(2 * space.base - 1)] + ["cell inject"]
    labels = [(kind, f"{name} {kind}") for name in names for kind in ("combination", "activation")]
    labels += [("node", "new cell state from node (c_out)"), ("node", "old cell state into node (c_in)")]
    options = {"combination": space.combinations, "activation": space.activations, "node": ()}
    return tuple(Decision(kind, space.heads[kind], label, options=options[kind]) for kind, label in labels)


def _combine(combination: str, left: str, right: str) -> str:
    return f"max({left}, {right})" if combination == "max" else f"{left} {'+' if combination == 'add' else '*'} {right}"


def _activate(activation: str, value: str) -> str:
    return value if activation == "identity" else f"{activation}({value})"


def _equations(cell: Cell) -> tuple[str, ...]:
    """One step as the paper writes it; a prime marks the value after the injection."""
    lines, value = [], {i: f"a{i}" for i in range(len(cell.nodes))}
    for i, operation in enumerate(cell.nodes):
        if i < cell.base:
            inputs = (f"W{i} x", f"U{i} h_prev")
            if operation.combination == "elem_mult":
                inputs = (f"({inputs[0]})", f"({inputs[1]})")
        else:
            left, right = cell.children(i)
            inputs = (value[left], value[right])
        z = _combine(operation.combination, *inputs)
        if i == cell.c_out:
            lines.append(f"z{i} = {z}")
            z = f"z{i}"
        lines.append(f"a{i} = {_activate(operation.activation, z)}")
        if i == cell.c_in:
            value[i] = f"a{i}'"
            joined = _combine(cell.inject.combination, f"a{i}", "c_prev")
            lines.append(f"{value[i]} = {_activate(cell.inject.activation, joined)}")
    return (*lines, f"h = {value[len(cell.nodes) - 1]}", f"c = z{cell.c_out}")


def _drawing(cell: Cell) -> tuple[tuple[Node, ...], tuple[tuple[str, str], ...]]:
    """The tree with its leaves at the top; the cell state enters beside `c_in` and leaves below `c_out`."""
    root, spread, drop = len(cell.nodes) - 1, 2.0, 2.0
    at = {i: (spread * i, drop) for i in range(cell.base)}
    edges = [("input", str(i)) for i in range(cell.base)]
    for i in range(cell.base, root + 1):
        left, right = cell.children(i)
        at[i] = ((at[left][0] + at[right][0]) / 2, at[left][1] + drop)
        edges += [(str(left), str(i)), (str(right), str(i))]
    nodes = [Node("input", "x, h_prev", at[root][0], 0, "state")]
    for i, operation in enumerate(cell.nodes):
        nodes.append(Node(str(i), f"{i}: {_box(operation)}", *at[i], "leaf" if i < cell.base else "node"))
    (x_in, y_in), (x_out, y_out), (x, y) = at[cell.c_in], at[cell.c_out], at[root]
    if cell.c_in < cell.base:
        # No room beside a leaf: beside the input, above the leaf unless the input is there.
        outwards = 1 if x_in > x else -1
        x_in, y_in = (x_in if abs(x_in - x) >= spread else x + outwards * spread), 0.0
    else:
        x_in += spread
    nodes += [
        Node("c_prev", f"c_prev: {_box(cell.inject)}", x_in, y_in, "state"),
        # The box below the root is taken by h.
        Node("c", "c", x_out + (spread if cell.c_out == root else 0), y_out + 1, "state"),
        Node("h", "h", x, y + 1, "state"),
    ]
    edges += [("c_prev", str(cell.c_in)), (str(cell.c_out), "c"), (str(root), "h")]
    return tuple(nodes), tuple(edges)


def _box(operation: Operation) -> str:
    return "\n".join(operation)


def _cell(base: int, operations: dict[int, tuple[Combination, Activation]], c_out: int, c_in: int) -> Cell:
    """A cell whose leaves are zero and whose inner nodes add, but for the given ones; `c_prev` multiplies `c_in`."""
    zero, passes = Operation("elem_mult", "identity"), Operation("add", "identity")
    nodes = tuple(Operation(*operations.get(i, zero if i < base else passes)) for i in range(2 * base - 1))
    return Cell(nodes=nodes, inject=Operation("elem_mult", "identity"), c_out=c_out, c_in=c_in)


LSTM = _cell(
    base=8,
    operations={
        0: ("add", "sigmoid"),
        2: ("add", "sigmoid"),
        3: ("add", "tanh"),
        4: ("add", "sigmoid"),
        9: ("elem_mult", "identity"),
        12: ("add", "tanh"),
        14: ("elem_mult", "identity"),
    },
    c_out=12,
    c_in=0,
)
"""The LSTM, exactly: leaves 0, 2, 3, 4 are the forget gate, input gate, candidate and output gate.

`a0' = f c_prev`, `z12 = f c_prev + i g`, `a14 = tanh(z12) o`. The tree is full, so a value reaches a higher level only
by adding zero: leaves 1, 5, 6, 7 must have weights of zero. As products of two zeros they get gradients of zero, so
training keeps the cell an LSTM. It takes base 8, since i g, the sum and the output gate take one level each: the paper
draws it with four leaves, as a tree that is not full. In base 4 only the LSTM without its output gate fits.
The paper's leaves have no biases; with them (`Layer(bias=True)`, zero at the four unused leaves) the LSTM
with biases is as exact, PyTorch's two bias vectors being one sum. Peepholes and projections are outside the space.
"""

GRU = _cell(
    base=16,
    operations={
        0: ("add", "sigmoid"),
        1: ("add", "identity"),
        2: ("add", "identity"),
        4: ("add", "sigmoid"),
        8: ("add", "sigmoid"),
        16: ("elem_mult", "identity"),
        24: ("add", "tanh"),
        28: ("elem_mult", "identity"),
    },
    c_out=30,
    c_in=8,
)
"""The GRU (in the form of cuDNN and PyTorch, h = (1 − u) n + u h_prev), exactly as a function of its inputs.

Leaf 0 is the reset gate r, 1 is U_n h_prev (W zero), 2 is W_n x (U zero), 4 is 1 − u = sigmoid of the *negated*
weights of u, 8 is the update gate u; the others have weights of zero. `a24 = n = tanh(W_n x + r · U_n h_prev)`; the
cell state is the hidden state, so the injection gives `u h_prev`. Training does not keep it a GRU: leaves 4 and 8 are
not tied, and the zero weights of leaves 1 and 2 get gradients. It takes base 16, since r U_n h, n, (1 − u) n and the
sum take one level each. Cho's first form, U_n (r h_prev), is outside the space: no matrix follows a product.
"""
