import hashlib
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

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
    test = dataset.open_test(open_local, list).content
    assert np.array_equal(test.pixels, arrays["test_images"])
    assert np.array_equal(test.labels, arrays["test_labels"])
    shape = dataset.shape(open_local)
    assert train.pixels.shape[1:] == (shape.height, shape.width, shape.channels)


def test_training_and_validation_do_not_decode_the_test_file(folder):
    (folder / "cifar-10-batches-py/test_batch").write_bytes(b"sealed")
    dataset = Cifar10(folder=str(folder))
    dataset.shape(open_local), dataset.train(open_local), dataset.validation(open_local)
    for look in (partial(dataset.open_test, record=list), dataset.survey):
        with pytest.raises(UserError, match=r"dataset\.folder: no complete CIFAR-10 in .* \(.*\); allowed: a folder"):
            look(open_local)


def test_a_missing_folder_is_named(tmp_path):
    dataset = Cifar10(folder=str(tmp_path / "nowhere"))
    for call in (dataset.shape, dataset.train, partial(dataset.open_test, record=list)):
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
        Cifar10(folder=str(file), download=True).prepare()


def test_a_download_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", (tmp_path / "nowhere.tar.gz").as_uri())
    with pytest.raises(UserError, match=r"dataset\.download: cannot download"):
        Cifar10(folder=str(tmp_path / "data"), download=True).prepare()
    assert list((tmp_path / "data").iterdir()) == []


def test_what_is_there_is_not_fetched_again(folder, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "file:///nowhere")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert str(folder) in Cifar10(folder=str(folder), download=True).prepare()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_only_prepare_downloads(folder, tmp_path, monkeypatch):
    """From an archive as the real one is made, on a server, fetched by two at once."""
    data, archive = tmp_path / "data", tmp_path / "archive.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/archive.tar.gz"
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", url)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    dataset = Cifar10(folder=str(data), download=True)
    assert dataset.shape(open_local).classes == 10, "a search is opened before its data is fetched"
    with pytest.raises(UserError, match="no complete CIFAR-10"):
        dataset.train(open_local)
    with ThreadPoolExecutor(2) as pool:
        assert len({future.result() for future in [pool.submit(dataset.prepare) for _ in range(2)]}) == 1
    server.shutdown()
    assert [path.name for path in data.iterdir()] == ["cifar-10-batches-py"]
    assert len(dataset.train(open_local).content.labels) == 170


def test_damaged_files_are_found(folder, monkeypatch):
    file = folder / "cifar-10-batches-py/data_batch_1"
    sums = [
        (name, hashlib.md5((folder / "cifar-10-batches-py" / name).read_bytes()).hexdigest())
        for name, _ in torchvision.datasets.CIFAR10.train_list
    ]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", sums)
    dataset = Cifar10(folder=str(folder), download=True)
    dataset.prepare()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="no complete CIFAR-10"):
        dataset.prepare()


def test_a_folder_in_the_store_is_refused():
    with pytest.raises(UserError, match=r"dataset\.folder: store:cifar is in the object store"):
        Cifar10(folder="store:cifar").shape(open_local)


def test_the_paper_draws_at_random_and_the_default_gives_each_class_its_share(folder):
    counts = Cifar10(folder=str(folder), validation_images=517).validation(open_local).content.labels.bincount()
    assert counts.tolist() == [52, 53, 50, 51, 54, 48, 52, 52, 54, 51]  # a tenth of 521, 534, 497, ...
    drawn = Cifar10(folder=str(folder), validation_images=517, stratify=False).validation(open_local).content
    train = np.concatenate(
        [np.load(path, allow_pickle=True)["labels"] for path in sorted(folder.rglob("data_batch_*"))]
    )
    indices = np.sort(np.random.RandomState(0).permutation(5170)[-517:])
    assert drawn.labels.tolist() == train[indices].tolist()


def test_a_survey_counts_and_a_fingerprint_changes_with_a_file(folder):
    dataset = Cifar10(folder=str(folder), validation_images=517)
    facts = dataset.survey(open_local).facts
    assert facts[0] == "images: 32x32, 3 channels, 10 classes"
    assert facts[1].startswith("train: 4,653 images (airplane ")
    assert facts[2].startswith("validation: 517 images, drawn from train (airplane ")
    assert facts[3].startswith("test: ")
    assert dataset.class_names(open_local)[3] == "cat"
    before = dataset.fingerprint(open_local)
    assert list(before) == [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    (folder / "cifar-10-batches-py/data_batch_3").write_bytes(b"other")
    after = dataset.fingerprint(open_local)
    assert [name for name in before if before[name] != after[name]] == ["data_batch_3"]


def test_what_is_to_be_downloaded_cannot_be_surveyed_yet(tmp_path):
    dataset = Cifar10(folder=str(tmp_path), download=True)
    assert dataset.survey(open_local).facts == (
        f"CIFAR-10 is not in {tmp_path} yet; it will be downloaded, checksums compared",
    )
    assert dataset.fingerprint(open_local) == {}
