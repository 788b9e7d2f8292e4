"""The searches that a person makes of one spec."""

import pytest
from searches import make_spec

from rlnas.controller import SETTINGS
from rlnas.errors import UserError
from rlnas.spec import parse_spec
from rlnas.variants import CONTROLS, control_of, means_nothing, with_name, with_searcher, with_seed

GOOD = {
    "name": "good",
    "space": {"kind": "cnn", "layers": 2},
    "dataset": {"kind": "digits"},
    "loop": {"children": 16},
}


@pytest.mark.parametrize(("kind", "suffix"), [("random", "control"), ("largest", "largest")])
def test_a_control_differs_in_name_controller_and_what_becomes_of_its_winner(kind, suffix):
    spec = parse_spec(GOOD | {"controller": {"kind": "guided", "first": 4}, "objective": {"limit": {"flops": 9}}})
    fields = {field.partition(":")[0].partition(".")[0] for field in control_of(spec, kind).differences(spec)}
    assert fields == {"name", "controller", "finalize"}
    control = control_of(with_seed(spec, 7), kind)
    assert (control.name, control.controller.kind, control.seed) == (f"good-s7-{suffix}", kind, 7)
    assert (control.loop, control.objective) == (spec.loop, spec.objective)


def test_a_searcher_that_is_no_control_is_one_line():
    with pytest.raises(UserError) as error:
        control_of(parse_spec(GOOD), "guided")
    assert str(error.value) == "control of good: 'guided' is no control; allowed: random, largest"


@pytest.mark.parametrize("kind", ["tabular", "rnn"])
def test_largest_is_no_control_where_nothing_is_larger(kind):
    spec = make_spec(kind)
    assert control_of(spec).controller.kind == "random"
    with pytest.raises(UserError) as error:
        control_of(spec, "largest")
    assert str(error.value) == (
        f"control of {spec.name}: largest means nothing in space {kind}, which tells no architectures apart by their"
        " parameters; allowed: random"
    )
    assert not means_nothing(parse_spec(GOOD), "largest")


def test_a_seed_changes_nothing_but_name_and_seed():
    spec = parse_spec(GOOD)
    assert {field.partition(":")[0] for field in with_seed(spec, 7).differences(spec)} == {"name", "seed"}


def test_a_searchs_own_seed_is_no_other_seed():
    with pytest.raises(UserError, match=r"seed 0 of .*: is its own, .*; allowed: any other seed"):
        with_seed(parse_spec(GOOD), 0)


def test_another_searcher_has_its_own_defaults_and_says_what_it_leaves_out():
    spec = parse_spec(GOOD | {"controller": {"learning_rate": 0.02, "hidden": 8}})
    guided, left_out = with_searcher(spec, "guided")
    assert left_out == ["controller.hidden", "controller.learning_rate"]
    assert guided == parse_spec(GOOD | {"controller": {"kind": "guided"}})
    assert guided.differences(spec) == ["controller.kind: guided, not reinforce"]
    assert with_searcher(spec, "reinforce") == (spec, [])
    assert with_searcher(guided, "random")[1] == []


def test_an_unknown_searcher_is_one_line():
    with pytest.raises(UserError) as error:
        with_searcher(parse_spec(GOOD), "bayes")
    assert str(error.value) == f"searcher of good: unknown kind 'bayes'; allowed: {', '.join(sorted(SETTINGS))}"


def test_another_name_is_all_that_changes():
    spec = parse_spec(GOOD)
    assert with_name(spec, "other").differences(spec) == ["name: other, not good"]
    with pytest.raises(UserError, match=r"good as No: name: 'No' cannot name a search; allowed: "):
        with_name(spec, "No")


def test_names_that_become_too_long_are_one_line():
    spec = parse_spec(GOOD | {"name": "a" * 60})
    for kind in CONTROLS:
        with pytest.raises(UserError, match=f"control of {'a' * 60}: name: "):
            control_of(spec, kind)
    with pytest.raises(UserError, match=f"seed 100 of {'a' * 60}: name: "):
        with_seed(spec, 100)
