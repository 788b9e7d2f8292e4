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


def test_the_old_split_is_that_of_old_searches_to_the_index():
    order, digits = np.random.RandomState(0).permutation(1797), load_digits()
    dataset = Digits(stratify=False)
    for part, indices in (
        (dataset.train(open_local), order[:1079]),
        (dataset.validation(open_local), order[1079:1438]),
        (dataset.open_test(open_local, list), order[1438:]),
    ):
        assert part.content.labels.tolist() == digits.target[np.sort(indices)].tolist()


def test_each_class_has_its_share_of_every_part():
    parts = [Digits().validation(open_local), Digits().open_test(open_local, list)]
    for part in parts:
        counts = part.content.labels.bincount()
        assert [int(counts.min()), int(counts.max())] == [35, 37]  # a fifth of 174 to 183


def test_a_survey_says_what_a_search_will_see():
    found = Digits().survey(open_local)
    assert found.facts[0] == "images: 8x8, 1 channel, 10 classes"
    assert [line.partition(" (")[0] for line in found.facts[1:4]] == [
        "train: 1,079 images",
        "validation: 359 images",
        "test: 359 images",
    ]
    assert found.warnings == ()
    assert Digits().class_names(open_local) == list("0123456789")
    assert list(Digits().fingerprint(open_local)) == ["digits"]
