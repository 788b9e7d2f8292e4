"""The history that a searcher reads: every child that a version has learned from, at few reads."""

from dataclasses import replace

import pytest
from searches import make_spec, run

from rlnas import steps
from rlnas.state import Bucket, Ledger, ledger, open_search


@pytest.fixture(autouse=True)
def _short_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "HISTORY_ROUNDS", 3)


def searched(bucket: Bucket, kind: str, rounds: int = 8, **loop: int) -> Ledger:
    controller = {"kind": kind} | ({"population": 4} if kind == "evolution" else {})
    if kind == "guided":
        controller |= {"first": 4, "samples": 8, "hidden": 8}
    loop = {"children": 2 * rounds, "children_per_round": 2} | loop
    return run(bucket.settings, make_spec(controller=controller, loop=loop))


def told(found: Ledger) -> list[tuple]:
    return [(c.tokens, c.result.reward) for s in found.summaries() for c in s.children]


@pytest.mark.parametrize("kind", ["evolution", "guided"])
def test_it_is_all_that_was_applied_in_order(bucket: Bucket, kind: str) -> None:
    found = searched(bucket, kind)
    history = found.history(found.version())
    assert [(t.tokens, t.reward) for t in history] == told(found)
    assert all(t.scored and "score" in t.metrics for t in history)
    half = found.controller(4)
    assert half is not None
    assert [(t.tokens, t.reward) for t in found.history(half.version)] == told(found)[:8], "what version 4 had learned"
    assert len(half.version.recent) == 2, "the rest is in bundles"


def test_it_costs_a_read_for_each_bundle(bucket: Bucket) -> None:
    found = searched(bucket, "evolution")
    version = found.version()
    bucket.requests.clear()
    open_search(bucket, found.name).history(version)
    assert bucket.requests["GET"] == 1 + 2, "the record, and two bundles of three rounds"


def test_a_bundle_that_nobody_wrote_is_made(bucket: Bucket) -> None:
    found = searched(bucket, "evolution")
    before = found.history(found.version())
    bucket.delete([found.history_key(0)])
    assert found.history(found.version()) == before
    assert bucket.get(found.history_key(0)) is not None


def test_a_searcher_that_reads_none_keeps_none(bucket: Bucket) -> None:
    found = searched(bucket, "reinforce", rounds=2)
    assert found.version().recent == ()


@pytest.mark.parametrize("kind", ["evolution", "guided"])
def test_rounds_out_of_order_are_in_it_once(bucket: Bucket, kind: str) -> None:
    found = searched(bucket, kind, window=4, rounds_per_update=2)
    assert [(t.tokens, t.reward) for t in found.history(found.version())] == told(found)


@pytest.mark.parametrize("kind", ["evolution", "guided"])
def test_the_same_search_again_proposes_the_same(bucket: Bucket, kind: str) -> None:
    first = searched(bucket, kind)
    spec = first.spec.model_copy(update={"name": f"{first.name}-again"})
    assert told(run(bucket.settings, spec)) == told(first)


def test_a_killed_sampler_repeats_its_round(bucket: Bucket) -> None:
    """What a sampler would propose is a function of the version and the history alone."""
    found = searched(bucket, "guided", rounds=4)
    longer = found.spec.model_copy(
        update={"name": f"{found.name}-2", "loop": found.spec.loop.model_copy(update={"children": 12})}
    )
    other = steps.open_search(bucket, longer.name, longer)
    for _ in range(3):
        (batch,) = steps.sample_architecture(other)
        steps.train_child(other, batch, "a")
        steps.evaluate(other, batch)
        steps.update_controller(other)
    head = other.head()
    seeds = [5, 6]
    propose = other.searcher.propose
    once = propose(head.state, 6, seeds, other.history(head.version))
    fresh = open_search(Bucket(replace(bucket.settings)), longer.name)
    again = fresh.searcher.propose(fresh.head().state, 6, seeds, fresh.history(fresh.head().version))
    assert once == again
