"""What a person may write in the `child` section of a spec."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from rlnas.children import RECIPES
from rlnas.children.recipes import CNNRecipe, TabularRecipe
from rlnas.registry import resolve


def test_defaults_are_those_of_the_paper():
    recipe = CNNRecipe()
    assert (recipe.epochs, recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (50, 0.1, 0.9, 1e-4)
    assert (recipe.snapshots, recipe.reward_exponent, recipe.schedule) == (5, 3, "constant")
    assert recipe.flip
    assert recipe.whitening
    assert recipe.upsample_by


@pytest.mark.parametrize("kind", ["cnn", "tabular"])
def test_kinds_resolve(kind):
    assert resolve(RECIPES, kind, "rlnas.recipes")().kind == kind


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"momentum": 1},
        {"weight_decay": -1},
        {"decay_epoch": 0},
        {"decay": 0.5},
        {"norm_epsilon": 0},
        {"upsample_by": 0},
        {"snapshots": 0},
        {"reward_exponent": 0},
        {"schedule": "linear"},
        {"time_limit": 0},
        {"children_at_once": 0},
        {"gpu_memory_gib": 0},
        {"epoch": 5},
    ],
)
def test_values_that_mean_nothing_are_refused(fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        CNNRecipe(**fields)


def test_scale_must_be_positive():
    with pytest.raises(ValidationError, match="scale"):
        TabularRecipe(scale=0)


def test_recipes_import_without_torch():
    code = "import rlnas.children.recipes, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
