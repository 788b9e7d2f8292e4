"""The space of tables: independent decisions, one row for each sequence."""

import itertools

import pytest
from pydantic import ValidationError

from rlnas.spaces import DataShape
from rlnas.spaces.tabular import TabularArchitecture, TabularSpace

SPACE = TabularSpace(choices=(2, 3, 1), options=("none", "skip", "conv"))
SHAPE = DataShape("table", classes=0)


def test_decisions_are_independent_and_each_has_its_own_softmax():
    assert SPACE.heads == {"decision 1": 2, "decision 2": 3, "decision 3": 1}
    assert [(d.kind, d.choices, d.when, d.anchor) for d in SPACE.decisions(0)] == [
        ("decision 1", 2, None, False),
        ("decision 2", 3, None, False),
        ("decision 3", 1, None, False),
    ]
    assert SPACE.decisions(10_000) == SPACE.decisions(0)


def test_every_sequence_comes_back():
    for tokens in itertools.product(range(2), range(3), range(1)):
        assert SPACE.encode(SPACE.decode(tokens)) == tokens


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ((0, 1), "2 tokens, needs 3"),
        ((0, 3, 0), "decision 2: 3 is not one of the 3 options from 0"),
        ((0, 1, 0, 0), "1 tokens left over after the last decision"),
    ],
)
def test_other_sequences_are_refused(tokens, message):
    with pytest.raises(ValueError, match=message):
        SPACE.decode(tokens)
    with pytest.raises(ValueError, match=message):
        SPACE.encode(TabularArchitecture(tokens=tokens))


def test_an_architecture_is_described_by_the_names_of_its_options():
    description = SPACE.describe(SPACE.decode((1, 2, 0)), SHAPE)
    assert description.summary == "skip-conv-none"
    assert description.rows == (("1", "skip"), ("2", "conv"), ("3", "none"))
    unnamed = TabularSpace(choices=(5, 5))
    assert unnamed.describe(unnamed.decode((4, 0)), SHAPE).summary == "4-0"


def test_every_option_has_a_name_or_none_has():
    with pytest.raises(ValidationError, match="options: 2 names for up to 3 choices"):
        TabularSpace(choices=(2, 3), options=("none", "skip"))


@pytest.mark.parametrize("choices", [(), (0,), (2, 1001)])
def test_a_decision_has_1_to_1000_options(choices):
    with pytest.raises(ValidationError, match="choices"):
        TabularSpace(choices=choices)


def test_features_count_options_over_decisions_that_have_as_many():
    features = TabularSpace(choices=(3, 2, 3, 3)).features((2, 1, 0, 2), SHAPE)
    assert features.counts == {"option 3 of 3": 2, "option 1 of 3": 1, "option 2 of 2": 1}
    assert features.choices == {"decision 1": 2, "decision 2": 1, "decision 3": 0, "decision 4": 2}
