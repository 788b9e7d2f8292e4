"""The rules of the paper on networks small enough to work out by hand, and every layer type."""

import random

import pytest
import torch
from torch import nn

from rlnas.children.cnn import LocalContrastNorm, Pool, build_cnn, count_flops, count_parameters, join
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture, CNNSpace, Layer
from rlnas.spaces.sizes import layer_sizes

SHAPE = DataShape("images", classes=3, height=6, width=6, channels=2)


def conv(filters=4, height=3, width=3, **fields):
    return Layer(filter_height=height, filter_width=width, filters=filters, **fields)


def network(*layers, **fields):
    return CNNArchitecture(layers=layers, **fields)


def trace(architecture, shape=SHAPE, image=None):
    """What every layer, and the classifier, was given."""
    torch.manual_seed(0)
    model = build_cnn(architecture, shape).eval()
    seen = []
    for module in [*model.layers, model.classifier]:
        module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].clone(), output.clone())))
    image = torch.randn(2, shape.channels, shape.height, shape.width) if image is None else image
    with torch.no_grad():
        model(image)
    return image, [given for given, _ in seen], [made for _, made in seen]


def test_rule_1_a_layer_without_inputs_takes_the_image():
    image, given, _ = trace(network(conv(), conv(inputs=()), conv(inputs=(0, 1))))
    assert torch.equal(given[0], image)
    assert torch.equal(given[1], image)


def test_rule_2_the_classifier_reads_what_no_layer_reads():
    _, given, made = trace(network(conv(filters=4), conv(filters=5), conv(filters=6, inputs=(0,))))
    expected = torch.cat([made[1], made[2]], dim=1).mean(dim=(2, 3))
    assert given[3].shape == (2, 11)
    assert torch.allclose(given[3], expected)


def test_rule_3_inputs_are_concatenated_in_depth_the_smaller_padded_with_zeros():
    strided = conv(filters=5, stride_height=2, stride_width=3, inputs=())
    _, given, made = trace(network(conv(filters=4), strided, conv(inputs=(0, 1))))
    assert made[1].shape == (2, 5, 3, 2)
    assert given[2].shape == (2, 9, 6, 6)
    assert torch.equal(given[2][:, :4], made[0])
    # 3 × 2 in the middle of 6 × 6: one row above and two below, two columns on each side
    assert torch.equal(given[2][:, 4:, 1:4, 2:4], made[1])
    assert given[2][:, 4:].sum() == pytest.approx(float(made[1].sum()), rel=1e-5)


def test_rule_3_holds_at_the_classifier():
    _, given, made = trace(network(conv(filters=1), conv(filters=1, stride_height=2, stride_width=2)))
    assert torch.allclose(given[2][:, 0], made[0].mean(dim=(1, 2, 3)))
    assert torch.allclose(given[2][:, 1], made[1].sum(dim=(1, 2, 3)) / 36)  # zeros count in the average


def test_join_of_one_is_that_one():
    x = torch.ones(1, 2, 3, 4)
    assert join([x]) is x


def test_fixed_pool_sits_before_everything_used_after_it():
    architecture = network(conv(), conv(inputs=(0,)), conv(inputs=()), conv(inputs=(0, 1, 2)), pool_after=(1,))
    image, given, made = trace(architecture)
    pooled = nn.MaxPool2d(2)
    assert torch.equal(given[1], made[0])
    assert torch.equal(given[2], pooled(image))
    assert torch.equal(given[3], torch.cat([pooled(made[0]), pooled(made[1]), made[2]], dim=1))


def test_convolution_is_followed_by_batch_norm_and_relu_with_same_padding():
    model = build_cnn(network(conv(filters=1)), DataShape("images", 2, 3, 3, 1))
    convolution, norm, relu = model.layers[0]
    assert (convolution.bias, type(norm), type(relu)) == (None, nn.BatchNorm2d, nn.ReLU)
    nn.init.ones_(convolution.weight)
    image = torch.arange(9.0).reshape(1, 1, 3, 3) - 4
    sums = torch.tensor([[-8.0, -9, -4], [-3, 0, 3], [4, 9, 8]])  # over each 3 × 3 window, by hand
    assert torch.equal(convolution(image)[0, 0], sums)
    expected = (sums / (sums.var(correction=0) + norm.eps).sqrt()).clamp_min(0)
    assert torch.allclose(model.layers[0](image)[0, 0], expected)


@pytest.mark.parametrize("side", [1, 5, 8])
@pytest.mark.parametrize(("height", "width"), [(1, 7), (3, 5), (2, 4), (7, 7)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_any_convolution_gives_the_side_over_the_stride_rounded_up(side, height, width, stride):
    layer = conv(height=height, width=width, stride_height=stride, stride_width=1)
    _, _, made = trace(network(layer), DataShape("images", 2, side, side, 2))
    assert made[0].shape == (2, 4, -(-side // stride), side)


@pytest.mark.parametrize("side", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("average", [True, False])
def test_any_pooling_gives_the_side_over_the_stride_rounded_up(side, size, stride, average):
    constant = torch.full((1, 2, side, side), -3.0)
    pooled = Pool(size, stride, average)(constant)
    assert pooled.shape == (1, 2, -(-side // stride), -(-side // stride))
    assert torch.allclose(pooled, torch.tensor(-3.0))  # padding is neither a maximum nor counted


def test_pooling_by_hand():
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])[None, None]
    assert Pool(2, 2, average=False)(x)[0, 0].tolist() == [[5, 6], [8, 9]]
    assert Pool(2, 2, average=True)(x)[0, 0].tolist() == [[3, 4.5], [7.5, 9]]
    assert Pool(3, 1, average=False)(x)[0, 0].tolist() == [[5, 6, 6], [8, 9, 9], [8, 9, 9]]


def test_local_contrast_norm_against_a_loop():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 4, 4)
    size, half = 3, 1

    def blur(values, i, j):
        total = weight = 0.0
        for p in range(-half, half + 1):
            for q in range(-half, half + 1):
                if 0 <= i + p < 4 and 0 <= j + q < 4:
                    w = torch.exp(torch.tensor(-(p * p + q * q) / (2 * (size / 4) ** 2)))
                    total, weight = total + w * values[:, i + p, j + q].mean(), weight + w
        return total / weight

    places = [(i, j) for i in range(4) for j in range(4)]
    means = torch.stack([blur(x[0], i, j) for i, j in places]).reshape(4, 4)
    centred = x[0] - means
    deviation = torch.stack([blur(centred**2, i, j) for i, j in places]).reshape(4, 4).sqrt()
    expected = centred / deviation.clamp_min(float(deviation.mean()))
    assert torch.allclose(LocalContrastNorm(size)(x)[0], expected, atol=1e-5)


def test_local_contrast_norm_of_one_colour_is_zero_with_finite_gradient():
    x = torch.ones(1, 2, 4, 4, requires_grad=True)
    y = LocalContrastNorm(5)(x)
    y.sum().backward()
    assert y.abs().max() < 1e-3
    assert x.grad.isfinite().all()


def test_batch_norm_and_dropout_layers():
    model = build_cnn(network(Layer(type="batch_norm"), Layer(type="dropout", rate=0.5, inputs=(0,))), SHAPE)
    image = torch.randn(64, 2, 6, 6) * 3 + 7
    normed = model.layers[0](image)
    assert normed.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert torch.allclose(normed.std(dim=(0, 2, 3)), torch.ones(2), atol=1e-2)
    dropped = model.layers[1](torch.ones(64, 2, 6, 6))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert 0.45 < dropped.count_nonzero() / dropped.numel() < 0.55


def test_a_separable_convolution_filters_each_channel_and_then_mixes_them():
    layer = conv(type="separable_convolution", filters=5, depth_multiplier=2, stride_width=2)
    model = build_cnn(network(layer), SHAPE).eval()
    filtering, mixing, norm, relu = model.layers[0]
    assert (type(norm), type(relu)) == (nn.BatchNorm2d, nn.ReLU)
    image = torch.randn(1, 2, 6, 6)
    filtered = torch.cat(
        [nn.functional.conv2d(image[:, i : i + 1], filtering.weight[2 * i : 2 * i + 2], padding=1) for i in range(2)], 1
    )
    assert torch.allclose(mixing(filtered[..., ::2]), mixing(filtering(image)), atol=1e-6)
    assert model.layers[0](image).shape == (1, 5, 6, 3)


def test_a_depthwise_convolution_puts_out_its_multiple_of_the_channels():
    model = build_cnn(network(conv(type="depthwise_convolution", filters=None, depth_multiplier=3)), SHAPE)
    assert model.layers[0](torch.randn(2, 2, 6, 6)).shape == (2, 6, 6, 6)
    assert len(model.layers[0]) == 3  # nothing mixes the channels


def test_a_dilated_convolution_reads_every_second_pixel():
    model = build_cnn(network(conv(type="dilated_convolution", height=3, width=1, filters=1)), SHAPE)
    image = torch.zeros(1, 2, 6, 6)
    image[0, 0, 3, 3] = 1
    changed = model.layers[0][1](model.layers[0][0](image))[0, 0].nonzero()
    assert changed.tolist() == [[1, 3], [3, 3], [5, 3]]


def test_counts_of_a_network_by_hand():
    shape = DataShape("images", classes=10, height=8, width=8, channels=3)
    model = build_cnn(network(conv(filters=4, height=3, width=5, stride_height=2)), shape)
    assert count_parameters(model) == 4 * 3 * 15 + 2 * 4 + 4 * 10 + 10
    assert count_flops(model, shape) == 4 * 3 * 15 * 4 * 8 + 4 * 10
    separable = conv(type="separable_convolution", filters=4, height=3, width=5, stride_height=2, depth_multiplier=2)
    model = build_cnn(network(separable), shape)
    assert count_parameters(model) == 6 * 15 + 6 * 4 + 2 * 4 + 4 * 10 + 10
    assert count_flops(model, shape) == (6 * 15 + 6 * 4) * 4 * 8 + 4 * 10


SPACES = {
    "plain": CNNSpace(),
    "strides": CNNSpace(stride_heights=(1, 2, 3), stride_widths=(1, 2, 3)),
    "pooled": CNNSpace(pool_after=(2, 4)),
    "even": CNNSpace(filter_heights=(2, 4), filter_widths=(1, 2), pool_after=(1,), stride_heights=(1, 2)),
    "convolutions": CNNSpace(
        layer_types=(
            "separable_convolution",
            "depthwise_convolution",
            "dilated_convolution",
            "convolution",
            "max_pool",
        ),
        filter_heights=(2, 3, 5),
        filters=(4, 6),
        depth_multipliers=(1, 2),
        stride_heights=(1, 2),
    ),
    "types": CNNSpace(
        layer_types=("convolution", "max_pool", "avg_pool", "batch_norm", "local_contrast_norm", "dropout"),
        pool_sizes=(2, 3),
        pool_strides=(1, 2),
        learning_rates=(0.1, 0.01),
    ),
}


def sample(space, rng):
    """Draw tokens uniformly, decision by decision."""
    tokens, chosen = [], {}
    for position, decision in enumerate(space.decisions(0)):
        if decision.when and chosen.get(decision.when[0]) not in decision.when[1]:
            continue
        if decision.anchor:
            tokens += [rng.randrange(2) for _ in range(decision.choices)]
        else:
            chosen[position] = rng.randrange(decision.choices)
            tokens.append(chosen[position])
    return space.decode(tokens)


@pytest.mark.parametrize("name", SPACES)
def test_every_sample_builds_trains_and_has_the_sizes_its_description_says(name):
    shape = DataShape("images", classes=5, height=9, width=8, channels=1)
    for seed in range(8):
        architecture = sample(SPACES[name], random.Random(seed))
        torch.manual_seed(seed)
        model = build_cnn(architecture, shape)
        made = []
        for module in model.layers:
            module.register_forward_hook(lambda _, __, output: made.append(output.shape))  # noqa: B023
        logits = model(torch.randn(2, 1, 9, 8))
        assert logits.shape == (2, 5)
        assert [(h, w, c) for _, c, h, w in made] == layer_sizes(architecture, shape)
        logits.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", SPACES)
def test_a_space_knows_the_size_and_the_cost_of_its_networks_without_building_them(name):
    shape = DataShape("images", classes=5, height=9, width=8, channels=3)
    for seed in range(20):
        architecture = sample(SPACES[name], random.Random(seed))
        sizes = SPACES[name].features(SPACES[name].encode(architecture), shape).sizes
        model = build_cnn(architecture, shape)
        assert {name: sizes[name] for name in ("parameters", "flops")} == {
            "parameters": count_parameters(model),
            "flops": count_flops(model, shape),
        }
