"""Searches in a real store, and rounds of made-up results for their ledgers."""

from rlnas.state import Result, Summary, create_search
from rlnas.state.records import FinishedChild
from rlnas.steps import check_spec
from rlnas.steps.common import opener


def create(bucket, spec):
    return create_search(bucket, spec, check_spec(spec, opener(bucket)))


def make_summary(number, policy_version=0, children=2, reward=None, **result):
    """A round with made-up results; the children's rewards rise with their number."""
    rewards = [reward if reward is not None else (number * children + i) / 1000 for i in range(children)]
    return Summary(
        round=number,
        policy_version=policy_version,
        samples=number * children,
        children=tuple(
            FinishedChild(
                tokens=(i % 3, number % 3, 1),
                log_probability=-3.0,
                seed=i,
                result=Result(**{"status": "ok", "reward": rewards[i], "metrics": {"score": rewards[i]}} | result),
            )
            for i in range(children)
        ),
    )
