"""What is allowed but probably not meant is said before the budget is spent."""

import pytest
from searches import make_spec

from rlnas.datasets import open_local
from rlnas.steps import doubts_of


def doubts(kind="cnn", **sections):
    spec = make_spec(kind, **sections)
    return doubts_of(spec, spec.dataset.shape(open_local))


def test_an_ordinary_spec_leaves_none():
    assert doubts() == doubts("tabular") == doubts("rnn") == []
    assert doubts(controller={"kind": "guided", "first": 2}, objective={"limit": {"parameters": 400}}) == []


def test_a_limit_that_nothing_meets():
    (line,) = doubts(objective={"limit": {"parameters": 10, "latency_1": 0.001}})
    assert line.startswith(
        "none of 200 random architectures is within objective.limit.parameters 10: the smallest has "
    )


def test_a_weight_beyond_all_measure():
    (line,) = doubts(objective={"soft": {"parameters": {"target": 1e6, "exponent": -10}}})
    assert "objective.soft.parameters weighs rewards by more than 1,000 times: random architectures have" in line


@pytest.mark.parametrize(
    ("controller", "words"),
    [
        ({"first": 4}, "first: 4 children are random, and there are 4: the surrogate chooses none"),
        ({"first": 1, "samples": 0, "even": 0}, "nothing to choose from"),
    ],
)
def test_a_guided_search_that_is_random(controller, words):
    (line,) = doubts(controller={"kind": "guided"} | controller)
    assert line.startswith("controller: ")
    assert words in line


def test_to_learn_from_the_finished_where_none_is_stopped():
    assert doubts(loop={"learn_from": "finished"}) == [
        "loop.learn_from: finished: no child is stopped without child.rungs"
    ]
    many = {"children": 12, "children_per_round": 4}
    assert doubts(loop={"learn_from": "finished"} | many, child={"epochs": 3, "rungs": [1]}) == []
    assert doubts(loop=many | {"window": 4}, child={"epochs": 3, "rungs": [1]}) == [
        "child.rungs: no child is stopped: the first 4 rounds have no children to compare with"
    ]
    assert doubts(child={"epochs": 3, "going_on": 0.3, "rungs_by": "reward"}) == [
        "child.going_on does nothing without child.rungs",
        "child.rungs_by does nothing without child.rungs",
    ]
    final = {"grid": {"rungs": [[1], [2]]}, "retrain": {"rungs_by": "loss"}}
    assert doubts(finalize=final) == [
        "finalize: rungs does nothing there: a winner is trained to the end",
        "finalize: rungs_by does nothing there: a winner is trained to the end",
    ]
