import subprocess
import sys

import numpy as np
import pytest

from rlnas.datasets import DATASETS
from rlnas.datasets.split import divide, split, split_classes
from rlnas.errors import UserError


def test_parts_are_disjoint_and_together_all():
    rest, validation, test = split(100, 3, 20, 7)
    assert [len(rest), len(validation), len(test)] == [73, 20, 7]
    assert sorted(np.concatenate([rest, validation, test])) == list(range(100))


def test_the_draw_is_random_and_never_changes():
    assert split(12, 0, 4)[1].tolist() == [0, 3, 5, 9]  # a search resumed years later must draw this again
    assert split(12, 1, 4)[1].tolist() != [0, 3, 5, 9]
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert split_classes(labels, 0, 4)[1].tolist() == [0, 5, 7, 9]
    assert split_classes(labels, 1, 4)[1].tolist() != [0, 5, 7, 9]


@pytest.mark.parametrize("held_out", [(0,), (5,), (3, 4)])
def test_an_empty_part_is_refused(held_out):
    for draw in (
        lambda *sizes: split(5, 0, *sizes),
        lambda *sizes: split_classes(np.array([0, 0, 0, 1, 1]), 0, *sizes),
    ):
        with pytest.raises(UserError, match=r"dataset: 5 examples would be split into .*; allowed: at least 1"):
            draw(*held_out)


def test_classes_of_one_image_each_cannot_be_validated():
    with pytest.raises(UserError, match=r"dataset: 5 examples would be split into 5 \+ 0"):
        split_classes(np.arange(5), 0, 2)


def by_class(labels, *held_out, seed=0):
    parts = split_classes(labels, seed, *held_out)
    assert sorted(np.concatenate(parts)) == list(range(len(labels))), "disjoint, and together all"
    assert all((np.diff(part) > 0).all() for part in parts), "sorted"
    return [np.bincount(labels[part], minlength=labels.max() + 1).tolist() for part in parts]


def test_the_smaller_class_is_in_both_parts():
    """58 + 2 images gave a validation set of one class, where every model had the reward 1."""
    labels = np.array([0] * 58 + [1] * 2)
    for seed in range(20):
        assert by_class(labels, 6, seed=seed) == [[52, 1], [6, 1]]


def test_each_class_has_its_share():
    labels = np.random.RandomState(0).permutation([0] * 700 + [1] * 200 + [2] * 100)
    assert by_class(labels, 100, 250) == [[455, 130, 65], [70, 20, 10], [175, 50, 25]]


def test_a_class_is_in_every_part_that_it_has_images_for():
    labels = np.array([0] * 90 + [1] * 3 + [2] * 2 + [3])
    train, validation, test = by_class(labels, 10, 10)
    assert train == [70, 1, 1, 1]
    assert validation == [10, 1, 1, 0]
    assert test == [10, 1, 0, 0]


def test_many_small_classes_make_the_held_out_part_larger_than_asked():
    assert by_class(np.repeat(np.arange(30), 2), 6) == [[1] * 30, [1] * 30]


def test_the_last_part_does_not_depend_on_the_others():
    labels = np.random.RandomState(1).randint(0, 4, 200)
    few, many = (split_classes(labels, 3, size, 40)[2] for size in (20, 100))
    assert few.tolist() == many.tolist()


def test_labels_with_holes_are_divided_too():
    assert by_class(np.array([2] * 4 + [5] * 4), 2) == [[0, 0, 3, 0, 0, 3], [0, 0, 1, 0, 0, 1]]


def test_the_field_decides():
    labels = np.array([0] * 10 + [1] * 10)
    assert [part.tolist() for part in divide(labels, False, 7, 5)] == [part.tolist() for part in split(20, 7, 5)]
    assert [part.tolist() for part in divide(labels, True, 7, 5)] == [
        part.tolist() for part in split_classes(labels, 7, 5)
    ]


def test_importing_every_dataset_imports_no_heavy_library():
    modules = ", ".join(sorted({path.partition(":")[0] for path in DATASETS.values()}))
    heavy = "{'torch', 'torchvision', 'sklearn', 'numpy', 'PIL'} & set(sys.modules)"
    code = f"import sys, {modules}; print({heavy})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
