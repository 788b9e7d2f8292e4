"""Memory told from the description: never more than training takes, and enough to refuse what no machine holds."""

import random

import psutil
import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from rlnas.children import SilentMonitor
from rlnas.children.cnn import build_cnn, count_parameters
from rlnas.children.images import ImageTrainer
from rlnas.children.memory import device_memory, least_memory, require_memory
from rlnas.children.recipes import CNNRecipe
from rlnas.datasets import Images, Train
from rlnas.errors import ChildFailure
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture, CNNSpace, Layer

SHAPE = DataShape("images", classes=5, height=9, width=8, channels=3)
SPACE = CNNSpace(
    layers=8,
    layer_types=(
        *("convolution", "max_pool", "avg_pool", "batch_norm", "local_contrast_norm", "dropout"),
        *("separable_convolution", "depthwise_convolution", "dilated_convolution"),
    ),
    depth_multipliers=(1, 2),
    stride_heights=(1, 2),
    filters=(4, 8),
    pool_after=(3,),
)


def doubling(kind: str, depth: int) -> CNNArchitecture:
    """A network whose layers each read all before them, and put out as much."""
    return CNNArchitecture(
        layers=tuple(Layer(type=kind, size=1, stride=1, rate=0.5, inputs=tuple(range(i))) for i in range(depth))
    )


class Largest(TorchDispatchMode):
    """The size of the largest tensor that was made."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.bytes = max(self.bytes, 4 * result.numel())
        return result


def draw(seed: int) -> CNNArchitecture:
    rng, tokens, chosen = random.Random(seed), [], {}
    for position, decision in enumerate(SPACE.decisions(0)):
        if decision.when and chosen.get(decision.when[0]) not in decision.when[1]:
            continue
        if decision.anchor:
            tokens += [rng.randrange(2) for _ in range(decision.choices)]
        else:
            chosen[position] = rng.randrange(decision.choices)
            tokens.append(chosen[position])
    return SPACE.decode(tokens)


def test_by_hand():
    conv = Layer(filter_height=3, filter_width=1, filters=4, stride_height=3)
    network = CNNArchitecture(
        layers=(conv, Layer(type="batch_norm", inputs=(0,)), Layer(type="dropout", inputs=(0, 1)))
    )
    values = 9 * 8 * 3 + 3 * 8 * 4  # the image, and the convolution's output; dropout keeps nothing of what it reads
    weights = 4 * 3 * 1 * 3 + 8 * 5
    assert least_memory(network, SHAPE, 10, "float32") == 10 * 4 * values + 8 * weights
    assert least_memory(network, SHAPE, 10, "bfloat16") == 10 * 2 * values + 8 * weights


@pytest.mark.parametrize("seed", range(12))
def test_training_takes_at_least_that_and_not_ten_times_as_much(seed):
    architecture, batch, kept, largest = draw(seed), 16, {}, Largest()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model = build_cnn(architecture, SHAPE)
    with saved_tensors_hooks(keep, lambda tensor: tensor), largest:
        model(image := torch.randn(batch, 3, 9, 8))
    weights = 8 * count_parameters(model)  # with the gradients that are still to come
    taken = max(sum(kept.values()), largest.bytes, 4 * image.numel()) + weights
    assert taken / 10 < least_memory(architecture, SHAPE, batch, "float32") <= taken


def test_layers_that_read_one_output_keep_it_once():
    norm = Layer(type="batch_norm")
    network = CNNArchitecture(layers=(norm, norm, norm))
    assert least_memory(network, SHAPE, 1, "float32") == 4 * max(9 * 8 * 3, 9 * 8 * 9) + 8 * 9 * 5


@pytest.mark.parametrize("depth", [40, 100])
@pytest.mark.parametrize("kind", ["batch_norm", "max_pool", "dropout", "depthwise_convolution"])
def test_a_child_that_no_machine_holds_fails_before_it_is_built(kind, depth):
    data = Train(Images(torch.zeros(6, 9, 8, 3, dtype=torch.uint8), torch.arange(6) % 5))
    trainer = ImageTrainer(CNNRecipe(epochs=1), SHAPE, "cpu")
    before = psutil.Process().memory_info().rss
    with pytest.raises(ChildFailure, match=r"needs at least .* GiB for a batch of 6; there are .* GiB") as failure:
        trainer.train(doubling(kind, depth), data, 0, None, SilentMonitor())
    assert failure.value.reason == "out_of_memory"
    assert psutil.Process().memory_info().rss - before < 1e9


def test_what_fits_passes():
    require_memory(doubling("batch_norm", 8), SHAPE, 128, "cpu", "float32")
    assert 2**30 < device_memory("cpu") <= psutil.virtual_memory().total


@pytest.mark.parametrize("names", [("parameters",), ("flops", "latency_1")])
def test_nor_is_it_built_to_be_measured(names):
    before = psutil.Process().memory_info().rss
    with pytest.raises(ChildFailure, match="needs at least"):
        ImageTrainer(CNNRecipe(), SHAPE, "cpu").measure(doubling("max_pool", 40), names)
    assert psutil.Process().memory_info().rss - before < 1e9
