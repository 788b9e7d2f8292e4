"""How large the layers of a convolutional network are, and what they cost; nothing is built for it."""

from typing import TYPE_CHECKING

from rlnas.spaces.base import DataShape

if TYPE_CHECKING:
    from rlnas.spaces.cnn import CNNArchitecture, Layer

Size = tuple[int, int, int]


def layer_sizes(architecture: "CNNArchitecture", shape: DataShape) -> list[Size]:
    """Return height, width and channels of each layer's output, before any fixed pool that follows it."""
    sizes: list[Size] = []
    for i, layer in enumerate(architecture.layers):
        height, width, channels = _joined(architecture, sizes, shape, layer.inputs, i)
        down, across = (layer.stride, layer.stride) if layer.stride else (layer.stride_height, layer.stride_width)
        sizes.append(
            (-(-height // down), -(-width // across), layer.filters or channels * (layer.depth_multiplier or 1))
        )
    return sizes


def input_sizes(architecture: "CNNArchitecture", shape: DataShape) -> list[Size]:
    """Return height, width and channels of what each layer reads, and at the end the classifier (rule 3)."""
    return inputs_of(architecture, layer_sizes(architecture, shape), shape)


def inputs_of(architecture: "CNNArchitecture", sizes: list[Size], shape: DataShape) -> list[Size]:
    """Return `input_sizes`, given `layer_sizes`."""
    inputs = [*(layer.inputs for layer in architecture.layers), architecture.outputs]
    return [_joined(architecture, sizes, shape, read, i) for i, read in enumerate(inputs)]


def cost(architecture: "CNNArchitecture", before: list[Size], after: list[Size], classes: int) -> tuple[int, int]:
    """Count without building it what a network has: trainable weights, and multiply-adds of one image.

    Args:
        architecture: the network.
        before, after: its `input_sizes` and `layer_sizes`.
        classes: of the data.
    """
    features = before[-1][2]
    parameters, flops = (features + 1) * classes, features * classes
    for layer, (_, _, channels), (height, width, filters) in zip(architecture.layers, before, after, strict=False):
        if layer.convolves:
            weights = filter_weights(layer, channels)
            parameters += weights + 2 * filters  # and a batch normalisation
            flops += weights * height * width
        elif layer.type == "batch_norm":
            parameters += 2 * channels
    return parameters, flops


def filter_weights(layer: "Layer", channels: int) -> int:
    """Return the weights of a convolution's filters over so many channels; each is used once for each output pixel."""
    window = (layer.filter_height or 1) * (layer.filter_width or 1)
    if layer.type == "convolution":
        return window * channels * (layer.filters or 1)
    filtered = channels * (layer.depth_multiplier or 1)
    return (window + (layer.filters or 0)) * filtered


def _joined(
    architecture: "CNNArchitecture", sizes: list[Size], shape: DataShape, inputs: tuple[int, ...], layer: int
) -> Size:
    seen = _seen(architecture, sizes, shape, inputs, layer)
    return max(size[0] for size in seen), max(size[1] for size in seen), sum(size[2] for size in seen)


def _seen(
    architecture: "CNNArchitecture", sizes: list[Size], shape: DataShape, inputs: tuple[int, ...], layer: int
) -> list[Size]:
    """Sizes of a layer's inputs as they reach it, through the fixed pools between."""
    seen = []
    for source in inputs or (-1,):
        height, width, channels = (shape.height, shape.width, shape.channels) if source < 0 else sizes[source]
        pools = architecture.pools_before(layer) - architecture.pools_before(max(source, 0))
        seen.append((-(-height >> pools), -(-width >> pools), channels))
    return seen


def sides_differ(
    architecture: "CNNArchitecture", sizes: list[Size], shape: DataShape, inputs: tuple[int, ...], layer: int
) -> bool:
    return len({size[:2] for size in _seen(architecture, sizes, shape, inputs, layer)}) > 1
