"""The residual network that image searches are compared with."""

import pytest
import torch

from rlnas.children import SilentMonitor
from rlnas.children.cnn import count_flops, count_parameters
from rlnas.children.images import ImageTrainer
from rlnas.children.recipes import CNNRecipe
from rlnas.children.resnet import Block, ResNet, build_resnet
from rlnas.datasets.base import open_local
from rlnas.datasets.digits import Digits
from rlnas.spaces import DataShape

CIFAR = DataShape("images", classes=10, height=32, width=32, channels=3)


def test_it_is_resnet_20():
    model = build_resnet(ResNet(), CIFAR)
    assert count_parameters(model) == 269_722  # He et al., Table 6: 0.27M
    assert count_flops(model, CIFAR) == pytest.approx(40.6e6, rel=0.01)


def test_a_block_that_adds_nothing_is_its_shortcut():
    block = Block(2, 3, stride=2).eval()
    torch.nn.init.zeros_(block.residual[-1].weight)
    x = torch.rand(1, 2, 5, 5)
    out = block(x)
    assert out.shape == (1, 3, 3, 3)
    assert torch.equal(out[:, :2], x[:, :, ::2, ::2])
    assert not out[:, 2].any()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 5), (1, 1)])
def test_images_of_any_size_fit(height, width):
    model = build_resnet(ResNet(), DataShape("images", classes=4, height=height, width=width, channels=1)).eval()
    assert model(torch.rand(2, 1, height, width)).shape == (2, 4)


def test_it_learns_digits_by_the_recipe_of_the_children():
    recipe = CNNRecipe(epochs=2, batch=32, schedule="cosine", snapshots=1, flip=False, upsample_by=None)
    trainer = ImageTrainer(recipe, Digits().shape(open_local), "cpu")
    resnet = trainer.reference("resnet", None)
    snapshots = trainer.train(resnet, Digits().train(open_local), 0, None, SilentMonitor())
    evaluation = trainer.evaluate(resnet, snapshots, Digits().validation(open_local))
    assert evaluation.metrics["accuracy"] > 0.8
    assert evaluation.metrics["parameters"] == 269_434
