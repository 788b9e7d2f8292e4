"""The best at each size, and what became of each proposer's."""

from rlnas.report.fronts import FrontChild, Proposer, pareto, proposers
from rlnas.state import Result, Summary
from rlnas.state.records import FinishedChild


def child(reward: float | None, parameters: float | None, by: str = "", status: str = "ok") -> FinishedChild:
    metrics = {} if parameters is None else {"parameters": parameters}
    result = Result(status=status, reward=reward, metrics=metrics)
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
        ),
        "parameters",
    )
    assert found == [
        FrontChild("000000-005", 0.2, 50, (1,)),
        FrontChild("000000-000", 0.5, 100, (1,)),
        FrontChild("000000-003", 0.9, 300, (1,)),
    ]
    assert pareto(summaries(child(0.5, 100)), "flops") == []


def test_proposers_are_told_apart_only_where_there_are_several():
    assert proposers(summaries(child(0.5, 1), child(0.6, 1))) == []
    found = proposers(summaries(child(0.5, 1), child(0.7, 1, by="Ada"), child(0.1, 1, by="Ada", status="failed")))
    assert found == [Proposer("the searcher", 1, 1, 0.5, 0.5), Proposer("Ada", 2, 1, 0.7, 0.7)]
