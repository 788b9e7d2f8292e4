"""A CNN architecture as a torch module: Zoph & Le (2017), Sections 3.1 to 3.3.

Left open by the paper and settled here ("derived"): every window is padded so that a side of n becomes
ceil(n / stride); smaller inputs are padded with zeros evenly around them, so that centres stay centres; the
classifier is global average pooling and one linear layer.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture


def build_cnn(architecture: CNNArchitecture, shape: DataShape) -> "CNN":
    """Build a child, its weights drawn from the global random generator.

    Returns:
        A module from float images [B, channels, height, width] to logits [B, classes].
    """
    return CNN(architecture, shape)


class CNN(nn.Module):
    """Layers with skip connections; tensor 0 is the image, tensor i + 1 the output of layer i."""

    def __init__(self, architecture: CNNArchitecture, shape: DataShape) -> None:
        super().__init__()
        # Rule 1: a layer that no anchor point feeds takes the image.
        self.sources = [tuple(i + 1 for i in layer.inputs) or (0,) for layer in architecture.layers]
        # Rule 2: what no layer uses goes to the classifier.
        self.sources.append(tuple(i + 1 for i in architecture.outputs))
        self.last_use = {tensor: at for at, sources in enumerate(self.sources) for tensor in sources}
        self.pool_after = frozenset(architecture.pool_after)
        self.pool = Pool(size=2, stride=2, average=False)
        self.layers = nn.ModuleList()
        channels = [shape.channels]
        for layer, sources in zip(architecture.layers, self.sources, strict=False):
            module, filters = _build_layer(layer, sum(channels[tensor] for tensor in sources))
            self.layers.append(module)
            channels.append(filters)
        self.classifier = nn.Linear(sum(channels[tensor] for tensor in self.sources[-1]), shape.classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits [B, classes] of images [B, channels, height, width]."""
        tensors = {0: image}
        for at, layer in enumerate(self.layers):
            tensors[at + 1] = layer(join([tensors[tensor] for tensor in self.sources[at]]))
            tensors = {tensor: value for tensor, value in tensors.items() if self.last_use.get(tensor, -1) > at}
            if at in self.pool_after:
                tensors = {tensor: self.pool(value) for tensor, value in tensors.items()}
        features = join([tensors[tensor] for tensor in self.sources[-1]])
        return self.classifier(features.mean(dim=(2, 3)))


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate [B, *, *, *] in depth, the smaller zero-padded to the largest height and width (rule 3)."""
    if len(tensors) == 1:
        return tensors[0]
    height, width = (max(tensor.shape[dim] for tensor in tensors) for dim in (2, 3))
    return torch.cat([_centre(tensor, height, width) for tensor in tensors], dim=1)


def _centre(x: Tensor, height: int, width: int) -> Tensor:
    down, across = height - x.shape[2], width - x.shape[3]
    if down == across == 0:
        return x
    return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))


def _build_layer(layer: Any, channels: int) -> tuple[nn.Module, int]:
    """Return a layer over `channels` channels and the number of channels it puts out."""
    # Any: of a Layer's hyperparameters, those of its type are set, which types cannot say.
    match layer.type:
        case "convolution" | "separable_convolution" | "depthwise_convolution" | "dilated_convolution":
            return _convolution(layer, channels)
        case "max_pool" | "avg_pool":
            return Pool(layer.size, layer.stride, average=layer.type == "avg_pool"), channels
        case "batch_norm":
            return nn.BatchNorm2d(channels), channels
        case "local_contrast_norm":
            return LocalContrastNorm(layer.size), channels
        case "dropout":
            return nn.Dropout(layer.rate), channels
    raise ValueError(f"layer type {layer.type!r} is not known")


def _convolution(layer: Any, channels: int) -> tuple[nn.Sequential, int]:
    """A convolution, batch normalisation and ReLU (Section 3.3); what mixes filtered channels follows at once."""
    whole = layer.type == "convolution"  # the others filter each channel by itself
    height, width = ((side - 1) * layer.dilation + 1 for side in (layer.filter_height, layer.filter_width))
    convolutions = [
        nn.Conv2d(
            channels,
            layer.filters if whole else channels * (layer.depth_multiplier or 1),
            (layer.filter_height, layer.filter_width),
            stride=(layer.stride_height, layer.stride_width),
            padding=((height - 1) // 2, (width - 1) // 2),
            dilation=layer.dilation,
            groups=1 if whole else channels,
            bias=False,
        )
    ]
    if not whole and layer.filters:
        convolutions.append(nn.Conv2d(convolutions[0].out_channels, layer.filters, 1, bias=False))
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    filters = convolutions[-1].out_channels
    parts: list[nn.Module] = [*convolutions, nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]
    if height % 2 == 0 or width % 2 == 0:  # an even window has no middle: one more row or column at the end
        parts.insert(0, nn.ZeroPad2d((0, 1 - width % 2, 0, 1 - height % 2)))
    return nn.Sequential(*parts), filters


def _pad_window(x: Tensor, size: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad [B, C, height, width] for a square window so that a side of n gives ceil(n / stride) positions."""
    before = (size - 1) // 2
    after = [max((-(-side // stride) - 1) * stride + size - side - before, 0) for side in x.shape[:1:-1]]
    return F.pad(x, (before, after[0], before, after[1]), value=value) if before or any(after) else x


class Pool(nn.Module):
    """Pooling over a square window; what lies outside the image is neither a maximum nor counted in an average."""

    def __init__(self, size: int, stride: int, average: bool) -> None:
        super().__init__()
        self.size, self.stride, self.average = size, stride, average

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, ceil(height / stride), ceil(width / stride)]."""
        if not self.average:
            return F.max_pool2d(_pad_window(x, self.size, self.stride, -torch.inf), self.size, self.stride)
        inside = _pad_window(torch.ones_like(x[:1, :1]), self.size, self.stride)
        total = F.avg_pool2d(_pad_window(x, self.size, self.stride), self.size, self.stride)
        return total / F.avg_pool2d(inside, self.size, self.stride)


class LocalContrastNorm(nn.Module):
    """Subtractive, then divisive normalisation by a Gaussian window over all channels (Jarrett et al., 2009).

    The window's standard deviation is a quarter of its size. At the border only what lies inside is weighed, the
    weights scaled to sum to one. A deviation below the image's mean deviation divides as that mean does.
    """

    window: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        offsets = torch.arange(size) - (size - 1) / 2
        line = torch.exp(-0.5 * (offsets / (size / 4)) ** 2)
        self.register_buffer("window", (line[:, None] * line)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, height, width], the shape of `x`."""
        centred = x - self._blur(x.mean(dim=1, keepdim=True))
        # The floor keeps the root's slope finite where an image has one colour.
        deviation = self._blur(centred.square().mean(dim=1, keepdim=True)).clamp_min(1e-8).sqrt()
        return centred / torch.maximum(deviation, deviation.mean(dim=(2, 3), keepdim=True))

    def _blur(self, x: Tensor) -> Tensor:
        total, weight = (F.conv2d(_pad_window(t, self.size, 1), self.window) for t in (x, torch.ones_like(x[:1])))
        return total / weight


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable weights."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_flops(model: nn.Module, shape: DataShape) -> int:
    """Return the multiply-adds of one image through the convolutions and the classifier."""
    total, training = 0, model.training

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()  # type: ignore[index]

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        device = next(model.parameters()).device
        model.eval()(torch.zeros(1, shape.channels, shape.height, shape.width, device=device))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return total
