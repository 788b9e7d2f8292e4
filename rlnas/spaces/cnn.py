"""NAS-CNN: convolutional networks with skip connections (Zoph & Le 2017, Sections 3.2 and 3.3).

Layer by layer the controller predicts the layer's type, the hyperparameters of that type, and at an anchor point
which earlier layers are its inputs. A hyperparameter with a single option is fixed and makes no decision.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from rlnas.errors import UserError
from rlnas.spaces.base import Architecture, DataShape, Decision, Description, Features, Node, Space, Tokens, walk
from rlnas.spaces.reach import receptive_field
from rlnas.spaces.sizes import cost, inputs_of, layer_sizes, sides_differ

LayerType = Literal[
    "convolution",
    "max_pool",
    "avg_pool",
    "batch_norm",
    "local_contrast_norm",
    "dropout",
    "separable_convolution",
    "depthwise_convolution",
    "dilated_convolution",
]
"""The paper names the first six. Of the others, a separable convolution filters each channel by itself and then mixes
the channels of each pixel (Chollet 2017). A depthwise one only filters. A dilated one is a separable one whose window
reads every second pixel (Liu et al. 2019)."""
CONVOLUTIONS = ("convolution", "separable_convolution", "depthwise_convolution", "dilated_convolution")
Sizes = Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1)]


class Layer(Architecture):
    """One layer. Only the hyperparameters of its type are set.

    Args:
        type: what the layer does.
        filter_height, filter_width, stride_height, stride_width: of a convolution of any type.
        filters: of a convolution, other than a depthwise one: the channels that it puts out.
        depth_multiplier: filters for each channel, of a separable or depthwise convolution.
        size: side of the window of a pooling or local-contrast-normalisation layer.
        stride: of a pooling layer.
        rate: fraction that a dropout layer drops.
        inputs: the earlier layers (from 0) whose outputs it reads; none means the image (rule 1).
    """

    type: LayerType = "convolution"
    filter_height: int | None = None
    filter_width: int | None = None
    stride_height: int = 1
    stride_width: int = 1
    filters: int | None = None
    depth_multiplier: int | None = None
    size: int | None = None
    stride: int | None = None
    rate: float | None = None
    inputs: tuple[int, ...] = ()

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution, followed by batch normalisation and ReLU."""
        return self.type in CONVOLUTIONS

    @property
    def dilation(self) -> int:
        """Pixels from one that its window reads to the next."""
        return 2 if self.type == "dilated_convolution" else 1

    def __str__(self) -> str:
        if self.convolves:
            name = "conv" if self.type == "convolution" else f"{self.type.removesuffix('olution').replace('_', ' ')}"
            words = [f"{name} {self.filter_height}×{self.filter_width}"]
            words += [f"×{self.depth_multiplier}"] if (self.depth_multiplier or 1) > 1 else []
            words += [str(self.filters)] if self.filters else []
            strides = (self.stride_height, self.stride_width)
            return " ".join(words + ([f"/{strides[0]}×{strides[1]}"] if strides != (1, 1) else []))
        if self.type in ("max_pool", "avg_pool"):
            return f"{self.type.replace('_', ' ')} {self.size}×{self.size} /{self.stride}"
        if self.type == "local_contrast_norm":
            return f"local contrast norm {self.size}×{self.size}"
        return f"dropout {self.rate:g}" if self.type == "dropout" else "batch norm"


class CNNArchitecture(Architecture):
    """A network.

    Args:
        layers: in order; layer i may read the layers before it.
        pool_after: a 2×2 max pool of stride 2 sits after each of these layers (from 0): whatever is made before it
            and used after it, the image included, passes through it.
        learning_rate: predicted, in place of the recipe's.
    """

    predicts: ClassVar[tuple[str, ...]] = ("learning_rate",)

    layers: tuple[Layer, ...]
    pool_after: tuple[int, ...] = ()
    learning_rate: float | None = None

    @property
    def outputs(self) -> tuple[int, ...]:
        """Rule 2: the layers that no later layer reads; they are concatenated for the classifier."""
        used = {i for layer in self.layers for i in layer.inputs}
        return tuple(i for i in range(len(self.layers)) if i not in used)

    def pools_before(self, layer: int) -> int:
        """Return how many of the fixed pools sit before a layer (`len(layers)` stands for the classifier)."""
        return sum(after < layer for after in self.pool_after)


class CNNSpace(Space):
    """The space of the paper by default: 6 layers at first, 2 more every 1,600 samples, strides fixed at 1.

    Args:
        layers: number of layers of the first architectures.
        grow_by: layers that are added every `grow_every` architectures.
        grow_every: architectures after which layers are added; null: never.
        max_layers: number of layers at which growing ends.
        layer_types: what a layer may be. With more than one type the controller decides.
        filter_heights, filter_widths: options of a convolution, pixels; convolutions of all types share their options.
        stride_heights, stride_widths: options of a convolution, pixels.
        filters: options for the number of filters of a convolution; a depthwise one has none of its own.
        depth_multipliers: options for the filters for each channel, of a separable or depthwise convolution.
        pool_sizes: options for the window of max and average pooling, pixels.
        pool_strides: options for the stride of max and average pooling, pixels.
        contrast_sizes: options for the window of local contrast normalisation, pixels; odd numbers.
        dropout_rates: options for the fraction that a dropout layer drops.
        pool_after: layers, counted from 1, that are followed by a fixed 2×2 max pool (Section 4.1: 13 and 24).
        learning_rates: options for a learning rate that the controller predicts; empty: that of `child`.
    """

    architecture: ClassVar[type[Architecture]] = CNNArchitecture
    sizes = ("parameters", "flops", "depth", "receptive field", "channels read by the classifier")

    kind: Literal["cnn"] = "cnn"
    layers: int = Field(default=6, ge=1, le=100)
    grow_by: int = Field(default=2, ge=0, le=100)
    grow_every: int | None = Field(default=1600, ge=1)
    max_layers: int = Field(default=39, ge=1, le=100)
    layer_types: Annotated[tuple[LayerType, ...], Field(min_length=1)] = ("convolution",)
    filter_heights: Sizes = (1, 3, 5, 7)
    filter_widths: Sizes = (1, 3, 5, 7)
    stride_heights: Sizes = (1,)
    stride_widths: Sizes = (1,)
    filters: Sizes = (24, 36, 48, 64)
    depth_multipliers: Sizes = (1,)
    pool_sizes: Sizes = (2, 3)
    pool_strides: Sizes = (1, 2)
    contrast_sizes: Sizes = (3, 5, 7)
    dropout_rates: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.1, 0.25, 0.5)
    pool_after: tuple[Annotated[int, Field(ge=1)], ...] = ()
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = ()

    @field_validator("*")
    @classmethod
    def _options_differ(cls, value: object) -> object:
        if isinstance(value, tuple) and len(set(value)) < len(value):
            raise ValueError(f"options must differ from one another, got {list(value)}")
        return value

    @field_validator("contrast_sizes")
    @classmethod
    def _windows_are_odd(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(size % 2 == 0 or size < 3 for size in value):
            raise ValueError(f"a window needs a centre: odd sizes from 3, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _depths_fit(self) -> "CNNSpace":
        if self.layers > self.max_layers:
            raise ValueError(f"layers: {self.layers} is more than max_layers, {self.max_layers}")
        if any(after > self.max_layers for after in self.pool_after):
            raise ValueError(f"pool_after: {list(self.pool_after)} names a layer beyond max_layers, {self.max_layers}")
        return self

    def depth(self, samples: int) -> int:
        """Return the number of layers of an architecture proposed after `samples` others (Section 4.1)."""
        if self.grow_every is None:
            return self.layers
        return min(self.max_layers, self.layers + self.grow_by * (samples // self.grow_every))

    @property
    def heads(self) -> dict[str, int]:
        return {slot.decision.kind: slot.decision.choices for slot in _sequence(self, 1) if not slot.decision.anchor}

    def decisions(self, samples: int) -> tuple[Decision, ...]:
        return tuple(slot.decision for slot in _sequence(self, self.depth(samples)))

    def decode(self, tokens: Sequence[int]) -> CNNArchitecture:
        slots = _sequence(self, self.max_layers)
        made: list[dict] = []
        learning_rate = self.learning_rates[0] if len(self.learning_rates) == 1 else None
        ended = False
        for position, decision, choice in walk([slot.decision for slot in slots], tokens):
            layer, name, options = slots[position].layer, slots[position].field, slots[position].options
            if layer < 0:
                learning_rate = options[choice]  # type: ignore[index]
                continue
            if layer == len(made):
                made.append({})
            ended = decision.anchor
            made[-1][name] = (
                tuple(j for j, bit in enumerate(choice) if bit) if isinstance(choice, tuple) else options[choice]
            )
        if not ended or len(made) < self.layers:
            raise ValueError(f"the sequence ends within or before layer {self.layers}")
        pools = tuple(after - 1 for after in self.pool_after if after <= len(made))
        layers = tuple(Layer(**self._fixed(fields.get("type", self.layer_types[0])) | fields) for fields in made)
        return CNNArchitecture(layers=layers, pool_after=pools, learning_rate=learning_rate)

    def features(self, tokens: Sequence[int], shape: DataShape) -> Features:
        """Add depth and width of the network, how far it sees, and its weights and multiply-adds for such data."""
        seen, architecture = super().features(tokens, shape), self.decode(tokens)
        depths: list[int] = []
        for layer in architecture.layers:
            depths.append(1 + max((depths[j] for j in layer.inputs), default=0))
        counts = {
            "layers": len(depths),
            "read by the classifier": len(architecture.outputs),
            "reading the image": sum(not layer.inputs for layer in architecture.layers),
        }
        after = layer_sizes(architecture, shape)
        before = inputs_of(architecture, after, shape)
        counted = cost(architecture, before, after, shape.classes)
        sizes = *counted, max(depths), receptive_field(architecture), before[-1][2]
        return Features(seen.choices, {**seen.counts, **counts}, dict(zip(self.sizes, sizes, strict=True)))

    def encode(self, architecture: CNNArchitecture) -> Tokens:
        tokens: list[int] = []
        for decision, index, field, options in _sequence(self, len(architecture.layers)):
            part = architecture if index < 0 else architecture.layers[index]
            value = getattr(part, field)
            if decision.anchor:
                tokens += [int(earlier in value) for earlier in range(index)]
            elif not decision.when or self.layer_types.index(part.type) in decision.when[1]:  # type: ignore[union-attr]
                if value not in options:
                    raise ValueError(f"{decision.label}: {value} is not one of {list(options)}")
                tokens.append(options.index(value))
        if self.decode(tokens) != architecture:
            raise ValueError("the architecture differs from this space in what the space fixes")
        return tuple(tokens)

    def _fixed(self, layer_type: str) -> dict:
        """Every hyperparameter of a layer type at its first option: the only one where no decision is made."""
        return {"type": layer_type} | {name: options[0] for name, options in _hyperparameters(self)[layer_type].items()}

    def check(self, shape: DataShape) -> None:
        sides: dict[str, int] = {}
        if set(CONVOLUTIONS) & set(self.layer_types):
            sides |= {"stride_heights": shape.height, "stride_widths": shape.width}
        if {"max_pool", "avg_pool"} & set(self.layer_types):
            sides["pool_strides"] = min(shape.height, shape.width)
        for name, side in sides.items():
            largest = max(getattr(self, name))
            if largest > side:
                image = f"a {shape.height}×{shape.width} image"
                raise UserError(
                    f"space.{name}: a stride of {largest} leaves no pixels of {image}; allowed: 1 to {side}"
                )
        allowed = min(shape.height, shape.width).bit_length() - 1
        if len(self.pool_after) > allowed:
            raise UserError(
                f"space.pool_after: {len(self.pool_after)} pools leave no pixels of a {shape.height}×{shape.width}"
                f" image; allowed: at most {allowed}"
            )

    def describe(self, architecture: CNNArchitecture, shape: DataShape) -> Description:
        sizes = layer_sizes(architecture, shape)
        rows, nodes = [], [Node("image", f"image {shape.height}×{shape.width}×{shape.channels}", 0, 0, "image")]
        edges: list[tuple[str, str]] = []
        for i, layer in enumerate(architecture.layers):
            (height, width, channels), sources = sizes[i], [f"layer {j + 1}" for j in layer.inputs] or ["image"]
            rules = [] if layer.inputs else ["1: no input chosen, reads the image"]
            if sides_differ(architecture, sizes, shape, layer.inputs, i):
                rules.append("3: smaller inputs padded")
            pooled = ", then 2×2 max pool" if i in architecture.pool_after else ""
            rows.append(
                (str(i + 1), f"{layer}{pooled}", ", ".join(sources), f"{height}×{width}×{channels}", "; ".join(rules))
            )
            nodes.append(Node(f"layer {i + 1}", f"{i + 1}: {layer}", 0, i + 1, layer.type))
            edges += [(source, f"layer {i + 1}") for source in sources]
        end = len(architecture.layers)
        nodes.append(Node("classifier", "global average pool + softmax", 0, end + 1, "classifier"))
        edges += [(f"layer {j + 1}", "classifier") for j in architecture.outputs]
        names = ", ".join(str(j + 1) for j in architecture.outputs)
        one = len(architecture.outputs) == 1
        remarks = [
            f"the classifier reads layer{'' if one else 's'} {names}"
            + ("" if one else " (rule 2: read by no later layer)")
        ]
        if sides_differ(architecture, sizes, shape, architecture.outputs, end):
            remarks.append("rule 3: smaller outputs padded before the classifier")
        if architecture.learning_rate is not None:
            remarks.append(f"learning rate {architecture.learning_rate:g}, predicted")
        skips = sum(len(layer.inputs) for layer in architecture.layers)
        return Description(
            summary=f"{end} layers, {skips} connections: " + ", ".join(str(layer) for layer in architecture.layers),
            columns=("layer", "what", "inputs", "output h×w×c", "rules that acted"),
            rows=tuple(rows),
            remarks=tuple(remarks),
            nodes=tuple(nodes),
            edges=tuple(edges),
        )


class _Slot(NamedTuple):
    decision: Decision
    layer: int  # -1: belongs to no layer
    field: str
    options: tuple


def _hyperparameters(space: CNNSpace) -> dict[str, dict[str, tuple]]:
    """Layer type -> field of `Layer` -> options."""
    pooling = {"size": space.pool_sizes, "stride": space.pool_strides}
    window = {
        "filter_height": space.filter_heights,
        "filter_width": space.filter_widths,
        "stride_height": space.stride_heights,
        "stride_width": space.stride_widths,
    }
    filters, deep = {"filters": space.filters}, {"depth_multiplier": space.depth_multipliers}
    return {
        "convolution": window | filters,
        "max_pool": pooling,
        "avg_pool": pooling,
        "batch_norm": {},
        "local_contrast_norm": {"size": space.contrast_sizes},
        "dropout": {"rate": space.dropout_rates},
        "separable_convolution": window | filters | deep,
        "depthwise_convolution": window | deep,
        "dilated_convolution": window | filters,
    }


# Which softmax a layer type's hyperparameter uses where the type's own name would not do: layer types of one family
# share theirs.
_HEADS = {"max_pool": "pool", "avg_pool": "pool", "local_contrast_norm": "contrast"}
_HEADS |= dict.fromkeys(CONVOLUTIONS, "convolution")


@lru_cache(maxsize=128)
def _sequence(space: CNNSpace, depth: int) -> tuple[_Slot, ...]:
    # The learning rate comes first, so that the sequence of a shallow network is a prefix of a deeper one's.
    slots = []
    if len(space.learning_rates) > 1:
        lr = Decision("learning_rate", len(space.learning_rates), "learning rate", options=_names(space.learning_rates))
        slots.append(_Slot(lr, -1, "learning_rate", space.learning_rates))
    for layer in range(depth):
        slots += list(_layer_slots(space, layer, len(slots)))
    return tuple(slots)


def _layer_slots(space: CNNSpace, layer: int, start: int) -> Iterator[_Slot]:
    types, name = space.layer_types, f"layer {layer + 1}"
    if len(types) > 1:
        yield _Slot(Decision("layer_type", len(types), f"{name} type", options=_names(types)), layer, "type", types)
    by_head: dict[tuple[str, str], list[str]] = {}
    for layer_type in types:
        for field in _hyperparameters(space)[layer_type]:
            by_head.setdefault((_HEADS.get(layer_type, layer_type), field), []).append(layer_type)
    for (head, field), members in by_head.items():
        options = _hyperparameters(space)[members[0]][field]
        if len(options) > 1:
            when = (start, frozenset(types.index(member) for member in members)) if len(types) > 1 else None
            label = f"{name} {head} {field.replace('_', ' ')}"
            decision = Decision(f"{head}.{field}", len(options), label, when=when, options=_names(options))
            yield _Slot(decision, layer, field, options)
    yield _Slot(Decision("anchor", layer, f"{name} inputs", anchor=True), layer, "inputs", ())


def _names(options: Sequence[str | float]) -> tuple[str, ...]:
    return tuple(str(option).replace("_", " ") for option in options)
