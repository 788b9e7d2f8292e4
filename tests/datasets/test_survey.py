"""What is told of images in memory, for many classes and few."""

import numpy as np

from rlnas.datasets.survey import part_of, survey_images
from rlnas.spaces import DataShape


def survey(counts, names=()):
    """Of parts with so many images of each class, all of them different."""
    parts, start = {}, 0
    for part, of in counts.items():
        labels = np.repeat(np.arange(len(of)), of)
        pixels = np.zeros((len(labels), 2, 2, 3), np.uint8)
        pixels[:, 0, 0] = 255
        numbers = start + np.arange(len(labels))
        pixels[:, 1, 1, 0], pixels[:, 1, 1, 1] = numbers % 256, numbers // 256
        parts[part], start = part_of(pixels, labels, part), start + len(labels)
    classes = len(counts["train"])
    return survey_images(DataShape("images", classes, height=2, width=2, channels=3), parts, names)


def test_many_classes_are_counted_by_the_smallest_and_the_largest():
    sizes = [20] * 12
    found = survey({"train": [*sizes[:-2], 30, 15], "validation": sizes, "test": sizes})
    assert found.facts[1] == "train: 245 images (from 15 (11) to 30 (10) a class)"
    assert found.facts[2] == "validation: 240 images (20 a class)"
    assert found.warnings == ()


def test_classes_that_a_part_lacks_are_named():
    counts = {"train": [20, 20, 5], "validation": [2, 0, 1], "test": [2, 2, 0]}
    assert survey(counts, ["cat", "dog", "owl"]).warnings == (
        "class owl has fewer than 10 training and validation images (the smallest, owl, 6): scores are much by chance",
        "no validation image is of class dog: rewards say nothing of it",
        "no test image is of class owl: the final test says nothing of it",
    )


def test_several_small_classes_are_one_line():
    found = survey({"train": [20, 4, 3], "validation": [2, 1, 1], "test": [1, 1, 1]}, ["cat", "dog", "owl"])
    assert found.warnings == (
        "2 classes (such as dog) have fewer than 10 training and validation images (the smallest, owl, 4): scores are"
        " much by chance",
    )


def test_a_part_of_a_part_knows_its_images():
    pixels = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)
    pixels[3] = 7
    whole = part_of(pixels, np.arange(5), "train_images")
    part = whole.at(np.array([1, 3]))
    assert part.labels.tolist() == [1, 3]
    assert part.digests == [whole.digests[1], whole.digests[3]]
    assert part.plain == [1]
    assert part.name(1) == "train_images[3]"
