"""The best at each size, and what became of each proposer's."""

from rlnas.objective import Objective
from rlnas.report.fronts import FrontChild, Proposer, front_of, pareto, proposers, size_of
from rlnas.spec import parse_spec
from rlnas.state import Result, Summary
from rlnas.state.records import FinishedChild


def child(
    reward: float | None, parameters: float | None, by: str = "", status: str = "ok", stopped: int | None = None
) -> FinishedChild:
    metrics = {} if parameters is None else {"parameters": parameters}
    result = Result(status=status, reward=reward, metrics=metrics, stopped=stopped)
    return FinishedChild(tokens=(1,), log_probability=-1.0, seed=0, by=by, result=result)


def summaries(*children: FinishedChild) -> list[Summary]:
    return [Summary(round=0, policy_version=0, samples=0, children=children)]


def test_the_front_holds_what_no_smaller_child_equals():
    found = pareto(
        summaries(
            child(0.5, 100),
            child(0.4, 200),  # larger and worse
            child(0.5, 150),  # larger and equal
            child(0.9, 300),
            child(0.8, 300),  # as large and worse
            child(0.2, 50),
            child(1.0, 10, status="failed"),
            child(1.0, None),
            child(None, 5),
            child(0.6, 20, stopped=1),  # of another measure than whole trainings
        ),
        "parameters",
        Objective(),
    )
    assert found == [
        FrontChild("000000-005", 0.2, 0.2, 50, (1,)),
        FrontChild("000000-000", 0.5, 0.5, 100, (1,)),
        FrontChild("000000-003", 0.9, 0.9, 300, (1,)),
    ]
    assert pareto(summaries(child(0.5, 100)), "flops", Objective()) == []


def test_the_front_is_of_scores_before_sizes_are_weighed_in():
    """By the rewards alone, the smaller child would beat the larger one, which scores more."""
    objective = Objective(soft={"parameters": {"target": 100, "exponent": -1}})
    rewards = [objective.weigh(score, {"parameters": size}) for score, size in ((0.5, 100), (0.75, 200))]
    assert rewards[0] > rewards[1]
    found = pareto(summaries(child(rewards[0], 100), child(rewards[1], 200)), "parameters", objective)
    assert [(c.score, c.reward, c.size) for c in found] == [(0.5, 0.5, 100), (0.75, 0.375, 200)]


def test_children_of_one_size_have_no_front_to_show():
    alike, unlike = summaries(child(0.5, 100), child(0.6, 100)), summaries(child(0.5, 100), child(0.6, 200))
    assert front_of(alike, "parameters", Objective()) == ()
    assert len(front_of(unlike, "parameters", Objective())) == 2


def test_the_size_is_the_objectives_if_it_has_one():
    document = {"name": "a", "space": {"kind": "cnn"}, "dataset": {"kind": "digits"}, "loop": {"children": 8}}
    assert size_of(parse_spec(document)) == "parameters"
    assert size_of(parse_spec(document | {"objective": {"limit": {"flops": 9}}})) == "flops"


def test_each_proposer_has_count_best_and_mean():
    assert proposers([]) == []
    assert proposers(summaries(child(0.5, 1), child(0.6, 1))) == [Proposer("the searcher", False, 2, 2, 0.6, 0.55)]
    ada = child(0.75, 1, by="mutation").model_copy(update={"suggested": True})
    failed = child(0.1, 1, by="mutation", status="failed")
    found = proposers(
        summaries(ada, child(0.5, 1, by="random"), child(0.25, 1, by="mutation"), failed, child(None, 1, by="random"))
    )
    assert found == [
        Proposer("mutation", False, 2, 1, 0.25, 0.25),
        Proposer("random", False, 2, 1, 0.5, 0.5),
        Proposer("mutation", True, 1, 1, 0.75, 0.75),
    ], "one who is named as a part of the searcher is not taken for it"
