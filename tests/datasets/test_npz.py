import io
import zipfile

import numpy as np
import pytest
import torch

from rlnas.datasets import open_local
from rlnas.datasets.npz import Npz
from rlnas.errors import UserError
from rlnas.spaces import DataShape

rng = np.random.RandomState(0)
GOOD = {
    "train_images": rng.randint(0, 256, (20, 4, 5, 3), dtype=np.uint8),
    "train_labels": np.arange(20) % 3,
    "test_images": rng.randint(0, 256, (6, 4, 5, 3), dtype=np.uint8),
    "test_labels": np.arange(6) % 3,
}


@pytest.fixture
def dataset(tmp_path):
    def make(fields=None, **arrays):
        path = tmp_path / "own.npz"
        np.savez(path, **{name: array for name, array in (GOOD | arrays).items() if array is not None})
        return Npz(path=str(path), **(fields or {}))

    return make


def test_real_images(shared_data):
    path = shared_data / "cifar10/cifar10-subset.npz"
    arrays, dataset = np.load(path), Npz(path=str(path))
    assert dataset.shape(open_local) == DataShape("images", 10, height=32, width=32, channels=3)
    train, validation = dataset.train(open_local).content, dataset.validation(open_local).content
    assert (len(train.labels), len(validation.labels)) == (4653, 517)
    found = torch.cat([train.pixels, validation.pixels]).numpy()
    assert sorted(map(bytes, found)) == sorted(map(bytes, arrays["train_images"]))
    test = dataset.open_test(open_local, list).content
    assert np.array_equal(test.pixels, arrays["test_images"])
    assert np.array_equal(test.labels, arrays["test_labels"])
    assert test.labels.dtype == torch.int64


def test_every_image_keeps_its_label(dataset):
    dataset = dataset({"validation_fraction": 0.3})
    labels = {bytes(image): label for image, label in zip(GOOD["train_images"], GOOD["train_labels"], strict=True)}
    for part in (dataset.train(open_local), dataset.validation(open_local)):
        found = [labels[bytes(image)] for image in part.content.pixels.numpy()]
        assert found == part.content.labels.tolist()


def test_grey_images_get_one_channel(dataset):
    dataset = dataset(train_images=GOOD["train_images"][..., 0])
    assert dataset.shape(open_local).channels == 1
    assert dataset.train(open_local).content.pixels.shape == (18, 4, 5, 1)


def test_an_object_of_the_store_is_opened_by_its_key(dataset):
    path, asked = dataset().path, []

    def opener(name):
        asked.append(name)
        return open_local(path)

    assert Npz(path="store:data/own.npz").shape(opener).classes == 3
    assert asked == ["store:data/own.npz"]


def test_only_open_test_reads_the_test_arrays(dataset):
    dataset = dataset()
    with zipfile.ZipFile(dataset.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(dataset.path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, b"sealed" if name.startswith("test") else data)
    dataset.shape(open_local), dataset.train(open_local), dataset.validation(open_local)
    with pytest.raises(UserError, match=r"test_labels of .* cannot be read"):
        dataset.open_test(open_local, list)


def test_the_shape_reads_no_pixels(dataset):
    dataset = dataset()
    with zipfile.ZipFile(dataset.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(dataset.path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data[:200] if name == "train_images.npy" else data)
    assert dataset.shape(open_local) == DataShape("images", 3, height=4, width=5, channels=3)
    with pytest.raises(UserError, match=r"train_images of .* cannot be read"):
        dataset.train(open_local)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test_labels": None}, "has no array test_labels; needed: train_images"),
        ({"train_images": GOOD["train_images"] / 255}, r"train_images of .* is float64; allowed: uint8"),
        ({"train_images": GOOD["train_images"][:, 0, 0]}, r"train_images of .* has shape \(20, 3\); allowed: \[N, h"),
        ({"train_images": GOOD["train_images"][:7]}, "has 7 images for 20 labels"),
        ({"train_images": GOOD["train_images"][:, :0]}, r"train_images of .* is empty, of shape \(20, 0, 5, 3\)"),
        ({"train_images": np.array([None] * 20)}, r"train_images of .* is object; allowed: uint8"),
        ({"train_labels": np.array([None] * 20)}, r"train_labels of .* cannot be read \(Object arrays"),
        ({"train_labels": np.array([])}, r"train_labels of .* is float64; allowed: whole numbers"),
        ({"train_labels": np.array([], int)}, r"train_labels of .* is empty"),
        ({"train_labels": np.eye(20, dtype=int)}, r"train_labels of .* has shape \(20, 20\); allowed: one label"),
        ({"train_labels": np.arange(20) - 1}, r"train_labels of .* holds the label -1 \(image 0\); allowed: 0 to 18"),
        ({"train_labels": np.zeros(20, int)}, r"train_labels of .* are all 0; allowed: at least 2 classes"),
    ],
)
def test_bad_arrays_are_named(dataset, arrays, message):
    with pytest.raises(UserError, match=message) as error:
        dataset(**arrays).shape(open_local)
    assert str(error.value).startswith("dataset.path: ")
    assert "\n" not in str(error.value)


def test_a_label_outside_the_classes_is_named(dataset):
    with pytest.raises(UserError, match=r"train_labels of .* holds the label 2 \(image 2\); allowed: 0 to 1"):
        dataset({"classes": 2}).shape(open_local)
    with pytest.raises(UserError, match=r"test_labels of .* holds the label 3 \(image 3\); allowed: 0 to 2"):
        dataset(test_labels=np.arange(6)).open_test(open_local, list)


def test_test_images_of_another_size_are_named(dataset):
    dataset = dataset(test_images=GOOD["test_images"][:, 1:])
    with pytest.raises(
        UserError, match=r"test_images of .* holds images \(3, 5, 3\); allowed: \(4, 5, 3\), as in train"
    ):
        dataset.open_test(open_local, list)


def test_more_classes_than_labels_are_allowed(dataset):
    assert dataset({"classes": 7}).shape(open_local).classes == 7


def test_too_few_images_for_a_validation_part_are_refused(dataset):
    with pytest.raises(UserError, match="20 examples would be split into 20 \\+ 0"):
        dataset({"validation_fraction": 0.01}).shape(open_local)


def _npy():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"no numbers", b"PK\x03\x04 torn", _npy()])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"dataset\.path: .*own\.npz is not an \.npz file"):
        Npz(path=str(path)).shape(open_local)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.npz: No such file"):
        Npz(path=str(tmp_path / "nowhere.npz")).shape(open_local)
