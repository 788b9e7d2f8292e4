"""Which searches a search is compared with, and why others are not."""

from typing import Any

import pytest
from report.made_up import make_up, spec_of
from searches import make_spec, run

from rlnas.errors import UserError
from rlnas.report.compared import Comparison, compare, relatives
from rlnas.state import Bucket, Ledger
from rlnas.variants import control_of

RANDOM, LARGEST = {"kind": "random"}, {"kind": "largest"}


def compared(ledger: Ledger, *named: Ledger) -> Comparison:
    return compare(ledger, ledger.summaries(), named)


def test_relatives_are_found_by_name(bucket: Bucket) -> None:
    names = ["mine", "mine-control", "mine-s2", "mine-s2-control", "mine-two", "mine-s2x", "another"]
    names += ["mine-largest", "mine-s2-largest", "mine-larger"]
    ledgers = {name: make_up(bucket, spec_of("tabular", name, 8)) for name in names}
    assert relatives(ledgers["mine"]) == [
        "mine-control",
        "mine-largest",
        "mine-s2",
        "mine-s2-control",
        "mine-s2-largest",
    ]
    assert relatives(ledgers["mine-s2"]) == ["mine-s2-control", "mine-s2-largest"]


def test_controls_stand_by_their_kind_and_others_are_seeds(bucket: Bucket) -> None:
    ledger = make_up(bucket, spec_of("cnn", "mine", 32), gain=0.2)
    seed = make_up(bucket, spec_of("cnn", "seed", 32, seed=5))
    other = make_up(bucket, spec_of("cnn", "other", 32, seed=9, controller=RANDOM))
    make_up(bucket, spec_of("cnn", "mine-largest", 32, controller=LARGEST))
    found = compared(ledger, seed, other)
    assert [track.name for track in found.own] == ["mine", "seed"]
    assert [(c.kind, [track.name for track in c.tracks]) for c in found.controls] == [
        ("random", ["other"]),
        ("largest", ["mine-largest"]),
    ]
    assert all(control.difference is not None for control in found.controls)
    assert (found.open, found.remarks) == ((), ())
    assert compared(seed).open == ("random", "largest")


def test_seeds_of_a_control_are_seeds(bucket: Bucket) -> None:
    """And the other control is still a control of it."""
    ledger = make_up(bucket, spec_of("cnn", "mine", 32, controller=RANDOM))
    make_up(bucket, spec_of("cnn", "mine-s2", 32, seed=2, controller=RANDOM))
    make_up(bucket, spec_of("cnn", "mine-largest", 32, controller=LARGEST))
    found = compared(ledger)
    assert [track.name for track in found.own] == ["mine", "mine-s2"]
    assert [control.kind for control in found.controls] == ["largest"]


def test_where_nothing_is_larger_a_line_says_so(bucket: Bucket) -> None:
    ledger = make_up(bucket, spec_of("rnn", "mine", 16))
    largest = make_up(bucket, spec_of("rnn", "mine-largest", 16, controller=LARGEST))
    why = "largest means nothing in space rnn, which tells no architectures apart by their parameters"
    found = compared(ledger)
    assert (found.controls, found.open) == ((), ("random",))
    assert found.remarks == (
        f"Search mine-largest is left out: search mine-largest cannot be compared with mine: {why}.",
        f"As a control, {why}.",
    )
    with pytest.raises(UserError, match="largest means nothing"):
        compared(ledger, largest)


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"controller": {"kind": "reinforce", "hidden": 8}}, "controller.hidden"),
        ({"controller": RANDOM, "failures": {"reward": -1}}, "failures.reward"),
    ],
)
def test_searches_that_differ_in_more_are_refused(bucket: Bucket, sections: dict[str, Any], field: str) -> None:
    ledger = make_up(bucket, spec_of("tabular", "mine", 8))
    other = make_up(bucket, spec_of("tabular", "other", 8, **sections))
    with pytest.raises(UserError, match=field):
        compared(ledger, other)


def test_a_relative_that_does_not_compare_fails_only_where_it_is_named(bucket: Bucket) -> None:
    ledger = make_up(bucket, spec_of("tabular", "mine", 32))
    stale = make_up(bucket, spec_of("tabular", "mine-control", 32, controller=RANDOM, failures={"reward": -1}))
    make_up(bucket, spec_of("tabular", "mine-s2", 32, seed=2))
    bucket.put("searches/mine-s3/search.json", b'{"schema_version":9}')
    bucket.put("searches/mine-s4/search.json", b'{"schema_version":1,')
    found = compared(ledger)
    assert [track.name for track in found.own] == ["mine", "mine-s2"]
    assert found.controls == ()
    first, second, third, _ = found.remarks
    assert first.startswith("Search mine-control is left out: ")
    assert "failures.reward: -1.0, not 0.0" in first
    assert "mine-s3/search.json: a newer version of rlnas wrote it" in second
    assert "mine-s4/search.json" in third
    with pytest.raises(UserError, match=r"failures\.reward"):
        compared(ledger, stale)


def test_a_seed_counts_once_on_a_side(bucket: Bucket) -> None:
    ledger = make_up(bucket, spec_of("tabular", "mine", 32, seed=1))
    make_up(bucket, spec_of("tabular", "mine-control", 32, seed=1, controller=RANDOM))
    make_up(bucket, spec_of("tabular", "mine-s1", 32, seed=1))
    make_up(bucket, spec_of("tabular", "mine-s1-control", 32, seed=1, controller=RANDOM))
    found = compared(ledger, ledger)
    assert [track.name for track in found.own] == ["mine"]
    assert [[track.name for track in control.tracks] for control in found.controls] == [["mine-control"]]
    assert found.remarks[:3] == tuple(
        f"Search {name} is left out: its seed 1 counts already." for name in ("mine", "mine-s1", "mine-s1-control")
    )


def test_children_of_a_control_that_were_above_the_limit_are_told(bucket: Bucket) -> None:
    limit = {"limit": {"parameters": 100}}
    spec = make_spec("cnn", controller={"kind": "guided", "first": 4}, objective=limit)
    ledger, control = run(bucket.settings, spec), run(bucket.settings, control_of(spec))
    above = sum(child.result.reason == "over_limit" for summary in control.summaries() for child in summary.children)
    assert 0 < above < 4
    assert compared(ledger).remarks == (
        f"Of the 4 children of control {spec.name}-control, {above} were above the limit and not trained; they count as"
        " its children.",
    )
