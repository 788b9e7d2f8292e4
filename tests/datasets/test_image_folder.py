import shutil

import pytest
import torch
from PIL import Image

from rlnas.datasets import open_local
from rlnas.datasets.image_folder import ImageFolder
from rlnas.errors import UserError
from rlnas.spaces import DataShape

COLOURS = {"blue": (0, 0, 200), "red": (200, 0, 0)}


@pytest.fixture
def folder(tmp_path):
    """Ten training and two test images of each colour; the n-th has a green part of n."""
    for part, count in (("train", 10), ("test", 2)):
        for name, (red, _, blue) in COLOURS.items():
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (20, 12), (red, number, blue))
                image.save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def test_images_are_read_with_the_labels_of_their_folders(folder):
    dataset = ImageFolder(folder=str(folder), size=8, validation_fraction=0.2)
    assert dataset.shape(open_local) == DataShape("images", 2, height=8, width=8, channels=3)
    train, validation = dataset.train(open_local).content, dataset.validation(open_local).content
    assert train.pixels.shape == (16, 8, 8, 3)
    assert validation.pixels.shape == (4, 8, 8, 3)
    assert train.pixels.dtype == torch.uint8
    assert train.labels.dtype == torch.int64
    pixels, labels = torch.cat([train.pixels, validation.pixels]), torch.cat([train.labels, validation.labels])
    found = sorted((label, *pixel) for label, pixel in zip(labels.tolist(), pixels[:, 4, 4].tolist(), strict=True))
    assert found == sorted(
        (label, red, number, blue) for label, (red, _, blue) in enumerate(COLOURS.values()) for number in range(10)
    )
    assert dataset.open_test(open_local, list).content.labels.tolist() == [0, 0, 1, 1]


def test_the_seed_decides_the_split(folder):
    first, again, other = (
        ImageFolder(folder=str(folder), split_seed=seed).validation(open_local).content for seed in (0, 0, 5)
    )
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)


def test_the_centre_is_kept_and_grey_becomes_rgb(folder):
    image = Image.new("L", (30, 10), 0)
    image.paste(255, (10, 0, 20, 10))
    image.save(folder / "test/blue/0.png")
    pixels = ImageFolder(folder=str(folder), size=10).open_test(open_local, list).content.pixels
    assert int(pixels[0].min()) == 255


def test_only_open_test_reads_test_images(folder):
    for path in folder.glob("test/*/*.png"):
        path.write_bytes(b"sealed")
    dataset = ImageFolder(folder=str(folder))
    dataset.shape(open_local), dataset.train(open_local), dataset.validation(open_local)
    with pytest.raises(UserError, match=r"dataset\.folder: cannot read the image .*test/blue/0\.png"):
        dataset.open_test(open_local, list)


def test_a_torn_image_is_named(folder):
    path = folder / "train/red/3.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"cannot read the image .*train/red/3\.png") as error:
        ImageFolder(folder=str(folder), validation_fraction=0.05).train(open_local)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "train"), r"cannot be used .*train.*; allowed: FOLDER/train/CLASS"),
        (lambda folder: shutil.rmtree(folder / "test"), r"cannot be used .*test.*; allowed: FOLDER/train/CLASS"),
        (lambda folder: shutil.rmtree(folder / "test/red"), "only train or test has red; allowed: the same classes"),
        (lambda folder: (folder / "test/green").mkdir(), "only train or test has green; allowed: the same classes"),
        (lambda folder: [shutil.rmtree(path) for path in folder.glob("*/red")], "has only the class blue; allowed"),
        (lambda folder: [path.unlink() for path in folder.glob("train/red/*")], "no valid file for the classes red"),
        (lambda folder: [path.unlink() for path in folder.glob("train/*/[1-9].png")], r"2 examples .* 2 \+ 0"),
    ],
)
def test_bad_folders_are_named(folder, break_it, message):
    break_it(folder)
    with pytest.raises(UserError, match=message) as error:
        ImageFolder(folder=str(folder)).shape(open_local)
    assert "\n" not in str(error.value)
