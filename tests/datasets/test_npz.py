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
    assert dataset.train(open_local).content.pixels.shape == (17, 4, 5, 1)


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


def test_the_old_split_is_that_of_old_searches_to_the_index(dataset):
    validation = dataset({"stratify": False, "validation_fraction": 0.3}).validation(open_local).content
    indices = np.sort(np.random.RandomState(0).permutation(20)[-6:])
    assert np.array_equal(validation.pixels, GOOD["train_images"][indices])
    assert validation.labels.tolist() == GOOD["train_labels"][indices].tolist()


def test_each_class_has_its_share_of_the_validation_images(dataset):
    """58 + 2 images gave a validation set of one class."""
    arrays = {"train_images": np.zeros((60, 4, 5, 3), np.uint8), "train_labels": np.array([0] * 58 + [1] * 2)}
    for seed in range(10):
        made = dataset({"split_seed": seed}, **arrays)
        assert made.train(open_local).content.labels.bincount().tolist() == [52, 1]
        assert made.validation(open_local).content.labels.bincount().tolist() == [6, 1]


OWN = rng.randint(0, 256, (5, 4, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("start", ["val", "validation"])
def test_validation_data_of_the_file_is_used(dataset, start):
    arrays = {f"{start}_images": OWN, f"{start}_labels": np.array([0, 1, 2, 0, 1])}
    made = dataset(**arrays)
    train, validation = made.train(open_local).content, made.validation(open_local).content
    assert np.array_equal(train.pixels, GOOD["train_images"])
    assert np.array_equal(validation.pixels, OWN)
    assert validation.labels.tolist() == [0, 1, 2, 0, 1]
    assert f"validation: 5 images, {start}_images of the file (0 2, 1 2, 2 1)" in made.survey(open_local).facts
    split = dataset({"validation_data": "split"}, **arrays)
    assert len(split.validation(open_local).content.labels) == 3
    assert f"{start}_images" not in split.fingerprint(open_local)


def test_earlier_searches_go_on_with_the_split_that_they_have():
    earlier = {
        name: field.json_schema_extra["earlier"] for name, field in Npz.model_fields.items() if field.json_schema_extra
    }
    assert earlier == {"validation_data": "split", "stratify": False}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["val_images"], r"has val_images; allowed: val_images and val_labels and no others"),
        (["validation_labels"], r"has validation_labels; allowed: validation_images and validation_labels"),
        (["val_images", "validation_labels"], r"has val_images and validation_labels; allowed: val_images and val_lab"),
    ],
)
def test_half_of_the_validation_data_is_refused(dataset, names, message):
    made = dataset(**{name: OWN if name.endswith("images") else np.zeros(5, int) for name in names})
    with pytest.raises(UserError, match=message):
        made.shape(open_local)
    assert made.model_copy(update={"validation_data": "split"}).shape(open_local).classes == 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test_images": GOOD["test_images"] / 255}, r"test_images of .* is float64; allowed: uint8"),
        (
            {"test_images": GOOD["test_images"][:, 1:]},
            r"test_images of .* holds images \(3, 5, 3\); allowed: \(4, 5, 3",
        ),
        ({"test_images": GOOD["test_images"][:3]}, r"test_images of .* has 3 images for 6 labels"),
        ({"test_labels": np.arange(6)}, r"test_labels of .* holds the label 3 \(image 3\); allowed: 0 to 2"),
        ({"test_labels": np.array([0.0] * 6)}, r"test_labels of .* is float64; allowed: whole numbers"),
        ({"val_images": OWN / 255, "val_labels": np.zeros(5, int)}, r"val_images of .* is float64; allowed: uint8"),
        ({"val_images": OWN, "val_labels": np.full(5, 3)}, r"val_labels of .* holds the label 3 \(image 0\)"),
    ],
)
def test_what_is_wrong_with_test_data_is_found_before_the_search(dataset, arrays, message):
    with pytest.raises(UserError, match=message) as error:
        dataset(**arrays).survey(open_local)
    assert "\n" not in str(error.value)


def test_a_torn_test_array_is_found_before_the_search(dataset):
    dataset = dataset()
    with zipfile.ZipFile(dataset.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(dataset.path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data[:-10] if name == "test_images.npy" else data)
    with pytest.raises(UserError, match=r"test_images of .* cannot be read"):
        dataset.survey(open_local)


def test_a_survey_says_what_a_search_will_see(dataset):
    images = rng.randint(0, 256, (40, 4, 5, 3), dtype=np.uint8)
    found = dataset(train_images=images, train_labels=np.arange(40) % 3).survey(open_local)
    assert found.facts == (
        "images: 4x5, 3 channels, 3 classes",
        "train: 36 images (0 12, 1 12, 2 12)",
        "validation: 4 images, drawn from train (0 2, 1 1, 2 1)",
        "test: 6 images (0 2, 1 2, 2 2)",
        "no image is in two parts",
    )
    assert found.warnings == ()


def warnings(dataset):
    return " | ".join(dataset.survey(open_local).warnings)


def test_channels_that_come_first_are_told(dataset):
    first = {
        part: GOOD[part].transpose(0, 3, 1, 2).repeat(3, 2).repeat(3, 3) for part in ("train_images", "test_images")
    }
    assert (
        "train_images has shape (20, 3, 12, 15), read as height 3, width 12 and 15 channels; if its channels come"
        " first, numpy.transpose(images, (0, 2, 3, 1)) puts them last"
    ) in warnings(dataset(**first))
    assert "channels" not in warnings(dataset())


def test_labels_that_start_at_one_or_leave_holes_are_told(dataset):
    assert "where labels start at 1, subtract 1 from all" in warnings(
        dataset(train_labels=GOOD["train_labels"] + 1, test_labels=GOOD["test_labels"] + 1)
    )
    holes = dataset(train_labels=GOOD["train_labels"] * 50, test_labels=GOOD["test_labels"] * 50)
    assert holes.shape(open_local).classes == 101
    assert "no training image is of 98 labels (such as 1): labels that leave holes make classes" in warnings(holes)


def test_labels_far_above_their_number_are_refused(dataset):
    """Labels 700001 to 700003 made 700,004 classes."""
    labels = {"train_labels": GOOD["train_labels"] + 700_001, "test_labels": GOOD["test_labels"] + 700_001}
    with pytest.raises(
        UserError,
        match=r"train_labels of .* holds 3 different labels, of which 700003 would make 700,004 classes; allowed:"
        r" labels from 0 without holes, as numpy\.unique\(labels, return_inverse=True\)\[1\] makes them,"
        r" or dataset\.classes",
    ):
        dataset(**labels).survey(open_local)
    with pytest.raises(UserError, match="would make"):
        dataset(train_labels=GOOD["train_labels"] + 10**15).survey(open_local)
    meant = dataset({"classes": 700_004}, **labels)
    assert "labels that leave holes" in warnings(meant)


def test_copies_and_plain_images_are_told(dataset):
    images = GOOD["train_images"].copy()
    images[4] = 255
    test = GOOD["test_images"].copy()
    test[2] = images[7]
    found = warnings(
        dataset(train_images=images, test_images=test, validation_images=OWN, validation_labels=np.zeros(5, int))
    )
    assert "1 of 20 train images are of one single colour (such as train_images[4]): look at them" in found
    assert "1 of 6 test images are also train images (such as test_images[2] and train_images[7])" in found
    assert "train_images[7] is 1, test_images[2] is 2" in found
    assert "no validation image is of 2 classes (such as 1): rewards say nothing of it" in found


def test_pixels_from_nought_to_one_are_told(dataset):
    dark = {part: GOOD[part] % 2 for part in ("train_images", "test_images")}
    assert "no pixel is above 1 of 255: nearly black. Values from 0 to 1 must be multiplied by 255" in warnings(
        dataset(**dark)
    )


def test_names_of_classes(dataset):
    assert dataset().class_names(open_local) == []
    named = dataset(class_names=np.array(["cat", "dog", "b\nird"]))
    assert named.class_names(open_local) == ["cat", "dog", "b ird"]
    assert "(cat 2, dog 2, b ird 2)" in named.survey(open_local).facts[3]
    for names in (["cat", "dog"], [1, 2, 3], np.array(["cat", None, 3], object)):
        odd = dataset(class_names=np.array(names))
        assert odd.class_names(open_local) == []
        assert "not used" in warnings(odd)
        assert "class_names" not in odd.fingerprint(open_local)


def test_a_fingerprint_names_the_array_that_changed(dataset, tmp_path):
    made = dataset()
    before = made.fingerprint(open_local)
    assert list(before) == ["train_images", "train_labels", "test_images", "test_labels"]
    np.savez_compressed(tmp_path / "moved.npz", **{name: np.asfortranarray(array) for name, array in GOOD.items()})
    assert Npz(path=str(tmp_path / "moved.npz")).fingerprint(open_local) == before
    assert "path" in Npz.location
    for name in before:
        changed = GOOD[name].copy()
        changed.flat[0] += 1
        after = dataset(**{name: changed}).fingerprint(open_local)
        assert [array for array in before if after[array] != before[array]] == [name]
    assert "class_names" in dataset(class_names=np.array(["a", "b", "c"])).fingerprint(open_local)


@pytest.mark.parametrize("damage", range(40))
def test_damage_of_any_kind_is_one_line(dataset, damage):
    dataset, random = dataset(), np.random.RandomState(damage)
    with open(dataset.path, "r+b") as file:
        content = bytearray(file.read())
        for at in random.randint(0, len(content), 30):
            content[at] = random.randint(256)
        file.seek(0)
        file.write(content)
    with pytest.raises(UserError) as error:
        dataset.survey(open_local)
    assert "\n" not in str(error.value)
