import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from rlnas.datasets import open_local
from rlnas.datasets.digits import Digits
from rlnas.errors import UserError


def rows(images):
    return list(zip(images.labels.tolist(), map(bytes, images.pixels.numpy()), strict=True))


def test_the_parts_are_the_real_digits_each_once():
    dataset = Digits()
    parts = [dataset.train(open_local), dataset.validation(open_local), dataset.open_test(open_local, list)]
    assert [len(part.content.labels) for part in parts] == [1079, 359, 359]
    digits = load_digits()
    real = [
        (int(label), np.rint(image * 255 / 16).astype(np.uint8).tobytes())
        for image, label in zip(digits.images, digits.target, strict=True)
    ]
    assert sorted(row for part in parts for row in rows(part.content)) == sorted(real)


def test_pixels_fill_the_range_of_uint8_and_fit_the_shape():
    dataset = Digits()
    images, shape = dataset.train(open_local).content, dataset.shape(open_local)
    assert images.pixels.dtype == torch.uint8
    assert images.labels.dtype == torch.int64
    assert (int(images.pixels.min()), int(images.pixels.max())) == (0, 255)
    assert images.pixels.shape[1:] == (shape.height, shape.width, shape.channels) == (8, 8, 1)
    assert images.labels.unique().tolist() == list(range(shape.classes))


def test_the_seed_decides_the_split():
    first, again, other = (Digits(split_seed=seed).validation(open_local).content for seed in (0, 0, 1))
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)


def test_validation_does_not_move_the_test_images():
    few, many = (Digits(validation_fraction=part).open_test(open_local, list).content for part in (0.1, 0.4))
    assert torch.equal(few.pixels, many.pixels)


def test_fractions_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(UserError, match="1797 examples would be split into"):
        Digits(validation_fraction=0.6, test_fraction=0.5).shape(open_local)
