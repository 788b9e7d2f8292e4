"""Convolutional children: augmentation, training to an accuracy, rewards, and bit-for-bit resumption."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from rlnas.children import Interrupted, SilentMonitor
from rlnas.children.images import ImageRun, ImageTrainer, PreparedImages
from rlnas.children.recipes import CNNRecipe
from rlnas.children.resnet import ResNet
from rlnas.children.training import child_failures
from rlnas.datasets import Images, Train, Validation
from rlnas.errors import ChildFailure, UserError
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture, Layer
from rlnas.tensors import pack, unpack

SHAPE = DataShape("images", classes=10, height=8, width=8, channels=1)
PLAIN = {"upsample_by": None, "flip": False, "whitening": False}


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    pixels = torch.tensor(data.images * 255 / 16).round().byte()[..., None]
    labels = torch.tensor(data.target, dtype=torch.int64)
    held_out = torch.arange(len(labels)) % 5 == 0
    return Train(Images(pixels[~held_out], labels[~held_out])), Validation(Images(pixels[held_out], labels[held_out]))


def network(filters=8, **fields):
    first = Layer(filter_height=3, filter_width=3, filters=filters)
    return CNNArchitecture(layers=(first, first.model_copy(update={"inputs": (0,)})), **fields)


def noise(count=40, side=8, channels=1):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, side, side, channels), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 10)


def numbered(count):
    """Images whose pixel at (i, j) is 10 i + j."""
    pixels = (torch.arange(4)[:, None] * 10 + torch.arange(4)).byte()[None, :, :, None]
    return Images(pixels.expand(count, -1, -1, -1).contiguous(), torch.zeros(count, dtype=torch.int64))


def bytes_of(prepared, batch):
    """Undo the scaling of images that are not whitened."""
    return (batch * 127.5 + 127.5).round().long()[:, 0]


def test_whitening_is_that_of_tensorflow():
    pixels = torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8)[None, :, :, None]
    flat = torch.full((1, 2, 2, 1), 200, dtype=torch.uint8)
    recipe = CNNRecipe(upsample_by=None, flip=False)
    white = PreparedImages(Images(torch.cat([pixels, flat]), torch.zeros(2).long()), recipe, "cpu").centre(
        torch.arange(2)
    )
    values = torch.tensor([0.0, 255, 51, 102]) / 255
    # mean 0.4, deviation sqrt((0.16 + 0.36 + 0.04 + 0) / 4)
    assert torch.allclose(white[0].flatten(), (values - 0.4) / math.sqrt(0.14), atol=1e-5)
    assert white[1].abs().max() < 1e-4  # one colour: nothing is divided by zero


def test_whitening_divides_faint_images_by_the_floor():
    pixels = torch.tensor([100, 100, 100, 101], dtype=torch.uint8).reshape(1, 2, 2, 1)
    prepared = PreparedImages(Images(pixels, torch.zeros(1).long()), CNNRecipe(upsample_by=None), "cpu")
    # deviation 0.433, floor 1 / sqrt(4)
    assert prepared.centre(torch.zeros(1).long()).flatten().tolist() == [-0.5, -0.5, -0.5, 1.5]


def test_without_augmentation_a_batch_is_the_images():
    images = numbered(3)
    prepared = PreparedImages(images, CNNRecipe(**PLAIN), "cpu")
    assert torch.equal(bytes_of(prepared, prepared.random(torch.arange(3))), images.pixels[..., 0].long())


def test_a_batch_is_channels_last():
    prepared = PreparedImages(noise(channels=3), CNNRecipe(), "cpu")
    assert prepared.random(torch.arange(5)).is_contiguous(memory_format=torch.channels_last)


def test_half_the_images_are_mirrored():
    images = numbered(2000)
    prepared = PreparedImages(images, CNNRecipe(**PLAIN | {"flip": True}), "cpu")
    batch = bytes_of(prepared, prepared.random(torch.arange(2000)))
    same = (batch == images.pixels[..., 0]).all(dim=(1, 2))
    mirrored = (batch == images.pixels[..., 0].flip(2)).all(dim=(1, 2))
    assert (same ^ mirrored).all()
    assert 0.45 < mirrored.float().mean() < 0.55


def test_every_crop_of_the_upsampled_image_is_as_likely():
    prepared = PreparedImages(numbered(9000), CNNRecipe(**PLAIN | {"upsample_by": 2}), "cpu")
    assert prepared.pixels.shape == (9000, 6, 6, 1)
    large = prepared.pixels[0, :, :, 0].long()
    batch = bytes_of(prepared, prepared.random(torch.arange(9000)))
    for top in range(3):
        for left in range(3):
            crop = large[top : top + 4, left : left + 4]
            assert 0.09 < (batch == crop).all(dim=(1, 2)).float().mean() < 0.13
    assert torch.equal(bytes_of(prepared, prepared.centre(torch.arange(1)))[0], large[1:5, 1:5])


def test_augmentation_depends_on_the_random_generator_alone():
    prepared = PreparedImages(noise(channels=3), CNNRecipe(), "cpu")
    batches = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        batches.append(prepared.random(torch.arange(40)))
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def make_run(images, **fields):
    torch.manual_seed(0)
    recipe = CNNRecipe(**PLAIN | fields)
    trainer = ImageTrainer(recipe, SHAPE, "cpu")
    prepared = PreparedImages(images, recipe, "cpu")
    return ImageRun(trainer._build(network()), prepared, recipe, recipe.learning_rate, 10, seed=0)


@pytest.mark.parametrize(("count", "batch", "steps"), [(40, 16, 2), (40, 20, 2), (40, 100, 1)])
def test_the_incomplete_last_batch_is_left_out_unless_it_is_the_only_one(count, batch, steps):
    assert make_run(noise(count), batch=batch).steps == steps


def test_every_epoch_has_its_own_order():
    run = make_run(noise())
    orders = []
    for epoch in (0, 1, 0):
        run.start_epoch(epoch)
        orders.append(run.order)
    assert sorted(orders[0].tolist()) == list(range(40))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


def test_cosine_schedule_falls_from_the_learning_rate_to_zero():
    run = make_run(noise(), batch=10, epochs=2, schedule="cosine", learning_rate=0.2)
    rates = []
    for epoch in range(2):
        run.start_epoch(epoch)
        for step in range(4):
            run.step(step)
            rates.append(run.optimizer.lr)
    assert rates[0] == 0.2
    assert rates[4] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rate_is_divided_from_the_decay_epoch_on(schedule):
    runs = [make_run(noise(), epochs=4, schedule=schedule, **extra) for extra in ({}, {"decay_epoch": 2, "decay": 5})]
    rates = []
    for epoch in range(4):
        for run in runs:
            run.start_epoch(epoch)
            run.step(0)
        rates.append(runs[1].optimizer.lr / runs[0].optimizer.lr)
    assert rates == pytest.approx([1, 1, 1 / 5, 1 / 5])


def test_batch_normalisation_takes_the_recipes_epsilon():
    for architecture in (network(), CNNArchitecture(layers=(Layer(type="batch_norm"),)), ResNet()):
        model = ImageTrainer(CNNRecipe(norm_epsilon=0.01), SHAPE, "cpu")._build(architecture)
        assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.01}


def test_a_winner_with_every_and_with_no_skip_connection():
    trainer = ImageTrainer(CNNRecipe(), SHAPE, "cpu")
    layer = Layer(filter_height=3, filter_width=3, filters=8)
    winner = CNNArchitecture(
        layers=(layer, layer, layer.model_copy(update={"inputs": (0, 1)}), layer), pool_after=(1,), learning_rate=0.3
    )
    dense, chain = (trainer.reference(name, winner) for name in ("all_skips", "no_skips"))
    assert [layer.inputs for layer in dense.layers] == [(), (0,), (0, 1), (0, 1, 2)]
    assert [layer.inputs for layer in chain.layers] == [(), (0,), (1,), (2,)]
    for reference in (dense, chain):
        assert (reference.pool_after, reference.learning_rate) == ((1,), 0.3)
        assert all(layer.filters == 8 for layer in reference.layers)


def test_one_layer_has_no_skip_connections():
    trainer = ImageTrainer(CNNRecipe(), SHAPE, "cpu")
    winner = CNNArchitecture(layers=(Layer(filter_height=3, filter_width=3, filters=8),))
    for name in ("all_skips", "no_skips"):
        with pytest.raises(UserError, match=f"{name} needs layers .* allowed: resnet"):
            trainer.reference(name, winner)


def test_an_unknown_reference_is_refused():
    with pytest.raises(UserError, match="'vgg'; allowed: resnet, all_skips, no_skips"):
        ImageTrainer(CNNRecipe(), SHAPE, "cpu").reference("vgg", network())


def test_predicted_learning_rate_overrides_the_recipes():
    data, recipe = Train(noise()), CNNRecipe(epochs=1, batch=40, learning_rate=0.1, **PLAIN)
    predicted = ImageTrainer(recipe, SHAPE, "cpu").train(network(learning_rate=0.5), data, 1, None, SilentMonitor())
    written = ImageTrainer(recipe.model_copy(update={"learning_rate": 0.5}), SHAPE, "cpu")
    expected = unpack(written.train(network(), data, 1, None, SilentMonitor()))
    assert all(torch.equal(t, expected[name]) for name, t in unpack(predicted).items())


def test_learns_digits_and_is_rewarded_by_the_cube_of_the_best_of_the_last_snapshots(digits):
    data, validation = digits
    recipe = CNNRecipe(epochs=4, batch=16, schedule="cosine", snapshots=3, flip=False, upsample_by=None)
    trainer = ImageTrainer(recipe, SHAPE, "cpu")
    snapshots = trainer.train(network(24), data, 0, None, SilentMonitor())
    evaluation = trainer.evaluate(network(24), snapshots, validation)
    assert len(evaluation.history) == 3
    assert max(evaluation.history) > 0.9
    assert evaluation.reward == pytest.approx(max(evaluation.history) ** 3)
    assert evaluation.metrics["accuracy"] == max(evaluation.history)
    assert evaluation.metrics["parameters"] == 24 * 9 + 24 * 24 * 9 + 2 * 48 + 250
    assert evaluation.metrics["flops"] == (24 * 9 + 24 * 24 * 9) * 64 + 240


def test_history_is_in_the_order_of_epochs():
    images = Images(noise(10).pixels, torch.tensor([0, 1, 1, 2, 2, 2, 3, 3, 3, 3]))
    trainer = ImageTrainer(CNNRecipe(**PLAIN), SHAPE, "cpu")
    model, weights = trainer._build(network()), {}
    for epoch in range(8, 12):  # as text, 10 comes before 8
        model.classifier.bias.data = 1e6 * torch.eye(10)[epoch - 8]  # always answers 0, 1, 2, 3
        weights |= {f"{epoch}/{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    evaluation = trainer.evaluate(network(), pack(weights, {}), Validation(images))
    assert evaluation.history == (0.1, 0.2, 0.3, 0.4)
    assert evaluation.reward == pytest.approx(0.064)


def test_its_promise_is_how_likely_it_finds_the_right_classes_in_the_end():
    images = Images(noise(2).pixels, torch.tensor([0, 1]))
    trainer = ImageTrainer(CNNRecipe(**PLAIN), SHAPE, "cpu")
    model, weights = trainer._build(network()), {}
    nn.init.zeros_(model.classifier.weight)
    for epoch, likely in enumerate(([1.0, 1.0], [8.0, 2.0], [math.nan, 2.0])):  # of ten classes, the other eight as 1
        model.classifier.bias.data = torch.tensor([*likely, *[1.0] * 8]).log()
        weights[epoch] = {f"{epoch}/{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    both = weights[0] | weights[1]
    assert trainer.promise(network(), pack(both, {}), Validation(images)) == pytest.approx((16 / 18**2) ** 1.5)
    assert trainer.promise(network(), pack(weights[2], {}), Validation(images)) == 0
    by_reward = ImageTrainer(CNNRecipe(**PLAIN, rungs_by="reward"), SHAPE, "cpu")
    by_accuracy = by_reward.evaluate(network(), pack(both, {}), Validation(images)).reward
    assert by_reward.promise(network(), pack(both, {}), Validation(images)) == by_accuracy


class StopsAt(SilentMonitor):
    """Keeps a checkpoint and stops the training after so many steps."""

    def __init__(self, steps):
        self.left = steps
        self.kept = None

    def beat(self, state):
        self.left -= 1
        if self.left == 0:
            self.kept = state()
            raise Interrupted


AUGMENTED = CNNRecipe(epochs=3, batch=10, snapshots=2, upsample_by=2, schedule="cosine")
EVERYTHING = CNNArchitecture(
    layers=(
        Layer(filter_height=3, filter_width=3, filters=9),
        Layer(type="dropout", rate=0.3, inputs=(0,)),
        Layer(filter_height=1, filter_width=5, filters=8, stride_height=2, inputs=(0, 1)),
    )
)


def train(seed=3, checkpoint=None, monitor=None):
    trainer = ImageTrainer(AUGMENTED, SHAPE, "cpu")
    return trainer.train(EVERYTHING, Train(noise()), seed, checkpoint, monitor or SilentMonitor())


def assert_same_weights(one, other):
    one, other = unpack(one), unpack(other)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def undisturbed():
    return train()


def test_same_seed_same_bits(undisturbed):
    torch.manual_seed(99)  # what the process did before does not matter
    assert_same_weights(train(), undisturbed)
    assert not torch.equal(unpack(train(seed=4))["2/classifier.weight"], unpack(undisturbed)["2/classifier.weight"])


@pytest.mark.parametrize("steps", [1, 4, 6, 8, 11])  # mid-epoch, between epochs, between snapshots
def test_killed_and_resumed_is_bit_identical(undisturbed, steps):
    monitor = StopsAt(steps)
    with pytest.raises(Interrupted):
        train(monitor=monitor)
    torch.manual_seed(99)
    assert_same_weights(train(checkpoint=monitor.kept), undisturbed)


def failure(architecture=None, images=None, **fields):
    recipe = CNNRecipe(**{"epochs": 2, "batch": 10} | PLAIN | fields)
    trainer = ImageTrainer(recipe, SHAPE, "cpu")
    with pytest.raises(ChildFailure) as caught, child_failures():
        trainer.train(architecture or network(), Train(images or noise()), 0, None, SilentMonitor())
    return caught.value


def test_absurd_learning_rate_is_a_failure_of_the_child():
    assert failure(learning_rate=1e30).reason in ("not_finite", "diverged")


def test_high_learning_rate_diverges():
    assert failure(learning_rate=1e5).reason == "diverged"


def test_more_filters_than_memory_is_out_of_memory():
    assert failure(network(filters=10**14)).reason == "out_of_memory"


def test_out_of_time():
    late = failure(time_limit=1e-6)
    assert late.reason == "timeout"
    assert "epoch 0 of 2" in late.detail


def test_images_of_another_shape():
    assert failure(images=noise(channels=3)).reason == "bad_shape"


def test_snapshots_of_another_architecture(undisturbed):
    with pytest.raises(ChildFailure) as caught, child_failures():
        ImageTrainer(AUGMENTED, SHAPE, "cpu").evaluate(network(), undisturbed, Validation(noise()))
    assert caught.value.reason in ("bad_shape", "error")


def test_inputs_that_do_not_exist_are_an_error():
    broken = CNNArchitecture(layers=(Layer(filter_height=1, filter_width=1, filters=2, inputs=(5,)),))
    assert failure(broken).reason == "error"
