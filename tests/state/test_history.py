"""The history that a searcher reads: every child that a version has learned from, at few reads."""

import os
import random
import subprocess
import sys
from dataclasses import replace

import pytest
from searches import killed_at_every_write, make_small_spec, make_spec, outcome, renamed, run, run_apart, take_turns

from rlnas import steps
from rlnas.controller.moves import draw
from rlnas.seeds import derive_seed
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, Plan, PlannedChild, Result, child_id, open_search
from rlnas.steps.evaluate import summarise


@pytest.fixture(autouse=True)
def _short_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "HISTORY_ROUNDS", 3)


def searched_spec(kind: str, rounds: int, **loop: int) -> SearchSpec:
    controller = {"kind": kind} | ({"population": 4} if kind == "evolution" else {})
    if kind == "guided":
        controller |= {"first": 4, "samples": 8, "hidden": 8}
    loop = {"children": 2 * rounds, "children_per_round": 2} | loop
    return make_spec(controller=controller, loop=loop)


def searched(bucket: Bucket, kind: str, rounds: int = 8, **loop: int) -> Ledger:
    return run_apart(bucket, searched_spec(kind, rounds, **loop))


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
    assert told(run_apart(bucket, spec)) == told(first)


def test_killed_at_every_write_and_doubled_it_is_the_same(bucket: Bucket) -> None:
    """The bundle included, which is written by whoever applies the third round, or reads it first."""
    spec = searched_spec("guided", 5, children=5, children_per_round=1)
    killed, doubled = renamed(spec), renamed(spec)
    undisturbed = outcome(run_apart(bucket, spec))
    assert "history/000000.json" in undisturbed
    killed_at_every_write(lambda: run(bucket.settings, killed))
    assert outcome(open_search(bucket, killed.name)) == undisturbed
    steps.open_search(bucket, doubled.name, doubled)
    take_turns(*(lambda task=task: run(bucket.settings, doubled, task) for task in ("a", "b")))
    assert outcome(open_search(bucket, doubled.name)) == undisturbed


def test_what_is_under_way_is_known_too(bucket: Bucket) -> None:
    """Rounds side by side, and suggestions of others: nothing is proposed that is on its way to a reward already."""
    spec = searched_spec("evolution", 8, window=8)
    found = steps.open_search(bucket, spec.name, spec)
    taken = [(0, 0, 1), (1, 1, 1), (2, 2, 1)]
    steps.suggest(found, taken, "Ada")
    for _ in range(8):
        steps.sample_architecture(found)
    planned = [c.tokens for r in range(8) if (plan := found.plan(r)) for c in plan.children]
    assert len(set(planned)) == len(planned) == 16
    assert set(taken) < set(planned)


ASK = """
import os, sys, rlnas
from rlnas.state import StoreSettings
(child,) = rlnas.open(sys.argv[1], StoreSettings.from_environment(os.environ)).ask(1)
print(*child.tokens)
"""


def test_a_fresh_process_proposes_what_one_that_remembers_proposes(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a bundle of a hundred rounds, which took up most of what is known."""
    monkeypatch.setattr(Ledger, "HISTORY_ROUNDS", 100)
    spec = make_small_spec("guided", "cnn", children=110, children_per_round=1, children_per_batch=1)
    found, proposed = steps.open_search(bucket, spec.name, spec), ()
    for number in range(103):
        head, seeds, generator = found.head(), [number], random.Random(number)
        if number in (40, 70, 102):  # what the surrogate has seen, and how it was fitted, is remembered from each
            proposed = found.searcher.propose(head.state, number, seeds, found.history(head.version))
        child = PlannedChild(tokens=draw(spec.space.decisions(number), generator)[0], log_probability=None, seed=number)
        plan = Plan(round=number, policy_version=number, samples=number, children=(child,))
        found.create_plan(plan)
        found.create_result(child_id(number, 0), Result(status="ok", reward=generator.random()))
        summarise(found, plan)
        steps.update_controller(found)
    version, seed = found.version(), derive_seed(spec.seed, "child", 103, 0)
    assert (version.low_mark, len(version.recent), len(found.history(version))) == (103, 3, 103)
    assert proposed[0].by != "random", "the surrogate chose"
    (remembered,) = found.searcher.propose(found.head().state, 103, [seed], found.history(version))
    assert remembered.by != "random"
    environment = os.environ | bucket.settings.to_environment() | {"PYTHONHASHSEED": "7"}
    fresh = subprocess.run([sys.executable, "-c", ASK, spec.name], env=environment, capture_output=True, text=True)
    assert fresh.stdout.split() == [str(token) for token in remembered.tokens], fresh.stderr


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
