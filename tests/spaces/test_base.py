"""How tokens are paired with decisions."""

import random

import pytest
from searches import make_spec

from rlnas.controller.moves import draw
from rlnas.spaces import DataShape, Decision, walk

TYPE = Decision("type", 2, "type")
SIZE = Decision("size", 3, "size", when=(0, frozenset({1})))
FIRST = Decision("anchor", 0, "first inputs", anchor=True)
SECOND = Decision("anchor", 1, "second inputs", anchor=True)
THIRD = Decision("anchor", 2, "third inputs", anchor=True)


def choices(decisions, tokens):
    return [(position, choice) for position, _, choice in walk(decisions, tokens)]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((0,), [(0, 0), (2, ())]),
        ((1, 2), [(0, 1), (1, 2), (2, ())]),
        ((0, 1), [(0, 0), (2, ()), (3, (1,))]),
        ((1, 2, 1, 0, 1), [(0, 1), (1, 2), (2, ()), (3, (1,)), (4, (0, 1))]),
    ],
)
def test_tokens_meet_the_decisions_that_exist_until_they_end(tokens, expected):
    assert choices([TYPE, SIZE, FIRST, SECOND, THIRD], tokens) == expected


def test_a_decision_under_one_that_does_not_exist_does_not_exist():
    shade = Decision("shade", 2, "shade", when=(1, frozenset({0, 1, 2})))
    assert choices([TYPE, SIZE, shade], (0,)) == [(0, 0)]
    assert choices([TYPE, SIZE, shade], (1, 2, 1)) == [(0, 1), (1, 2), (2, 1)]


@pytest.mark.parametrize(
    ("decisions", "tokens", "message"),
    [
        ([TYPE], (2,), "type: 2 is not one of the 2 options from 0"),
        ([TYPE], (-1,), "type: -1 is not one of the 2 options from 0"),
        ([TYPE, SIZE], (0, 1), "1 tokens left over after the last decision"),
        ([FIRST, SECOND, THIRD], (1, 0), "third inputs: needs 2 tokens of 0 or 1, got [0]"),
        ([FIRST, SECOND, THIRD], (2,), "second inputs: needs 1 tokens of 0 or 1, got [2]"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(decisions, tokens, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        list(walk(decisions, tokens))
    assert str(error.value) == message


@pytest.mark.parametrize("kind", ["cnn", "rnn", "tabular"])
def test_a_space_names_the_sizes_that_its_features_say(kind):
    spec, shapes = make_spec(kind), {"cnn": DataShape("images", 10, 8, 8, 1), "rnn": DataShape("text", 20, tokens=99)}
    shape = shapes.get(kind, DataShape("table", 0))
    tokens, _ = draw(spec.space.decisions(0), random.Random(0))
    assert tuple(spec.space.features(tokens, shape).sizes) == spec.space.sizes
