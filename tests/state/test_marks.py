"""Pause, stop, extension: whoever is killed or late, what is finished is kept, and no round counts that must not."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import searches
from searches import EVALUATE, SAMPLE, killed_at_every_write, make_spec, outcome, renamed, run_apart, take_turns

from rlnas import steps
from rlnas.children import Interrupted
from rlnas.errors import SearchDeleted, UserError
from rlnas.spec import MOST_ROUNDS, SearchSpec, parse_spec
from rlnas.state import (
    Bucket,
    Keeper,
    Ledger,
    Observer,
    Result,
    claim,
    delete_search,
    extend,
    marks,
    open_search,
    pause,
    resume,
    stop,
)
from rlnas.state.records import STOPPED, Change, End, Lease
from rlnas.steps.common import NOTHING_TO_DO
from rlnas.tensors import pack

BY = "Ada@desk"
HOUR = 3600.0
CHILD = "000000-001"


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def begin(bucket: Bucket) -> Callable[..., Ledger]:
    """Create a search of a table; sections as of `make_spec`."""

    def make(**sections: Any) -> Ledger:
        spec = make_spec(**sections)
        return steps.open_search(bucket, spec.name, spec)

    return make


def again(ledger: Ledger) -> Ledger:
    """The search as another process has it: it has read the record at this moment."""
    return open_search(Bucket(ledger.bucket.settings), ledger.name)


def plan_round(ledger: Ledger) -> int:
    """Plan the next round, as a sampler does that has looked at the marks before."""
    head = ledger.head()
    first = head.version.low_mark
    plan = SAMPLE._propose(ledger, head, range(first, first + ledger.spec.loop.window), ledger.next_round())
    return plan.round


def tell_round(ledger: Ledger, number: int, reward: float = 0.5, seconds: float = 0.0) -> None:
    """Give every child of a round a result, and sum it up; nothing is applied."""
    plan = ledger.plan(number)
    for index in range(len(plan.children)):
        result = Result(status="ok", reward=reward, seconds=seconds)
        ledger.create_result(f"{number:06d}-{index:03d}", result)
    EVALUATE.summarise(ledger, plan)


def train_round(ledger: Ledger, **told: float) -> int:
    number = plan_round(ledger)
    tell_round(ledger, number, **told)
    steps.update_controller(ledger)
    return number


# --- pause ---


def test_a_paused_search_begins_nothing_until_it_is_resumed(begin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = begin()
    worker = again(ledger)
    assert pause(ledger, BY, lambda: 0.0)
    assert not pause(again(ledger), "Bob")
    line = f"search {ledger.name} is paused (by {BY}, 1970-01-01 00:00 UTC); `rlnas resume {ledger.name}` goes on\n"
    assert steps.sample_architecture(worker) == [NOTHING_TO_DO]
    assert capsys.readouterr().out == line
    assert steps.ask(worker, 1, Observer(worker)) == {}
    assert steps.plan_rounds(worker, 0) == 1
    steps.work(worker, "a", HOUR, 2)
    assert worker.plan(0) is None
    assert resume(ledger)
    assert not resume(ledger)
    assert steps.sample_architecture(worker)[0].round == 0


def test_a_search_that_was_paused_between_any_two_steps_comes_to_the_same(bucket: Bucket) -> None:
    undisturbed, paused = renamed(spec := make_spec()), renamed(spec)
    expected = outcome(run_apart(bucket, undisturbed))

    def tired(ledger: Ledger) -> None:
        pause(again(ledger), BY)
        assert steps.sample_architecture(ledger) == [NOTHING_TO_DO]
        resume(again(ledger))

    assert outcome(run_apart(bucket, paused, before_turn=tired)) == expected


def test_a_training_sees_a_pause_within_half_a_minute_and_costs_no_request_before(begin: Any) -> None:
    ledger, clock = begin(), Clock()
    plan_round(ledger)
    task = marks.Watch(ledger, clock)
    pause(again(ledger), BY)
    ledger.bucket.requests.clear()
    clock.now = 14.0
    assert task.halt == ""
    assert not ledger.bucket.requests  # so it begins one more
    keeper = Keeper(ledger, claim(ledger, CHILD, "a"), lambda: False, clock)
    ledger.bucket.requests.clear()
    clock.now = 28.0
    keeper.beat(lambda: pytest.fail("no checkpoint is due"))
    assert not ledger.bucket.requests
    clock.now = 29.0
    with pytest.raises(Interrupted, match="the search is paused"):
        keeper.beat(lambda: pack({}, {"epoch": 1, "step": 0, "seconds": 1.0}))
    assert Lease.from_bytes(ledger.bucket.get(ledger.lease_key(CHILD)).data, "lease").state == "released"
    resume(again(ledger))
    assert claim(ledger, CHILD, "b").lease.start == (1, 0)


def test_a_training_goes_on_while_the_store_is_down_and_ends_when_the_search_is_gone(
    bucket: Bucket, proxied: Bucket, proxy: Any
) -> None:
    spec, clock = make_spec(), Clock()
    ledger = Ledger(proxied, steps.open_search(bucket, spec.name, spec).record)
    watch = marks.Watch(ledger, clock)
    proxy.refuse = True
    clock.now = 30.0
    assert watch.halt == ""
    proxy.refuse = False
    delete_search(open_search(bucket, spec.name))
    clock.now = 60.0
    assert watch.halt == f"search {spec.name} was deleted"


# --- stop ---


def test_what_is_planned_is_finished_and_nothing_else(begin: Any) -> None:
    ledger = begin(loop={"children": 20, "window": 3})
    train_round(ledger)
    assert (plan_round(ledger), plan_round(ledger)) == (1, 2)
    worker = again(ledger)
    assert stop(again(ledger), BY)
    assert not stop(again(ledger), "Bob")
    with pytest.raises(UserError, match="is ended"):
        steps.suggest(worker, [[0, 0, 0]], "me")
    steps.work(worker, "a", HOUR, 10)
    assert worker.record.ended.rounds == worker.rounds == worker.version().rounds == 3
    assert worker.children == worker.version().children == 6
    assert worker.plan(3) is None
    assert len(worker.summaries()) == 3
    assert not stop(worker, BY)


def test_a_search_that_is_complete_cannot_be_stopped(begin: Any) -> None:
    ledger = begin()
    train_round(ledger)
    train_round(ledger)
    assert not stop(ledger, BY)
    assert ledger.record.ended is None


def test_a_round_that_was_planned_after_the_end_never_counts(begin: Any) -> None:
    ledger = begin(loop={"children": 20})
    train_round(ledger)
    late = again(ledger)  # it has seen no mark, and sees none before its round is trained
    stop(ledger, BY)
    number = plan_round(late)
    tell_round(late, number)
    assert steps.update_controller(late).rounds == 1
    assert late.rounds == 1
    assert len(late.summaries()) == 1
    assert steps.sample_architecture(again(ledger)) == [NOTHING_TO_DO]
    # More children: then it is the very round that would have been planned now.
    extend(ledger, {"loop.children": 20}, BY)
    assert steps.update_controller(again(late)).rounds == 2


def test_rounds_that_were_finished_between_the_mark_and_the_counting_count(begin: Any) -> None:
    ledger = begin(loop={"children": 20})
    mark = End(why=STOPPED, by=BY, at=0.0)
    updater = again(ledger)
    plan_round(updater)
    marks.amend(ledger, lambda record: record.model_copy(update={"ended": mark}))  # and is killed
    tell_round(updater, 0)
    assert steps.update_controller(updater).rounds == 1
    assert again(ledger).record.ended == mark.model_copy(update={"rounds": 1})


def test_stopped_before_it_began(begin: Any) -> None:
    ledger = begin(finalize={})
    stop(ledger, BY)
    assert steps.sample_architecture(ledger) == [NOTHING_TO_DO]
    assert (ledger.rounds, steps.plan_rounds(ledger, 0)) == (0, 1)


def test_a_zombie_that_counted_before_an_extension_changes_nothing(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = begin(loop={"children": 20})
    zombie, first_free_round = again(ledger), Ledger.first_free_round

    def meanwhile(mine: Ledger) -> int:
        number = first_free_round(mine)
        monkeypatch.setattr(Ledger, "first_free_round", first_free_round)
        marks.settle(again(ledger))
        extend(ledger, {"loop.children": 20}, BY)
        train_round(again(ledger))
        stop(again(ledger), BY, lambda: 0.0)  # at the very same second
        return number

    monkeypatch.setattr(Ledger, "first_free_round", meanwhile)
    stop(zombie, BY, lambda: 0.0)
    assert again(ledger).rounds == zombie.rounds == 1


# --- extension ---


def test_an_extended_search_is_to_the_byte_one_that_had_the_budget_from_the_first(bucket: Bucket) -> None:
    short, long = renamed(spec := make_spec()), renamed(spec)
    long = long.model_copy(update={"loop": long.loop.model_copy(update={"children": 8})})
    expected = outcome(run_apart(bucket, long))
    ledger = run_apart(bucket, short)
    made = extend(ledger, {"loop.children": 8, "failures.attempts": 9}, BY, lambda: 0.0)
    assert made[0] == Change(field="loop.children", before=4, after=8, by=BY, at=0.0)
    assert again(ledger).record.changes == made
    assert extend(ledger, {"loop.children": 8}, BY) == ()
    assert outcome(run_apart(bucket, again(ledger).spec)) == expected


def test_the_spec_that_it_began_with_stays_its_own(begin: Any, bucket: Bucket) -> None:
    ledger = begin()
    spec = ledger.spec
    extend(ledger, {"loop.children": 8}, BY)
    extend(ledger, {"loop.children": 10, "failures.lease_seconds": 60}, BY)
    for document in (spec, again(ledger).spec):
        opened = steps.open_search(bucket, spec.name, document)
        assert (opened.spec.loop.children, opened.spec.failures.lease_seconds) == (10, 60)
    assert ledger.record.spec_sha256 == ledger.spec.sha256
    other = parse_spec(spec.document | {"seed": 9})
    with pytest.raises(UserError, match=r"exists with another spec \(seed: 9, not 0\)"):
        steps.open_search(bucket, spec.name, other)
    other = parse_spec(spec.document | {"loop": {"children": 6, "children_per_round": 2}})
    with pytest.raises(UserError, match=r"exists with another spec \(loop.children: 6, not 10\)"):
        steps.open_search(bucket, spec.name, other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 3}, "seed: it stays as it is, .*allowed: loop.children, loop.hours, .*, dataset.path; for all else"),
        ({"loop.children_per_round": 4}, "loop.children_per_round: it stays as it is"),
        ({"controller.hidden": 4}, "controller.hidden: it stays as it is"),
        ({"child.time_limit": 4}, "child.time_limit: it stays as it is"),
        ({"no.such": 4}, "no.such: search .* has no such field; allowed: loop.children, "),
        ({"loop.children": 9}, "loop.children: 9 is not a multiple of children_per_round, 2"),
        ({"loop.children": 2}, "loop.children: 2; allowed: more than 4, which the search has"),
        ({"loop.children": "many"}, "loop.children: .*got 'many'"),
        ({"loop.replicas": 2}, "loop.window: 1 is less than replicas, 2"),
        ({"failures.attempts": 0}, "failures.attempts: .*got 0"),
    ],
)
def test_what_cannot_be_changed_is_refused_by_name(begin: Any, changes: dict[str, Any], words: str) -> None:
    ledger = begin()
    before = ledger.record
    with pytest.raises(UserError, match=words):
        extend(ledger, {"failures.lease_seconds": 5} | changes, BY)
    assert again(ledger).record == before


def test_what_is_published_with_a_model_names_nobody(begin: Any) -> None:
    ledger = begin(loop={"children": 20})
    train_round(ledger)
    stop(ledger, BY, lambda: 0.0)
    extend(ledger, {"loop.children": 6}, BY, lambda: 0.0)
    train_round(ledger)
    stop(ledger, BY, lambda: 3600.0)
    pause(ledger, BY)
    assert marks.public_marks(ledger) == [
        "ended (stopped, 1970-01-01 01:00 UTC) with 4 children",
        "changed: loop.children: 6, before 20; 1970-01-01 00:00 UTC",
    ]


def test_an_extension_says_what_it_undoes(begin: Any) -> None:
    ledger = begin(loop={"children": 20})
    train_round(ledger)
    stop(ledger, BY, lambda: 0.0)
    with pytest.raises(UserError, match=r"loop\.children: 2; allowed: more than 2"):
        extend(ledger, {"loop.children": 2}, BY)
    assert extend(ledger, {"failures.attempts": 9}, BY)
    assert ledger.record.ended
    *_, undone = extend(ledger, {"loop.children": 4}, BY, lambda: 0.0)
    assert undone == Change(field="ended", before=f"stopped by {BY}, 1970-01-01 00:00 UTC", after=None, by=BY, at=0.0)
    assert ledger.rounds == 2
    assert steps.open_search(ledger.bucket, ledger.name, make_same(ledger, 20)).rounds == 2


def make_same(ledger: Ledger, children: int) -> SearchSpec:
    """The spec that a search began with."""
    document = ledger.spec.document
    return parse_spec(document | {"loop": document["loop"] | {"children": children}})


# --- hours ---


def test_hours_end_a_search(begin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = begin(loop={"children": 20, "hours": 2})
    train_round(ledger)
    created = ledger.record.created
    assert abs(time.time() - created) < HOUR

    def look(hours: float) -> Any:
        return SAMPLE.find_work(worker := again(ledger), Observer(worker), clock=lambda: created + hours * HOUR)

    assert look(1.99)[0].round == 1
    assert look(2)[0].round == 1, "what is planned is finished"
    assert f"search {ledger.name} is ended (loop.hours was reached, " in capsys.readouterr().out
    tell_round(ledger, 1)
    steps.update_controller(ledger)
    assert look(2) is None
    assert (ledger.rounds, ledger.record.ended.why) == (2, "loop.hours")
    assert extend(ledger, {"failures.attempts": 9}, BY)
    assert look(2) is None
    extend(ledger, {"loop.hours": 3}, BY)
    assert look(2.5)[0].round == 2
    assert look(3)[0].round == 2
    assert again(ledger).rounds == 3


def test_device_hours_end_a_search_and_each_round_is_read_once(begin: Any) -> None:
    ledger = begin(loop={"children": 2000, "device_hours": 250})  # an hour a child
    for _ in range(123):
        train_round(ledger, seconds=HOUR)
    worker = again(ledger)
    assert SAMPLE.find_work(worker, Observer(worker))[0].round == 123
    requests = worker.bucket.requests.copy()
    assert requests["GET"] < 40, "a hundred rounds are one object"
    assert marks.budget_reached(worker) == ""
    assert (worker.bucket.requests - requests).total() == 1
    tell_round(ledger, 123, seconds=HOUR)
    steps.update_controller(ledger)
    assert SAMPLE.find_work(worker, Observer(worker))[0].round == 124
    tell_round(ledger, 124, seconds=HOUR)
    steps.update_controller(ledger)
    assert SAMPLE.find_work(worker, Observer(worker)) is None
    assert (worker.record.ended.why, worker.rounds) == ("loop.device_hours", 125)


# --- races and deaths ---


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        (lambda ledger: pause(ledger, BY), "paused"),
        (lambda ledger: stop(ledger, BY), "ended"),
        (lambda ledger: extend(ledger, {"loop.children": 30}, BY), "changes"),
        (lambda ledger: pause(ledger, BY) and resume(ledger), "revision"),
    ],
)
def test_killed_at_every_write_and_done_again(begin: Any, verb: Any, expected: str) -> None:
    ledger = begin(loop={"children": 20})
    plan_round(ledger)
    assert killed_at_every_write(lambda: verb(again(ledger))) >= 1
    record = again(ledger).record
    assert getattr(record, expected)
    if expected == "ended":
        assert record.ended.rounds == 1
    if expected == "changes":
        assert len(record.changes) == 1


def test_killed_right_after_its_mark_a_stop_is_counted_by_whoever_looks_for_work(begin: Any) -> None:
    ledger = begin(loop={"children": 20})
    train_round(ledger)
    marks.amend(ledger, lambda r: r.model_copy(update={"ended": End(why=STOPPED, by=BY, at=0.0)}))
    worker = again(ledger)
    steps.work(worker, "a", HOUR, 10)
    assert (worker.rounds, again(ledger).record.ended.rounds) == (1, 1)


def test_verbs_and_a_worker_in_turns(begin: Any) -> None:
    """None of them undoes what another one did; the search ends with the rounds that its record says."""
    ledger = begin(loop={"children": 20})

    def verbs() -> None:
        mine = again(ledger)
        stop(mine, BY)
        extend(mine, {"failures.attempts": 9}, BY)

    def others() -> None:
        mine = again(ledger)
        pause(mine, "Bob")
        extend(mine, {"failures.lease_seconds": 5000}, "Bob")
        resume(mine)

    take_turns(verbs, others, lambda: steps.work(again(ledger), "a", HOUR, 10))
    steps.work(last := again(ledger), "b", HOUR, 10)
    assert {change.field for change in last.record.changes} == {"failures.attempts", "failures.lease_seconds"}
    assert (last.spec.failures.attempts, last.spec.failures.lease_seconds) == (9, 5000)
    assert last.record.ended.rounds == last.version().rounds == len(last.summaries())
    assert last.record.paused is None


def test_a_search_that_is_gone_says_so(begin: Any, bucket: Bucket) -> None:
    ledger = begin()
    delete_search(again(ledger))
    for verb in (lambda: pause(ledger, BY), lambda: stop(ledger, BY), ledger.refresh):
        with pytest.raises(SearchDeleted):
            verb()


def test_more_rounds_than_there_are_numbers_are_refused() -> None:
    with pytest.raises(UserError, match=f"allowed: {MOST_ROUNDS:,} rounds"):
        make_spec(loop={"children": MOST_ROUNDS + 1, "children_per_round": 1})
    assert searches.make_spec(loop={"children": MOST_ROUNDS, "children_per_round": 1}).loop.rounds == MOST_ROUNDS
