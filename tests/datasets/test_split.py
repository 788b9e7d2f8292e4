import subprocess
import sys

import numpy as np
import pytest

from rlnas.datasets import DATASETS
from rlnas.datasets.split import split
from rlnas.errors import UserError


def test_parts_are_disjoint_and_together_all():
    rest, validation, test = split(100, 3, 20, 7)
    assert [len(rest), len(validation), len(test)] == [73, 20, 7]
    assert sorted(np.concatenate([rest, validation, test])) == list(range(100))


def test_the_draw_is_random_and_never_changes():
    assert split(12, 0, 4)[1].tolist() == [0, 3, 5, 9]  # a search resumed years later must draw this again
    assert split(12, 1, 4)[1].tolist() != [0, 3, 5, 9]


@pytest.mark.parametrize("held_out", [(0,), (5,), (3, 4)])
def test_an_empty_part_is_refused(held_out):
    with pytest.raises(UserError, match=r"dataset: 5 examples would be split into .*; allowed: at least 1"):
        split(5, 0, *held_out)


def test_importing_every_dataset_imports_no_heavy_library():
    modules = ", ".join(sorted({path.partition(":")[0] for path in DATASETS.values()}))
    heavy = "{'torch', 'torchvision', 'sklearn', 'numpy'} & set(sys.modules)"
    code = f"import sys, {modules}; print({heavy})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
