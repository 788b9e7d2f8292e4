"""The way from bytes to a network's input: upsampling, and whitening or scaling.

Whitening is that of TensorFlow's tutorials of the time (derived): an image's mean is subtracted and the result divided
by max(standard deviation, 1 / sqrt(number of values)), of pixels from 0 to 255. The paper whitens, then upsamples; as
upsampling is linear the order does not matter, and pixels can stay bytes until they are used.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlnas.children.recipes import CNNRecipe
from rlnas.spaces import DataShape


def statistics(images: Tensor, whitening: bool) -> tuple[Tensor, Tensor]:
    """Return what is subtracted from each image and what it is then multiplied by, both [N, 1, 1, 1].

    Args:
        images: float [N, channels, height, width], from 0 to 255 and not upsampled.
        whitening: by each image's own mean and deviation; else all are brought to [-1, 1] alike.
    """
    values = images.flatten(1)
    if whitening:
        mean = values.mean(dim=1)
        scale = 1 / values.std(dim=1, correction=0).clamp_min(1 / math.sqrt(values.shape[1]))
    else:
        mean = torch.full_like(values[:, 0], 127.5)
        scale = torch.full_like(mean, 1 / 127.5)
    return mean[:, None, None, None], scale[:, None, None, None]


class Upsample(nn.Module):
    """Bilinear upsampling by some pixels a side, rounded to whole numbers again.

    As two products with constant matrices in double precision, ties rounded up: so every runtime gives the same
    whole numbers. An interpolation in single precision may fall to either side of a tie, one level of 255 apart.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, height: int, width: int, margin: int) -> None:
        super().__init__()
        for name, side in (("rows", height), ("columns", width)):
            each = torch.eye(side, dtype=torch.float64)[:, None]
            matrix = F.interpolate(each, side + margin, mode="linear", align_corners=False)[:, 0].t()
            self.register_buffer(name, matrix.contiguous(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return float [N, channels, height + margin, width + margin] of float images from 0 to 255."""
        enlarged = self.rows @ (images.double() @ self.columns.t())
        return (enlarged + (0.5 + 1e-6)).floor().float()


class FromPixels(nn.Module):
    """A trained network that takes images as they are stored; what happens to them in an evaluation happens inside.

    Args:
        model: from float images [N, channels, height, width] to logits.
        recipe: the one it was trained by.
        shape: of the images.
    """

    def __init__(self, model: nn.Module, recipe: CNNRecipe, shape: DataShape) -> None:
        super().__init__()
        self.model = model
        self.whitening = recipe.whitening
        margin = recipe.upsample_by or 0
        self.upsample = Upsample(shape.height, shape.width, margin) if margin else None
        self.rows, self.columns = (slice(margin // 2, margin // 2 + side) for side in (shape.height, shape.width))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits [N, classes] of images uint8 [N, height, width, channels]."""
        images = pixels.permute(0, 3, 1, 2).float()
        mean, scale = statistics(images, self.whitening)
        if self.upsample is not None:
            images = self.upsample(images)[:, :, self.rows, self.columns]
        return self.model((images - mean) * scale)
