"""Every searcher of the registry, on images and on text: whatever is killed or run twice, it comes to the same bytes.

What it comes to includes a limit on size, a suggestion that was there from the start, and one that came in between.
"""

import random
from typing import Any

import pytest
import searches
from searches import make_small_spec, outcome, renamed, run, run_apart

from rlnas import steps
from rlnas.controller import SEARCHERS
from rlnas.controller.moves import draw
from rlnas.spaces import Tokens
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, open_search
from rlnas.state.suggestions import read_suggestions

KNOWN: dict[tuple[str, str], dict[str, Any]] = {}


@pytest.fixture(params=["cnn", "rnn"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=sorted(SEARCHERS))
def searcher(request: pytest.FixtureRequest) -> str:
    return request.param


def suggest(ledger: Ledger) -> None:
    """Suggest an architecture before the first round, and another one before the second; whoever was killed, once."""
    rounds = ledger.version().rounds
    if rounds < 2 and len(read_suggestions(ledger, 0, 9)) == rounds:
        steps.suggest(ledger, [suggestion(ledger, rounds)], "Ada")


def suggestion(ledger: Ledger, number: int) -> Tokens:
    return draw(ledger.spec.space.decisions(0), random.Random(10 + number))[0]


@pytest.fixture
def spec(searcher: str, kind: str) -> SearchSpec:
    return make_small_spec(searcher, kind)


@pytest.fixture
def undisturbed(bucket: Bucket, spec: SearchSpec) -> dict[str, Any]:
    key = spec.space.kind, spec.controller.kind
    if key not in KNOWN:
        KNOWN[key] = outcome(run_apart(bucket, renamed(spec), before_turn=suggest))
    return KNOWN[key]


def test_killed_at_every_write(bucket: Bucket, spec: SearchSpec, undisturbed: dict[str, Any]) -> None:
    assert searches.killed_at_every_write(lambda: run(bucket.settings, spec, before_turn=suggest)) > 40
    assert outcome(open_search(bucket, spec.name)) == undisturbed


def test_two_runs_in_turns(bucket: Bucket, spec: SearchSpec, undisturbed: dict[str, Any]) -> None:
    """Neither is ahead of the other by more than one call of the store. The suggestions wait from the start."""
    ledger = steps.open_search(bucket, spec.name, spec)
    steps.suggest(ledger, [suggestion(ledger, 0), suggestion(ledger, 1)], "Ada")
    searches.take_turns(*(lambda task=task: run(bucket.settings, spec, task) for task in ("a", "b")))
    assert outcome(ledger) == undisturbed
    applied = [ledger.controller(number).version.applied for number in (1, 2)]
    assert applied == [(0,), (1,)]
