"""Children that are looked up."""

import pytest

from rlnas.children import SilentMonitor
from rlnas.children.recipes import TabularRecipe
from rlnas.children.tabular import TabularTrainer
from rlnas.datasets import Table, Train, Validation
from rlnas.errors import ChildFailure
from rlnas.spaces import DataShape
from rlnas.spaces.tabular import TabularArchitecture

TABLE = Table({(0, 1): 91.5, (1, 0): 12.0})


def score(tokens, **recipe):
    trainer = TabularTrainer(TabularRecipe(**recipe), DataShape("table", classes=0), "cpu")
    architecture = TabularArchitecture(tokens=tokens)
    snapshots = trainer.train(architecture, Train(TABLE), 0, None, SilentMonitor())
    return trainer.evaluate(architecture, snapshots, Validation(TABLE))


def test_reward_is_the_score_as_a_fraction():
    evaluation = score((0, 1))
    assert evaluation.history == (91.5,)
    assert evaluation.reward == pytest.approx(0.915)


def test_scale_is_the_recipes():
    assert score((1, 0), scale=2).reward == 24


def test_tokens_the_table_lacks_are_a_failed_child():
    with pytest.raises(ChildFailure, match=r"no score for the tokens \[1, 1\]") as failure:
        score((1, 1))
    assert failure.value.reason == "error"
