"""Every searcher of the registry, on images and on text: whatever is killed or run twice, it comes to the same bytes.

What it comes to includes a limit on size, a suggestion that was there from the start, and one that came in between.
"""

import random
from typing import Any

import pytest
import searches
from searches import in_process, make_small_spec, outcome, renamed, run

from rlnas import steps
from rlnas.controller import SEARCHERS
from rlnas.controller.moves import draw
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, StoreSettings, open_search
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
        tokens = draw(ledger.spec.space.decisions(0), random.Random(10 + rounds))[0]
        steps.suggest(ledger, [tokens], "Ada")


def search(settings: StoreSettings, spec: SearchSpec, task: str = "a") -> None:
    searches.inline()
    run(settings, spec, task, suggest)


@pytest.fixture
def spec(searcher: str, kind: str) -> SearchSpec:
    return make_small_spec(searcher, kind)


@pytest.fixture
def undisturbed(bucket: Bucket, spec: SearchSpec) -> dict[str, Any]:
    key = spec.space.kind, spec.controller.kind
    if key not in KNOWN:
        twin = renamed(spec)
        assert in_process(search, bucket.settings, twin) == 0
        KNOWN[key] = outcome(open_search(bucket, twin.name))
    return KNOWN[key]


def test_killed_at_every_write(bucket: Bucket, spec: SearchSpec, undisturbed: dict[str, Any]) -> None:
    assert searches.killed_at_every_write(lambda: search(bucket.settings, spec)) > 40
    assert outcome(open_search(bucket, spec.name)) == undisturbed


def test_two_runs_in_turns(bucket: Bucket, spec: SearchSpec, undisturbed: dict[str, Any]) -> None:
    ledger = steps.open_search(bucket, spec.name, spec)
    searches.take_turns(*(lambda task=task: search(bucket.settings, spec, task) for task in ("a", "b")))
    assert outcome(ledger) == undisturbed
