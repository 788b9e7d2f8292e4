import os
import shutil

import numpy as np
import pytest
import torch
import torchvision
from image_files import bomb
from PIL import Image
from pydantic import ValidationError

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
    with pytest.raises(UserError, match=r"dataset: cannot read the image .*test/blue/0\.png"):
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
        (
            lambda folder: [path.unlink() for path in folder.glob("train/red/*")],
            r"train/red holds no image that is read; allowed: FOLDER",
        ),
        (lambda folder: [path.unlink() for path in folder.glob("test/red/*")], r"test/red holds no image that is read"),
        (lambda folder: [path.unlink() for path in folder.glob("train/*/[1-9].png")], r"2 examples .* 2 \+ 0"),
    ],
)
def test_bad_folders_are_named(folder, break_it, message):
    break_it(folder)
    with pytest.raises(UserError, match=message) as error:
        ImageFolder(folder=str(folder)).shape(open_local)
    assert "\n" not in str(error.value)


def test_the_old_split_is_that_of_old_searches_to_the_index(folder):
    """As torchvision's ImageFolder lists the files, and one draw over all of them takes them."""
    dataset = ImageFolder(folder=str(folder), size=8, validation_fraction=0.2, stratify=False)
    (folder / "train/blue/below").mkdir()
    (folder / "train/blue/7.png").rename(folder / "train/blue/below/7.png")
    files = torchvision.datasets.ImageFolder(folder / "train")
    indices = np.sort(np.random.RandomState(0).permutation(20)[-4:])
    expected = [np.asarray(files[index][0])[0, 0].tolist() for index in indices]
    found = dataset.validation(open_local).content
    assert found.pixels[:, 0, 0].tolist() == expected
    assert found.labels.tolist() == [files.targets[index] for index in indices]


def test_each_class_has_its_share_of_the_validation_images(folder):
    for seed in range(5):
        dataset = ImageFolder(folder=str(folder), validation_fraction=0.2, split_seed=seed)
        assert dataset.validation(open_local).content.labels.tolist() == [0, 0, 1, 1]


def test_plain_images_have_the_pixels_that_torchvision_gives_them(folder):
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (30, 41, 3), np.uint8))
    image.save(folder / "test/blue/0.png")
    transforms = torchvision.transforms
    transform = transforms.Compose([transforms.Resize(16), transforms.CenterCrop(16), transforms.PILToTensor()])
    found = ImageFolder(folder=str(folder), size=16).open_test(open_local, list).content.pixels[0]
    assert torch.equal(found.permute(2, 0, 1), transform(image))


def test_transparency_and_deep_greys_are_read_as_the_spec_says(folder):
    Image.new("RGBA", (8, 8), (255, 255, 255, 0)).save(folder / "test/blue/0.png")
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(folder / "test/blue/1.png")

    def first(**fields):
        test = ImageFolder(folder=str(folder), size=8, **fields).open_test(open_local, list)
        return test.content.pixels[:2, 0, 0].tolist()

    assert first() == [[255] * 3, [16] * 3]
    assert first(background="#102030", white=4095) == [[16, 32, 48], [255] * 3]


@pytest.mark.parametrize("fields", [{"background": "whitish"}, {"background": "#ff000080"}, {"white": 0}])
def test_bad_ways_to_read_are_refused(fields):
    with pytest.raises(ValidationError, match=r"is no colour; allowed: a name such as white|greater than 0"):
        ImageFolder(folder="x", **fields)


def test_new_fields_say_what_earlier_searches_have():
    earlier = {
        name: field.json_schema_extra["earlier"]
        for name, field in ImageFolder.model_fields.items()
        if field.json_schema_extra
    }
    assert earlier == {"background": "white", "white": None, "stratify": False}


def survey(folder, **fields):
    return ImageFolder(folder=str(folder), validation_fraction=0.2, **fields).survey(open_local)


def test_a_survey_says_what_a_search_will_see(folder):
    for number, path in enumerate(sorted(folder.rglob("*.png"))):  # no two alike, none of one colour
        image = Image.open(path)
        image.putpixel((0, 0), (number, 255, 0))
        image.save(path)
    found = survey(folder)
    assert found.facts == (
        "images: 32x32, 3 channels, 2 classes",
        "train: 16 images (blue 8, red 8)",
        "validation: 4 images, drawn from train (blue 2, red 2)",
        "test: 4 images (blue 2, red 2)",
        "no image is in two parts",
    )
    assert found.warnings == ()


def test_what_is_left_out_is_counted_and_is_no_class(folder):
    """What notebooks, other systems and other formats leave in folders."""
    for part in ("train", "test"):
        shutil.copytree(folder / "train/red", folder / part / ".ipynb_checkpoints")
    shutil.copytree(folder / "train/red", folder / "train/red/.ipynb_checkpoints")
    (folder / "train/red/._0.png").write_bytes(b"no image")
    (folder / "train/red/notes").touch()
    (folder / "train/list.csv").touch()
    for number in range(3):
        Image.new("RGB", (8, 8)).save(folder / f"train/blue/{number}.GIF")
    dataset = ImageFolder(folder=str(folder), size=8, validation_fraction=0.2)
    assert dataset.shape(open_local).classes == 2
    assert dataset.class_names(open_local) == ["blue", "red"]
    assert dataset.train(open_local).content.labels.bincount().tolist() == [8, 8]
    found = dataset.survey(open_local)
    assert (
        "left out of train: hidden folders: 2 (such as .ipynb_checkpoints); files outside a class folder: 1 (such as"
        " list.csv); .gif files: 3 (such as blue/0.GIF); hidden files: 1 (such as red/._0.png); files without a"
        " suffix: 1 (such as red/notes)"
    ) in found.facts
    assert "left out of test: hidden folders: 1 (such as .ipynb_checkpoints)" in found.facts
    assert (".gif files of train are not read: 3 (such as blue/0.GIF); png, jpg, tif and webp are") in found.warnings


def test_copies_in_two_parts_or_classes_are_told(folder):
    for path in folder.glob("test/*/*.png"):
        path.unlink()
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 0, 255)).save(folder / f"test/{('blue', 'red')[number % 2]}/new{number}.png")
    assert not [line for line in survey(folder).warnings if " are also " in line]
    shutil.copy(folder / "train/blue/0.png", folder / "test/red/of_blue.png")
    shutil.copytree(folder / "train/red", folder / "train/red/copies")
    found = [line for line in survey(folder).warnings if " also " in line or "another" in line]
    assert len(found) == 3
    dataset = ImageFolder(folder=str(folder), validation_fraction=0.2)
    train, validation = (
        {tuple(pixel) for pixel in part.content.pixels[:, 0, 0].tolist()}
        for part in (dataset.train(open_local), dataset.validation(open_local))
    )
    twice = [pixel for pixel in validation if pixel in train]
    assert found[0].startswith(
        f"{len(twice)} of 6 validation images are also train images (such as {folder}/train/red/"
    )
    assert "1 of 5 test images are also " in found[1]  # of blue/0.png, wherever the draw put it
    assert f"{folder}/test/red/of_blue.png and {folder}/train/blue/0.png" in found[1]
    assert found[2].startswith("1 image of one class can be found in another, too (such as: ")
    assert "of_blue.png is red)" in found[2]


def test_images_of_one_colour_are_told(folder):
    """As 16 bits once became: all images 255, and the accuracy 1."""
    assert any(
        line.startswith("16 of 16 train images are of one single colour (such as ") for line in survey(folder).warnings
    )


def test_images_too_dark_are_told(folder):
    for path in folder.rglob("*.png"):
        values = np.random.RandomState(0).randint(0, 4096, (8, 8)).astype(np.uint16)
        Image.fromarray(values).save(path)
    assert any(line.startswith("no pixel is above 16 of 255: nearly black.") for line in survey(folder).warnings)
    assert not any("nearly black" in line for line in survey(folder, white=4095).warnings)


def test_transparency_and_several_pictures_are_told(folder):
    Image.new("RGBA", (8, 8), (255, 255, 255, 0)).save(folder / "train/blue/0.png")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "test/red/0.png", save_all=True, append_images=frames[1:])
    warnings = survey(folder, background="black").warnings
    assert "1 of 24 images are transparent, or parts of them, and were put on dataset.background: black" in warnings
    assert "1 of 24 files hold several pictures: the first of each is taken" in warnings


def test_small_classes_are_told(folder):
    for number in range(6):
        (folder / f"train/red/{number}.png").unlink()
    assert (
        "class red has fewer than 10 training and validation images (the smallest, red, 4): scores are much by chance"
    ) in survey(folder).warnings
    for number in range(6, 9):
        (folder / f"train/red/{number}.png").unlink()
    assert "no validation image is of class red: rewards say nothing of it" in survey(folder).warnings


@pytest.mark.parametrize(("names", "label"), [(("1", "2", "10"), "10"), (("01", "02", "10"), None)])
def test_names_that_are_numbers_are_sorted_as_text(tmp_path, names, label):
    for place, name in enumerate(names):
        for part in ("train", "test"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (8, 8), (place, number, len(part))).save(tmp_path / part / name / f"{number}.png")
    dataset = ImageFolder(folder=str(tmp_path), size=8, validation_fraction=0.5)
    assert dataset.class_names(open_local) == sorted(names)
    told = [line for line in dataset.survey(open_local).warnings if "sorted as text" in line]
    assert len(told) == (label is not None)
    assert not label or f"label 1 is the folder {label}; names of equal length, such as 01," in told[0]


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_image_that_cannot_be_read_is_found_before_the_search(folder, part):
    torn = folder / part / "red/1.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 40, 3), np.uint8)).save(torn)
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"cannot read the image .*{part}/red/1\.png \(.*truncated.*pixels$") as error:
        survey(folder)
    assert "\n" not in str(error.value)
    (folder / part / "red/0.png").write_bytes(b"")
    with pytest.raises(UserError, match=rf"image .*{part}/red/0\.png \(it is none, .* \(and 1 more\)"):
        survey(folder)


def test_a_bomb_is_found_before_the_search_and_named(folder):
    (folder / "train/red/0.png").write_bytes(bomb())
    dataset = ImageFolder(folder=str(folder))
    for look in (dataset.survey, dataset.train):
        with pytest.raises(
            UserError, match=r"train/red/0\.png \(Image size \(179560000 pixels\).*at most 178,956,970 "
        ):
            look(open_local)


def test_a_folder_that_cannot_be_read_is_not_left_out(folder, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("red/below"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    (folder / "train/red/below").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)  # root may read everything
    with pytest.raises(UserError, match=r"cannot be used \(.*Permission denied.*red/below"):
        ImageFolder(folder=str(folder)).shape(open_local)


def test_a_fingerprint_names_what_changed_and_does_not_depend_on_the_place(folder, tmp_path_factory):
    dataset = ImageFolder(folder=str(folder))
    before = dataset.fingerprint(open_local)
    assert list(before) == ["train/blue", "train/red", "test/blue", "test/red"]
    assert all(len(digits) == 16 and int(digits, 16) >= 0 for digits in before.values())
    moved = tmp_path_factory.mktemp("moved") / "data"
    shutil.copytree(folder, moved)
    assert ImageFolder(folder=str(moved)).fingerprint(open_local) == before
    assert "folder" in ImageFolder.location

    def changed(change):
        shutil.rmtree(moved)
        shutil.copytree(folder, moved)
        change()
        after = ImageFolder(folder=str(moved)).fingerprint(open_local)
        return [name for name in before if after[name] != before[name]]

    blue = moved / "train/blue"
    assert changed(lambda: (blue / "3.png").unlink()) == ["train/blue"]
    assert changed(lambda: (blue / "3.png").rename(blue / "x.png")) == ["train/blue"]
    assert changed(lambda: (blue / "3.png").rename(moved / "train/red/x.png")) == ["train/blue", "train/red"]
    assert changed(lambda: Image.new("RGB", (8, 8)).save(moved / "test/red/1.png")) == ["test/red"]
    assert changed(lambda: (blue / ".DS_Store").touch()) == []


def test_odd_names_of_classes_are_printable(tmp_path):
    names = [os.fsdecode(b"caf\xe9"), "two\nlines"]
    for part in ("train", "test"):
        for number, name in enumerate(names):
            (tmp_path / part / name).mkdir(parents=True)
            for copy in range(2):
                Image.new("RGB", (8, 8), (number, copy, len(part))).save(tmp_path / part / name / f"{copy}.png")
    dataset = ImageFolder(folder=str(tmp_path), size=8, validation_fraction=0.5)
    assert dataset.class_names(open_local) == ["caf\\udce9", "two lines"]
    found = dataset.survey(open_local)
    assert all(line.isprintable() for line in (*found.facts, *found.warnings))
    assert all(name.isprintable() for name in dataset.fingerprint(open_local))


def test_a_pipe_is_not_read_and_a_link_to_a_folder_above_is_not_followed(folder):
    before = survey(folder).facts
    os.mkfifo(folder / "train/red/pipe.png")  # to read it would wait for ever
    (folder / "train/red/back").symlink_to("..")
    (folder / "train/red/far").symlink_to(folder)
    *same, left_out = survey(folder).facts
    assert tuple(same) == before
    assert "pipes, sockets and devices: 1 (such as red/pipe.png)" in left_out
    assert "links to a folder above: 2 (such as red/back)" in left_out
