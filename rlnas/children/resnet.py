"""The reference model of image searches: a small residual network of He et al. (2016), Section 4.2."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlnas.spaces import Architecture, DataShape


class ResNet(Architecture):
    """A residual network; by default ResNet-20, with 0.27M weights.

    Args:
        widths: channels of each stage; the image shrinks to half its sides before each stage but the first.
        blocks: residual blocks of a stage, of two convolutions each.
        learning_rate: in place of the recipe's, as an architecture may predict one.
    """

    reference: Literal["resnet"] = "resnet"
    widths: tuple[int, ...] = (16, 32, 64)
    blocks: int = 3
    learning_rate: float | None = None


def build_resnet(architecture: ResNet, shape: DataShape) -> nn.Module:
    """Build the network, its weights drawn from the global random generator.

    Returns:
        A module from float images [B, channels, height, width] to logits [B, classes].
    """
    before = architecture.widths[0]
    parts: list[nn.Module] = [_convolution(shape.channels, before), nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
    for stage, width in enumerate(architecture.widths):
        for block in range(architecture.blocks):
            parts.append(Block(before, width, stride=2 if stage and not block else 1))
            before = width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, shape.classes))


def _convolution(channels: int, filters: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution


class Block(nn.Module):
    """Two convolutions, and a shortcut without weights: zeros where there are new channels (He's option A)."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.stride, self.new = stride, filters - channels
        self.residual = nn.Sequential(
            _convolution(channels, filters, stride),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
            _convolution(filters, filters),
            nn.BatchNorm2d(filters),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, filters, ceil(height / stride), ceil(width / stride)]."""
        shortcut = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        return torch.relu(F.pad(shortcut, (0, 0, 0, 0, 0, self.new)) + self.residual(x))
