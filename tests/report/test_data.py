"""The numbers of a report against the ledger that they are read from."""

import numpy as np
import pytest
from report.made_up import make_up, spec_of
from searches import make_spec, run

from rlnas.report.data import read_report
from rlnas.state import Bucket


def test_a_real_search_is_read_as_its_ledger_has_it(bucket: Bucket) -> None:
    ledger = run(bucket.settings, make_spec("tabular", loop={"children": 8, "children_per_round": 4}))
    data, leaders = read_report(ledger), ledger.version().leaders
    results = [ledger.result(f"{r:06d}-{i:03d}") for r in range(2) for i in range(4)]
    assert data.complete
    assert data.children == 8
    np.testing.assert_array_equal(data.beside.own[0].rewards, [result.reward for result in results if result])
    assert [leader.child for leader in data.leaders] == [leader.child for leader in leaders]
    assert data.leaders[0].metrics == leaders[0].metrics
    assert data.seconds.sum() == pytest.approx(sum(result.seconds for result in results if result))
    at, entropy = data.numbers["entropy"]
    assert at.tolist() == [4, 8]
    assert entropy[-1] == ledger.version().numbers["entropy"]


def test_a_search_without_a_complete_round_has_no_numbers(bucket: Bucket) -> None:
    from rlnas import steps

    spec = make_spec("cnn")
    data = read_report(steps.open_search(bucket, spec.name, spec))
    assert data.children == 0
    assert not data.complete
    assert data.leaders == data.choices == data.failures == ()


def test_shares_of_options_and_of_links_are_those_of_the_tokens(bucket: Bucket) -> None:
    ledger = make_up(bucket, spec_of("cnn", "shares", 64))
    data = read_report(ledger)
    architectures = [ledger.spec.space.decode(c.tokens) for s in ledger.summaries()[:1] for c in s.children]
    layers = [layer for architecture in architectures for layer in architecture.layers]
    convolutions = [layer for layer in layers if layer.type == "convolution"]
    heights = next(choices for choices in data.choices if choices.kind == "convolution.filter_height")
    assert heights.options == ("1", "3", "5", "7")
    expected = [sum(c.filter_height == h for c in convolutions) / len(convolutions) for h in (1, 3, 5, 7)]
    np.testing.assert_allclose(heights.shares[0], expected)
    links = sum(len(layer.inputs) for layer in layers)
    assert data.skip_rate[0] == links / (len(architectures) * 8 * 7 / 2)
    assert data.bins.tolist() == [8, 16, 24, 32, 40, 48, 56, 64]


def test_habits_are_of_one_decision_each_in_order(bucket: Bucket) -> None:
    ledger = make_up(bucket, spec_of("tabular", "habits", 80))
    habits = read_report(ledger).habits
    assert [habit.label for habit in habits] == [f"decision {i}" for i in range(1, 7)]
    last = [child.tokens[0] for summary in ledger.summaries()[8:] for child in summary.children]
    option = max(range(5), key=last.count)
    assert habits[0].last[1] == last.count(option) / 16


def test_failures_are_counted_by_reason(bucket: Bucket) -> None:
    ledger = make_up(bucket, spec_of("tabular", "failing", 160), failing=0.3)
    failures = read_report(ledger).failures
    results = [child.result for summary in ledger.summaries() for child in summary.children]
    assert [f.count for f in failures] == sorted((f.count for f in failures), reverse=True)
    assert {f.reason: f.count for f in failures} == {
        reason: sum(r.reason == reason for r in results) for reason in ("not_finite", "out_of_memory")
    }
