"""How far a convolutional network sees: the part of the image that one of its outputs depends on."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rlnas.spaces.cnn import CNNArchitecture, Layer


class Field(NamedTuple):
    """What one pixel of an output sees of the image.

    Args:
        height, width: of the part that it depends on, pixels; borders are not counted, so it may exceed the image.
        down, across: pixels of the image from it to the next pixel below and to the right.
    """

    height: int = 1
    width: int = 1
    down: int = 1
    across: int = 1

    def through(self, height: int, width: int, stride_height: int, stride_width: int) -> "Field":
        """Return that of a window over such pixels."""
        return Field(
            self.height + (height - 1) * self.down,
            self.width + (width - 1) * self.across,
            self.down * stride_height,
            self.across * stride_width,
        )


def receptive_field(architecture: "CNNArchitecture") -> int:
    """Return the pixels of the largest part of an image that an output of the network depends on."""
    fields: list[Field] = []
    for i, layer in enumerate(architecture.layers):
        fields.append(_joined(architecture, fields, layer.inputs, i).through(*_window(layer)))
    last = _joined(architecture, fields, architecture.outputs, len(fields))
    return last.height * last.width


def _joined(architecture: "CNNArchitecture", fields: list[Field], inputs: tuple[int, ...], layer: int) -> Field:
    """What a layer sees through one pixel of its inputs, fixed pools between passed: of each number the largest."""
    seen = []
    for source in inputs or (-1,):
        field = Field() if source < 0 else fields[source]
        for _ in range(architecture.pools_before(layer) - architecture.pools_before(max(source, 0))):
            field = field.through(2, 2, 2, 2)
        seen.append(field)
    return Field(*(max(numbers) for numbers in zip(*seen, strict=True)))


def _window(layer: "Layer") -> tuple[int, int, int, int]:
    if layer.convolves:
        height, width = (((side or 1) - 1) * layer.dilation + 1 for side in (layer.filter_height, layer.filter_width))
        return height, width, layer.stride_height, layer.stride_width
    size, stride = layer.size or 1, layer.stride or 1
    return size, size, stride, stride
