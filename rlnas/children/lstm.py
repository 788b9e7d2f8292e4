"""The reference model of text searches: PyTorch's own LSTM in the place of a found cell."""

from typing import ClassVar, Literal

from torch import Tensor, nn

from rlnas.children.rnn import State
from rlnas.spaces import Architecture


class TorchLSTM(Architecture):
    """Layers of `nn.LSTM` without biases, which a cell has none of either.

    Args:
        hidden: size of state and embeddings.
    """

    reference: Literal["lstm"] = "lstm"
    hidden: int

    base: ClassVar[int] = 4
    """Its gates and its candidate have as many weights as the leaves of a cell of base 4."""


class LSTMLayer(nn.LSTM):
    """One layer, with the interface of `rlnas.children.rnn.Layer`."""

    def __init__(self, architecture: TorchLSTM, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, bias=False)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:  # type: ignore[override]
        """Run over a window; see `Layer.forward`."""
        h, c = state
        output, (h, c) = super().forward(x, (h[None], c[None]))
        return output, (h[0], c[0])
