"""What is maximised: limits, weighed measures, and what the steps make of them."""

import pytest
from searches import make_spec, run

from rlnas import steps
from rlnas.children import TRAINERS
from rlnas.errors import UserError
from rlnas.objective import Objective
from rlnas.registry import resolve
from rlnas.spec import parse_spec
from rlnas.state import Bucket

SIZES = {"parameters": 2000.0, "flops": 50_000.0}


def test_the_paper_has_no_limit_and_weighs_nothing():
    objective = Objective()
    assert objective.measures == ()
    assert objective.excess(SIZES) == ""
    assert objective.weigh(0.7, SIZES) == 0.7


def test_a_limit_names_what_is_above_it():
    objective = Objective(limit={"flops": 60_000, "parameters": 1999})
    assert objective.excess(SIZES) == "parameters 2,000; allowed: at most 1,999"
    assert Objective(limit={"parameters": 2000}).excess(SIZES) == ""


def test_the_weighted_product_is_mnasnets():
    objective = Objective(soft={"parameters": {"target": 1000, "exponent": -0.07}, "flops": {"target": 50_000}})
    assert objective.weigh(0.5, SIZES) == pytest.approx(0.5 * 2**-0.07)
    assert objective.measures == ("parameters", "flops")


def test_a_reward_is_weighed_by_a_million_at_the_most():
    for target, factor in ((1e300, 1e6), (1e-300, 1e-6)):
        objective = Objective.model_validate({"soft": {"parameters": {"target": target, "exponent": -10}}})
        assert objective.weigh(0.5, {"parameters": 500}) == pytest.approx(0.5 * factor)
        assert objective.score(0.5 * factor, {"parameters": 500}) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"limit": {"weight": 3}}, ["objective.limit.weight", "parameters"]),
        ({"limit": {"parameters": 0}}, ["objective.limit.parameters", "greater than 0"]),
        ({"soft": {"flops": {"target": 5, "exponent": 0.1}}}, ["objective.soft.flops.exponent", "less than 0"]),
        ({"hard": {}}, ["unknown key objective.hard", "limit, soft"]),
    ],
)
def test_what_cannot_be_is_one_line(section, words):
    document = make_spec("cnn").model_dump(mode="json") | {"objective": section}
    with pytest.raises(UserError) as error:
        parse_spec(document)
    for word in words:
        assert word in str(error.value)


def test_a_measure_that_children_do_not_have_is_refused_at_open(bucket: Bucket):
    spec = make_spec("tabular", objective={"limit": {"parameters": 5}})
    with pytest.raises(UserError, match="objective: tabular children have no parameters; allowed: none"):
        steps.open_search(bucket, spec.name, spec)


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_what_is_measured_before_training_is_what_evaluation_counts(bucket: Bucket, kind: str):
    objective = {"soft": {"parameters": {"target": 1}, "latency_1": {"target": 1}}, "limit": {"flops": 10**9}}
    spec = make_spec(kind, objective=objective, loop={"children": 2})
    ledger = run(bucket.settings, spec)
    for child in ledger.summaries()[0].children:
        trainer = resolve(TRAINERS, kind, "rlnas.trainers")(spec.child, ledger.shape, "cpu")
        architecture = spec.space.decode(child.tokens)
        measured = trainer.measure(architecture, ("parameters", "flops", "latency_64"))
        assert measured["latency_64"] > 0
        metrics = child.result.metrics
        assert metrics["parameters"] == measured["parameters"] > 0
        assert metrics["flops"] == measured["flops"] > 0
        score = metrics["accuracy"] ** 3 if kind == "cnn" else 80 / metrics["perplexity"] ** 2
        weight = (metrics["parameters"] * metrics["latency_1"]) ** -0.07
        assert child.result.reward == pytest.approx(score * weight, rel=1e-6)


def test_a_child_above_a_limit_is_recorded_and_not_trained(bucket: Bucket, capfd: pytest.CaptureFixture[str]):
    spec = make_spec("cnn", objective={"limit": {"parameters": 3}}, failures={"reward": -0.25})
    children = [child for summary in run(bucket.settings, spec).summaries() for child in summary.children]
    assert len(children) == 4
    for child in children:
        assert (child.result.status, child.result.reason, child.result.reward) == ("failed", "over_limit", -0.25)
        assert child.result.detail.startswith("parameters ")
        assert child.result.detail.endswith("allowed: at most 3")
    assert "trained in" not in capfd.readouterr().out
