"""NAS-CNN: every rule of Zoph & Le (2017), Sections 3.2, 3.3 and 4.1, on sequences written by hand."""

import random
from contextlib import suppress

import pytest
from pydantic import ValidationError

from rlnas.controller.searchers import RandomSearcher
from rlnas.controller.settings import RandomSettings
from rlnas.errors import UserError
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture, CNNSpace, Layer
from rlnas.spaces.sizes import layer_sizes

CIFAR = DataShape("images", classes=10, height=32, width=32, channels=3)
ALL_TYPES = ("convolution", "max_pool", "avg_pool", "batch_norm", "local_contrast_norm", "dropout")
ONE_CONVOLUTION = {"filter_heights": (3,), "filter_widths": (3,), "filters": (24,)}

PAPER = CNNSpace()
SMALL = CNNSpace(layers=2, grow_every=None)
STRIDED = CNNSpace(layers=2, grow_every=None, stride_heights=(1, 2, 3), stride_widths=(1, 2, 3))
TYPED = CNNSpace(layers=2, grow_every=None, layer_types=ALL_TYPES, learning_rates=(0.1, 0.05, 0.01))
LINKS = CNNSpace(layers=4, grow_every=None, **ONE_CONVOLUTION)
CONVOLUTIONS = ("convolution", "separable_convolution", "depthwise_convolution", "dilated_convolution")
CONVOLVED = CNNSpace(
    layers=2,
    grow_every=None,
    layer_types=(*CONVOLUTIONS, "avg_pool"),
    stride_heights=(1, 2),
    depth_multipliers=(1, 2),
)
EVERYTHING = CNNSpace(
    layers=3,
    grow_every=10,
    max_layers=8,
    layer_types=ALL_TYPES,
    stride_heights=(1, 2, 3),
    stride_widths=(1, 2),
    pool_after=(2, 5),
    learning_rates=(0.1, 0.01),
)


def conv(height=3, width=3, filters=24, **fields):
    return Layer(filter_height=height, filter_width=width, filters=filters, **fields)


def labels(space, samples=0):
    return [decision.label for decision in space.decisions(samples)]


def draws(space, samples, count, seed=0):
    """Sequences drawn evenly."""
    searcher = RandomSearcher(space, RandomSettings())
    return [p.tokens for p in searcher.propose(searcher.initial(0), samples, range(seed, seed + count))]


# What is decided, and in which order


def test_a_layer_is_filter_height_width_number_then_its_inputs():
    assert labels(SMALL) == [
        "layer 1 convolution filter height",
        "layer 1 convolution filter width",
        "layer 1 convolution filters",
        "layer 1 inputs",
        "layer 2 convolution filter height",
        "layer 2 convolution filter width",
        "layer 2 convolution filters",
        "layer 2 inputs",
    ]
    assert [decision.choices for decision in SMALL.decisions(0)] == [4, 4, 4, 0, 4, 4, 4, 1]


def test_the_papers_options_are_the_defaults():
    assert PAPER.filter_heights == PAPER.filter_widths == (1, 3, 5, 7)
    assert PAPER.filters == (24, 36, 48, 64)
    assert PAPER.stride_heights == PAPER.stride_widths == (1,)
    assert (PAPER.layers, PAPER.grow_by, PAPER.grow_every, PAPER.max_layers) == (6, 2, 1600, 39)


def test_predicted_strides_stand_between_the_filters_sides_and_their_number():
    assert labels(STRIDED)[:6] == [
        "layer 1 convolution filter height",
        "layer 1 convolution filter width",
        "layer 1 convolution stride height",
        "layer 1 convolution stride width",
        "layer 1 convolution filters",
        "layer 1 inputs",
    ]


def test_a_layers_type_comes_first_and_the_learning_rate_before_all_layers():
    assert labels(TYPED)[:9] == [
        "learning rate",
        "layer 1 type",
        "layer 1 convolution filter height",
        "layer 1 convolution filter width",
        "layer 1 convolution filters",
        "layer 1 pool size",
        "layer 1 pool stride",
        "layer 1 contrast size",
        "layer 1 dropout rate",
    ]
    assert labels(TYPED)[9:11] == ["layer 1 inputs", "layer 2 type"]


# What a sequence means


def test_tokens_choose_filters_and_inputs():
    assert SMALL.decode((0, 3, 2, 1, 2, 0, 1)) == CNNArchitecture(
        layers=(conv(1, 7, 48), conv(3, 5, 24, inputs=(0,))), pool_after=(), learning_rate=None
    )


def test_strides_are_1_unless_predicted():
    assert {(layer.stride_height, layer.stride_width) for layer in SMALL.decode((0,) * 7).layers} == {(1, 1)}
    first, second = STRIDED.decode((1, 1, 2, 0, 3, 0, 2, 0, 1, 1, 0)).layers
    assert first == conv(3, 3, 64, stride_height=3, stride_width=1)
    assert second == conv(1, 5, 36, stride_height=1, stride_width=2)


def test_one_option_other_than_1_is_fixed_without_a_decision():
    space = CNNSpace(layers=1, grow_every=None, stride_heights=(2,), learning_rates=(0.2,))
    assert "layer 1 convolution stride height" not in labels(space)
    architecture = space.decode((1, 1, 0))
    assert architecture.layers == (conv(3, 3, 24, stride_height=2),)
    assert architecture.learning_rate == 0.2


def test_the_three_bits_of_the_fourth_anchor_point_name_its_inputs():
    architecture = LINKS.decode((1, 1, 0, 0, 1, 1))
    assert [layer.inputs for layer in architecture.layers] == [(), (0,), (0,), (1, 2)]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((0, 1, 2, 3), conv(3, 5, 64)),
        ((1, 0, 1), Layer(type="max_pool", size=2, stride=2)),
        ((2, 1, 0), Layer(type="avg_pool", size=3, stride=1)),
        ((3,), Layer(type="batch_norm")),
        ((4, 2), Layer(type="local_contrast_norm", size=7)),
        ((5, 1), Layer(type="dropout", rate=0.25)),
    ],
)
def test_a_layer_has_the_hyperparameters_of_its_type_only(tokens, expected):
    # One learning rate, the layer, and a batch-norm layer that reads it.
    architecture = TYPED.decode((1, *tokens, 3, 1))
    assert architecture.layers == (expected, Layer(type="batch_norm", inputs=(0,)))
    unset = {"filter_height", "filter_width", "filters", "size", "stride", "rate"} - expected.model_fields_set
    assert all(getattr(architecture.layers[0], name) is None for name in unset)


def test_both_poolings_share_their_softmaxes():
    assert TYPED.heads == {
        "learning_rate": 3,
        "layer_type": 6,
        "convolution.filter_height": 4,
        "convolution.filter_width": 4,
        "convolution.filters": 4,
        "pool.size": 2,
        "pool.stride": 2,
        "contrast.size": 3,
        "dropout.rate": 3,
    }


@pytest.mark.parametrize(
    ("tokens", "expected", "words", "channels"),
    [
        ((0, 1, 2, 0, 0), conv(3, 5), "conv 3×5 24", 24),
        (
            (1, 1, 2, 1, 0, 1),
            conv(3, 5, type="separable_convolution", stride_height=2, depth_multiplier=2),
            "separable conv 3×5 ×2 24 /2×1",
            24,
        ),
        (
            (2, 1, 2, 0, 1),
            conv(3, 5, None, type="depthwise_convolution", depth_multiplier=2),
            "depthwise conv 3×5 ×2",
            6,
        ),
        ((3, 1, 2, 0, 3), conv(3, 5, 64, type="dilated_convolution"), "dilated conv 3×5 64", 64),
    ],
)
def test_convolutions_of_all_types_share_their_softmaxes(tokens, expected, words, channels):
    layers = CONVOLVED.decode((*tokens, 4, 0, 0, 1)).layers
    assert layers == (expected, Layer(type="avg_pool", size=2, stride=1, inputs=(0,)))
    assert str(layers[0]) == words
    assert layer_sizes(CNNArchitecture(layers=layers), CIFAR)[0][2] == channels
    assert CONVOLVED.heads == {
        "layer_type": 5,
        "convolution.filter_height": 4,
        "convolution.filter_width": 4,
        "convolution.stride_height": 2,
        "convolution.filters": 4,
        "convolution.depth_multiplier": 2,
        "pool.size": 2,
        "pool.stride": 2,
    }


def test_the_learning_rate_is_predicted_or_the_recipes():
    assert [TYPED.decode((token, 3, 3, 0)).learning_rate for token in range(3)] == [0.1, 0.05, 0.01]
    assert SMALL.decode((0,) * 7).learning_rate is None


def test_what_is_predicted_can_be_left_to_the_recipe():
    architecture = TYPED.decode((1, 3, 3, 0))
    assert architecture.predicted == {"learning_rate": 0.05}
    assert architecture.without(["layers", "weight_decay"]) == architecture
    without = architecture.without(["learning_rate", "layers"])
    assert (without.predicted, without.layers) == ({}, architecture.layers)


def test_fixed_pools_sit_after_the_layers_that_exist():
    space = CNNSpace(layers=2, grow_every=1, grow_by=1, max_layers=4, pool_after=(1, 3), **ONE_CONVOLUTION)
    assert space.decode((1,)).pool_after == (0,)
    assert space.decode((1, 0, 1)).pool_after == (0, 2)
    architecture = space.decode((1, 1, 1, 1, 1, 1))
    assert [architecture.pools_before(layer) for layer in range(5)] == [0, 1, 1, 2, 2]
    # Layer 4 reads all before it, and each has come down to 8 × 8 through the pools between.
    assert layer_sizes(architecture, CIFAR) == [(32, 32, 24), (16, 16, 24), (16, 16, 24), (8, 8, 24)]


# The rules that keep every sample a network, as people read them


def test_rule_1_a_layer_without_inputs_reads_the_image():
    description = LINKS.describe(LINKS.decode((0, 0, 1, 0, 0, 1)), CIFAR)
    assert [row[2] for row in description.rows] == ["image", "image", "layer 2", "layer 3"]
    rule = "1: no input chosen, reads the image"
    assert [row[4] for row in description.rows] == [rule, rule, "", ""]
    assert {("image", "layer 1"), ("image", "layer 2"), ("layer 2", "layer 3")} < set(description.edges)


def test_rule_2_the_classifier_reads_what_no_layer_reads():
    architecture = LINKS.decode((0, 0, 1, 0, 0, 1))
    assert architecture.outputs == (0, 3)
    description = LINKS.describe(architecture, CIFAR)
    assert description.remarks == ("the classifier reads layers 1, 4 (rule 2: read by no later layer)",)
    assert [edge for edge in description.edges if edge[1] == "classifier"] == [
        ("layer 1", "classifier"),
        ("layer 4", "classifier"),
    ]
    chain = LINKS.describe(LINKS.decode((1, 0, 1, 0, 0, 1)), CIFAR)
    assert chain.remarks == ("the classifier reads layer 4",)


def test_rule_3_inputs_join_in_depth_at_the_largest_sides():
    space = CNNSpace(layers=3, grow_every=None, stride_heights=(1, 2, 3), stride_widths=(1, 2), **ONE_CONVOLUTION)
    # Layer 1 of 32 × 32 by strides (3, 1) is 11 × 32; layer 2 by (1, 2), from the image, 32 × 16; layer 3 reads both.
    both = space.decode((2, 0, 0, 1, 0, 0, 0, 1, 1))
    assert layer_sizes(both, CIFAR) == [(11, 32, 24), (32, 16, 24), (32, 32, 24)]
    description = space.describe(both, CIFAR)
    assert [row[3] for row in description.rows] == ["11×32×24", "32×16×24", "32×32×24"]
    assert [row[4] for row in description.rows] == ["1: no input chosen, reads the image"] * 2 + [
        "3: smaller inputs padded"
    ]
    assert not any("rule 3" in remark for remark in description.remarks)
    # With layer 3 reading layer 2 alone, it is the classifier that meets two sizes.
    description = space.describe(space.decode((2, 0, 0, 1, 0, 0, 0, 0, 1)), CIFAR)
    assert description.rows[2][4] == ""
    assert description.remarks[1] == "rule 3: smaller outputs padded before the classifier"


def test_layers_without_filters_keep_the_channels_of_all_their_inputs():
    # A convolution of 24 filters, another of 36 that does not read it, and a 2×2 /2 pool over both.
    space = CNNSpace(layers=3, grow_every=None, layer_types=("convolution", "max_pool"))
    architecture = space.decode((0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1))
    assert layer_sizes(architecture, CIFAR) == [(32, 32, 24), (32, 32, 36), (16, 16, 60)]


def test_a_description_names_the_layers_the_pools_and_the_learning_rate():
    tokens = (1, 0, 1, 1, 1, 0, 3, 1, 1, 0, 1, 5, 2, 0, 0)
    description = EVERYTHING.describe(EVERYTHING.decode(tokens), CIFAR)
    assert description.summary == "3 layers, 1 connections: conv 3×3 64 /2×1, max pool 3×3 /1, dropout 0.5"
    assert description.columns == ("layer", "what", "inputs", "output h×w×c", "rules that acted")
    assert description.rows == (
        ("1", "conv 3×3 64 /2×1", "image", "16×32×64", "1: no input chosen, reads the image"),
        ("2", "max pool 3×3 /1, then 2×2 max pool", "layer 1", "16×32×64", ""),
        ("3", "dropout 0.5", "image", "16×16×3", "1: no input chosen, reads the image"),
    )
    assert description.remarks[-1] == "learning rate 0.01, predicted"
    assert [node.name for node in description.nodes] == ["image", "layer 1", "layer 2", "layer 3", "classifier"]
    assert description.nodes[2].group == "max_pool"


# Depth


def test_two_layers_are_added_every_1600_samples_up_to_the_most():
    depths = {0: 6, 1599: 6, 1600: 8, 3199: 8, 3200: 10, 12_799: 20, 10**6: 39}
    assert {samples: PAPER.depth(samples) for samples in depths} == depths
    assert [labels(PAPER, samples)[-1] for samples in (0, 1600)] == ["layer 6 inputs", "layer 8 inputs"]
    assert SMALL.depth(10**6) == 2


def test_a_shallow_sequence_is_a_prefix_of_a_deeper_one():
    for space, shallow, deep in ((PAPER, 0, 1600), (EVERYTHING, 0, 20)):
        few, many = space.decisions(shallow), space.decisions(deep)
        assert len(few) < len(many)
        assert many[: len(few)] == few
    tokens = draws(PAPER, 1600, 1)[0]
    short = tokens[: 6 * 3 + 15]  # three tokens a layer, and 0 + 1 + ... + 5 links
    whole, prefix = PAPER.decode(tokens), PAPER.decode(short)
    assert (len(whole.layers), len(prefix.layers)) == (8, 6)
    assert whole.layers[:6] == prefix.layers


def test_heads_do_not_depend_on_depth():
    shallow, deep = EVERYTHING.model_copy(update={"layers": 1}), EVERYTHING.model_copy(update={"max_layers": 100})
    assert list(shallow.heads.items()) == list(EVERYTHING.heads.items()) == list(deep.heads.items())
    for samples in (0, 20, 10**6):
        softmaxes = [decision for decision in EVERYTHING.decisions(samples) if not decision.anchor]
        assert {decision.kind: decision.choices for decision in softmaxes} == EVERYTHING.heads


def test_a_network_may_have_a_single_layer():
    space = CNNSpace(layers=1, grow_every=None)
    assert space.decode((0, 1, 2)) == CNNArchitecture(layers=(conv(1, 3, 48),))
    fixed = CNNSpace(layers=1, grow_every=None, **ONE_CONVOLUTION)
    assert fixed.decode(()) == CNNArchitecture(layers=(conv(),))


# Sequences and architectures, both ways


@pytest.mark.parametrize(
    "space",
    [PAPER, STRIDED, TYPED, CONVOLVED, LINKS, EVERYTHING],
    ids=["paper", "strided", "typed", "convolved", "links", "all"],
)
def test_every_drawn_sequence_is_a_network_and_comes_back(space):
    for samples in (0, 20, 1600):
        for tokens in draws(space, samples, 400, seed=samples):
            architecture = space.decode(tokens)
            assert len(architecture.layers) == space.depth(samples)
            assert all(source < i for i, layer in enumerate(architecture.layers) for source in layer.inputs)
            assert architecture.outputs[-1] == len(architecture.layers) - 1
            assert all(min(size) >= 1 for size in layer_sizes(architecture, CIFAR))
            assert space.encode(architecture) == tokens
            assert CNNArchitecture.model_validate_json(architecture.model_dump_json()) == architecture


def test_tokens_are_all_read_and_never_misread():
    """A sequence with a token changed, dropped or added is another architecture or an error: never the same one."""
    generator = random.Random(0)
    for tokens in draws(EVERYTHING, 0, 300):
        at = generator.randrange(len(tokens))
        changed = (*tokens[:at], tokens[at] + generator.choice((-1, 1)), *tokens[at + 1 :])
        for other in (changed, tokens[:at] + tokens[at + 1 :], (*tokens, 7)):
            if other != tokens:
                with suppress(ValueError):
                    assert EVERYTHING.decode(other) != EVERYTHING.decode(tokens)


@pytest.mark.parametrize(
    ("space", "tokens", "message"),
    [
        (SMALL, (0, 4), "layer 1 convolution filter width: 4 is not one of the 4 options from 0"),
        (SMALL, (0, 0, 0, 0, 0, 0, 2), r"layer 2 inputs: needs 1 tokens of 0 or 1, got \[2\]"),
        (LINKS, (0, 0, 0, 1, 1), r"layer 4 inputs: needs 3 tokens of 0 or 1, got \[1, 1\]"),
        (SMALL, (), "the sequence ends within or before layer 2"),
        (SMALL, (0, 0, 0), "the sequence ends within or before layer 2"),
        (SMALL, (0, 0, 0, 0, 0, 0), "the sequence ends within or before layer 2"),
        (TYPED, (0,), "the sequence ends within or before layer 2"),
        (TYPED, (3,), "learning rate: 3 is not one of the 3 options from 0"),
        (CNNSpace(layers=2, max_layers=2), (0,) * 8, "1 tokens left over after the last decision"),
    ],
)
def test_what_is_no_sequence_of_the_space_is_refused(space, tokens, message):
    with pytest.raises(ValueError, match=message):
        space.decode(tokens)


@pytest.mark.parametrize(
    ("space", "layers", "message"),
    [
        (SMALL, (conv(2), conv()), r"layer 1 convolution filter height: 2 is not one of \[1, 3, 5, 7\]"),
        (SMALL, (conv(), Layer(type="batch_norm")), "layer 2 convolution filter height: None is not one of"),
        (TYPED, (Layer(type="dropout", rate=0.3), conv()), r"layer 1 dropout rate: 0.3 is not one of"),
        (SMALL, (conv(), conv(stride_height=2)), "differs from this space in what the space fixes"),
        (SMALL, (conv(), conv(inputs=(1,))), "differs from this space in what the space fixes"),
        (SMALL, (conv(),), "the sequence ends within or before layer 2"),
    ],
)
def test_what_is_no_architecture_of_the_space_has_no_sequence(space, layers, message):
    with pytest.raises(ValueError, match=message):
        space.encode(CNNArchitecture(layers=layers, learning_rate=0.1 if space is TYPED else None))


# What a person may write


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        (
            {"stride_heights": (1, 9)},
            (8, 16),
            "space.stride_heights: a stride of 9 leaves no pixels of a 8×16 image; allowed: 1 to 8",
        ),
        (
            {"stride_widths": (17,)},
            (8, 16),
            "space.stride_widths: a stride of 17 leaves no pixels of a 8×16 image; allowed: 1 to 16",
        ),
        (
            {"stride_widths": (17,), "layer_types": ("depthwise_convolution",)},
            (8, 16),
            "space.stride_widths: a stride of 17 leaves no pixels of a 8×16 image; allowed: 1 to 16",
        ),
        (
            {"pool_strides": (9,), "layer_types": ("max_pool",)},
            (8, 16),
            "space.pool_strides: a stride of 9 leaves no pixels of a 8×16 image; allowed: 1 to 8",
        ),
        (
            {"pool_after": (1, 2, 3, 4)},
            (8, 16),
            "space.pool_after: 4 pools leave no pixels of a 8×16 image; allowed: at most 3",
        ),
    ],
)
def test_a_space_whose_networks_leave_no_pixels_is_refused(fields, shape, message):
    with pytest.raises(UserError) as error:
        CNNSpace(**fields).check(DataShape("images", 10, *shape, channels=1))
    assert str(error.value) == message


def test_spaces_at_the_limit_are_allowed():
    space = CNNSpace(stride_heights=(1, 8), stride_widths=(16,), pool_strides=(8,), pool_after=(1, 2, 3))
    space.model_copy(update={"layer_types": ALL_TYPES}).check(DataShape("images", 10, 8, 16, channels=1))
    PAPER.check(CIFAR)
    CNNSpace(pool_after=(13, 24)).check(CIFAR)
    # Options of layer types that the space does not have do not matter.
    CNNSpace().check(DataShape("images", 10, 1, 64, channels=1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"filters": ()}, "filters"),
        ({"filters": (24, 24)}, r"options must differ from one another, got \[24, 24\]"),
        ({"filter_heights": (0,)}, "filter_heights"),
        ({"contrast_sizes": (4,)}, r"odd sizes from 3, got \[4\]"),
        ({"contrast_sizes": (1,)}, r"odd sizes from 3, got \[1\]"),
        ({"dropout_rates": (1.0,)}, "dropout_rates"),
        ({"learning_rates": (0.0,)}, "learning_rates"),
        ({"layer_types": ("fully_connected",)}, "layer_types"),
        ({"layers": 40}, "layers: 40 is more than max_layers, 39"),
        ({"pool_after": (40,)}, r"pool_after: \[40\] names a layer beyond max_layers, 39"),
        ({"pool_after": (0,)}, "pool_after"),
        ({"depth": 6}, "depth"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(fields, message):
    with pytest.raises(ValidationError, match=message):
        CNNSpace(**fields)


def test_features_count_layers_links_and_paths():
    bits = {1: (), 2: (1,), 3: (0, 0), 4: (0, 1, 1)}  # 1 -> 2 -> 4 and 3 -> 4; 1 and 3 read the image
    layers = tuple(conv(inputs=tuple(j for j, bit in enumerate(bits[i]) if bit)) for i in bits)
    features = LINKS.features(LINKS.encode(CNNArchitecture(layers=layers)), CIFAR)
    assert features.counts == {
        "connections": 3,
        "layers": 4,
        "reading the image": 2,
        "read by the classifier": 1,
    }
    assert features.choices["layer 4 inputs 2"] == 1
    assert features.choices["layer 4 inputs 1"] == 0
    assert features.sizes["parameters"] > 0
    assert features.sizes["depth"] == 3
    assert features.sizes["channels read by the classifier"] == layers[-1].filters
    typed = TYPED.features(draws(TYPED, 0, 1)[0], CIFAR).counts
    assert sum(count for name, count in typed.items() if name.startswith("layer_type ")) == 2
