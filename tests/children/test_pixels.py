"""From bytes to a network's input: in training, in an evaluation and in an exported module alike."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rlnas.children.images import PreparedImages
from rlnas.children.pixels import FromPixels, Upsample
from rlnas.children.recipes import CNNRecipe
from rlnas.datasets import Images
from rlnas.spaces import DataShape


def noise(count=20, height=8, width=6, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, height, width, channels), generator=generator, dtype=torch.uint8)


def test_upsampling_is_bilinear_to_the_nearest_whole_number():
    floats = noise().permute(0, 3, 1, 2).float()
    expected = F.interpolate(floats.double(), (12, 10), mode="bilinear", align_corners=False)
    enlarged = Upsample(8, 6, 4)(floats)
    assert enlarged.dtype == torch.float32
    assert torch.equal(enlarged, enlarged.round())
    assert (enlarged - expected).abs().max() <= 0.5 + 1e-6


def test_ties_go_up():
    # A side of 2 made 4 mixes its pixels 3 : 1, so 0 and 2 give 0.5 and 1.5.
    pixels = torch.tensor([0.0, 2.0]).expand(1, 1, 2, 2)
    assert Upsample(2, 2, 2)(pixels)[0, 0, 0].tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize("upsample_by", [None, 1, 4])
@pytest.mark.parametrize("whitening", [False, True])
def test_the_module_does_to_pixels_what_an_evaluation_does(upsample_by, whitening):
    recipe, pixels = CNNRecipe(upsample_by=upsample_by, whitening=whitening), noise()
    prepared = PreparedImages(Images(pixels, torch.zeros(20).long()), recipe, "cpu")
    module = FromPixels(nn.Identity(), recipe, DataShape("images", classes=2, height=8, width=6, channels=3))
    assert torch.allclose(module(pixels), prepared.centre(torch.arange(20)), atol=1e-6)


def test_an_image_does_not_depend_on_the_others():
    recipe, pixels = CNNRecipe(), noise()
    module = FromPixels(nn.Identity(), recipe, DataShape("images", classes=2, height=8, width=6, channels=3))
    assert torch.allclose(module(pixels)[3:4], module(pixels[3:4]), atol=1e-6)
