"""What a worker finds of others' rounds before it plans its own, and what it leaves to them."""

from collections.abc import Callable

import pytest
from searches import in_process, make_spec

from rlnas import steps
from rlnas.state import Bucket, Ledger, Observer, Plan, Result, child_id, claim
from rlnas.state.leases import release
from rlnas.steps.common import NOTHING_TO_DO, Batch
from rlnas.steps.deserted import Deserted
from rlnas.steps.evaluate import summarise

HERE = 4


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def begin(bucket: Bucket, clock: Clock) -> Callable[..., tuple[Ledger, Callable[[], list[Batch]]]]:
    """Return a search with two rounds under way, and a worker's look at them."""

    def begun(batch: int = HERE) -> tuple[Ledger, Callable[[], list[Batch]]]:
        loop = {"children": 5 * HERE, "children_per_round": HERE, "children_per_batch": batch, "window": 4}
        spec = make_spec(loop=loop, failures={"lease_seconds": 600})
        ledger = steps.open_search(bucket, spec.name, spec)
        for _ in "12":
            steps.sample_architecture(ledger)
        deserted = Deserted(ledger, Observer(ledger, clock, trainers_score=True))

        def look() -> list[Batch]:
            version = ledger.version()
            return deserted.find(version, range(version.low_mark, version.low_mark + 4), ledger.next_round())

        return ledger, look

    return begun


def test_a_round_that_comes_on_is_left_alone_at_the_cost_of_two_requests(begin, clock):
    ledger, look = begin()
    for number in range(2):
        claim(ledger, child_id(number, 0), "another")
    assert look() == []
    claim(ledger, child_id(0, 1), "another")
    claim(ledger, child_id(1, 1), "another")
    clock.now = 60
    before = ledger.bucket.requests.copy()
    ledger.version()
    alone = ledger.bucket.requests - before
    before = ledger.bucket.requests.copy()
    assert look() == []
    assert ledger.bucket.requests - before - alone == {"LIST": 1, "GET": 1}


def test_the_batch_of_one_that_is_gone_is_taken_as_soon_as_it_rests(begin, clock):
    ledger, look = begin()
    claim(ledger, child_id(0, 0), "another")
    assert in_process(lambda: claim(Ledger(Bucket(ledger.bucket.settings), ledger.record), child_id(1, 0), "dead")) == 0
    assert look() == [], "the older one is in good hands, and is all that a look reads"
    ledger.create_result(child_id(0, 0), Result(status="ok", reward=1.0))
    held = claim(ledger, child_id(0, 1), "another")
    clock.now = 60
    assert look() == [Batch(1, tuple(range(HERE)))]
    release(ledger, held)
    clock.now = 120
    assert look() == [Batch(0, (1, 2, 3))], "what has a result is done"


def test_a_round_that_nobody_begins_is_taken_at_the_second_look(begin, clock):
    ledger, look = begin()
    for number in range(2):
        claim(ledger, child_id(number, 0), "another")
    assert look() == []
    steps.sample_architecture(ledger)
    clock.now = 60
    assert look() == [], "whoever planned it is about to begin"
    clock.now = 120
    assert look() == [Batch(2, tuple(range(HERE)))]


def test_after_a_long_while_all_is_read(begin, clock):
    """Where a round takes hours, nothing that was given back waits for a second look."""
    ledger, look = begin()
    held = [claim(ledger, child_id(number, 0), "another") for number in range(2)]
    assert look() == []
    claim(ledger, child_id(1, 1), "another")
    release(ledger, held[0])
    clock.now = 150
    assert look() == [Batch(0, tuple(range(HERE)))]


def test_small_batches_are_shared_from_the_first_child_on(begin):
    ledger, look = begin(batch=1)
    claim(ledger, child_id(0, 1), "another")
    assert look() == [Batch(0, (0,)), Batch(0, (2,)), Batch(0, (3,))]


def test_a_summary_that_is_missing(begin):
    ledger, look = begin()
    plan = ledger.plan(0)
    assert isinstance(plan, Plan)
    mine = Ledger(Bucket(ledger.bucket.settings), ledger.record)
    assert in_process(lambda: [claim(mine, child_id(0, index), "dead") for index in range(HERE)] and None) == 0
    for index in range(HERE):
        ledger.create_result(child_id(0, index), Result(status="ok", reward=1.0))
    claim(ledger, child_id(1, 0), "another")
    assert look() == [Batch(0, (0,))]
    summarise(ledger, plan)
    assert look() == [NOTHING_TO_DO], "only its update is missing"
    steps.update_controller(ledger)
    assert look() == []


def test_a_hint_that_promises_too_much(begin):
    ledger, look = begin()
    for number in range(2):
        claim(ledger, child_id(number, 0), "another")
    ledger.bucket.put(ledger.key("next.json"), b"4")
    assert look() == look() == []
