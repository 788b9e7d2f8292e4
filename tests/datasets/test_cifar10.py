import pickle

import numpy as np
import pytest
import torch
import torchvision

from rlnas.datasets import open_local
from rlnas.datasets.cifar10 import Cifar10
from rlnas.errors import UserError


@pytest.fixture
def folder(shared_data, tmp_path, monkeypatch):
    """Real images of CIFAR-10 in its own file format; they are not all, so torchvision must not compare checksums."""
    arrays = np.load(shared_data / "cifar10/cifar10-subset.npz")
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()

    def write(name, images, labels):
        data = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        (batches / name).write_bytes(pickle.dumps({"data": data, "labels": labels.tolist()}))

    chunks = [np.array_split(arrays[f"train_{name}"], 5) for name in ("images", "labels")]
    for number, (images, labels) in enumerate(zip(*chunks, strict=True), 1):
        write(f"data_batch_{number}", images, labels)
    write("test_batch", arrays["test_images"], arrays["test_labels"])
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(label) for label in range(10)]}))

    cifar10 = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar10, "train_list", [(name, None) for name, _ in cifar10.train_list])
    monkeypatch.setattr(cifar10, "test_list", [(name, None) for name, _ in cifar10.test_list])
    monkeypatch.setattr(cifar10, "meta", cifar10.meta | {"md5": None})
    return tmp_path


def test_the_real_images_are_read_and_split(folder, shared_data):
    dataset = Cifar10(folder=str(folder), validation_images=5000)
    train, validation = dataset.train(open_local).content, dataset.validation(open_local).content
    assert (len(train.labels), len(validation.labels)) == (170, 5000)
    arrays = np.load(shared_data / "cifar10/cifar10-subset.npz")
    found = torch.cat([train.pixels, validation.pixels]).numpy()
    assert sorted(map(bytes, found)) == sorted(map(bytes, arrays["train_images"]))
    test = dataset.open_test(open_local).content
    assert np.array_equal(test.pixels, arrays["test_images"])
    assert np.array_equal(test.labels, arrays["test_labels"])
    shape = dataset.shape(open_local)
    assert train.pixels.shape[1:] == (shape.height, shape.width, shape.channels)


def test_training_and_validation_do_not_decode_the_test_file(folder):
    (folder / "cifar-10-batches-py/test_batch").write_bytes(b"sealed")
    dataset = Cifar10(folder=str(folder))
    dataset.shape(open_local), dataset.train(open_local), dataset.validation(open_local)
    with pytest.raises(pickle.UnpicklingError):
        dataset.open_test(open_local)


def test_a_missing_folder_is_named(tmp_path):
    dataset = Cifar10(folder=str(tmp_path / "nowhere"))
    for call in (dataset.shape, dataset.train, dataset.open_test):
        with pytest.raises(UserError, match=r"dataset\.folder: .*nowhere; allowed: .*download: true"):
            call(open_local)


def test_an_incomplete_folder_is_named(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(UserError, match="no complete CIFAR-10 in"):
        Cifar10(folder=str(tmp_path)).train(open_local)


def test_a_download_that_fails_says_why(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=r"dataset\.download: cannot download CIFAR-10 to .*file"):
        Cifar10(folder=str(file), download=True).train(open_local)


def test_a_folder_in_the_store_is_refused():
    with pytest.raises(UserError, match=r"dataset\.folder: store:cifar is in the object store"):
        Cifar10(folder="store:cifar").shape(open_local)
