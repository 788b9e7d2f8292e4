"""The ledger on a real store: the chain, the search itself, and what it costs to read."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import searches
from searches import make_spec

from rlnas.controller import SearcherState
from rlnas.errors import SearchDeleted, StoreError, UserError
from rlnas.report import read_status
from rlnas.state import (
    Bucket,
    Ledger,
    Plan,
    PlannedChild,
    Result,
    Summary,
    child_id,
    collect_garbage,
    create_search,
    delete_search,
    list_searches,
    open_search,
)
from rlnas.state.records import FinishedChild, History, Leader, Version
from rlnas.steps import check_spec, finish, sample_architecture, update_controller
from rlnas.steps.common import opener
from rlnas.tensors import pack, read_document


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


@pytest.fixture
def spec():
    return make_spec(loop={"children": 40})


@pytest.fixture
def ledger(bucket, spec):
    return create(bucket, spec)


# --- the chain ---


def test_first_version_is_a_function_of_the_search(bucket, ledger, spec):
    other = create(bucket, searches.renamed(spec))
    assert ledger.head().data == other.head().data
    assert ledger.newest().data == ledger.head().data
    another_seed = create(bucket, searches.renamed(spec).model_copy(update={"seed": 1}))
    assert another_seed.head().data != ledger.head().data


def test_looking_creates_nothing(bucket, ledger):
    assert ledger.newest() is None
    assert ledger.version() == Version()
    assert ledger.summaries() == []
    assert list(bucket.list_all(ledger.root)) == []


def test_chain(ledger):
    """Every version names its parent, what it applied, and how far all is applied."""
    head = ledger.head()
    for numbers, low_mark, extras in [((1, 3), 0, (1, 3)), ((0,), 2, (3,)), ((2, 5), 4, (5,)), ((4,), 6, ())]:
        made = ledger.commit(head, [make_summary(r) for r in numbers], head.state, {"entropy": 1.0})
        assert (made.version.applied, made.version.low_mark, made.version.extras) == (numbers, low_mark, extras)
        parent, head = head, ledger.head()
        assert head == made
        assert head.version.parent_sha256 == hashlib.sha256(parent.data).hexdigest()
    assert (head.version.version, head.version.children, head.version.rounds) == (4, 12, 6)


def test_two_updates_at_once(bucket, ledger, spec):
    """Protocol test 2: one next version, and every reward once, whoever wins."""
    for number in range(4):
        ledger.create_summary(make_summary(number, policy_version=0))
        workers = [Ledger(Bucket(bucket.settings), ledger.record) for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            versions = list(threads.map(update_controller, workers))
        assert [version.version for version in versions] == [number + 1] * 4
        assert ledger.version().applied == (number,)
        assert ledger.version().children == 2 * (number + 1)
    alone = create(bucket, searches.renamed(spec))
    for number in range(4):
        alone.create_summary(make_summary(number, policy_version=0))
        update_controller(alone)
    assert alone.head().data == ledger.head().data


def test_second_commit_on_one_parent_is_refused(ledger):
    parent = ledger.head()
    assert ledger.commit(parent, [make_summary(0)], parent.state, {}) is not None
    first = ledger.head().data
    assert ledger.commit(parent, [make_summary(0, reward=9.0)], parent.state, {}) is None
    assert ledger.head().data == first


@pytest.mark.parametrize("hint", [None, b"0", b"1", b"2"])
def test_stale_hint(bucket, ledger, hint):
    for number in range(3):
        ledger.commit(ledger.head(), [make_summary(number)], SearcherState(), {})
    bucket.delete([ledger.key("head.json")])
    if hint is not None:
        bucket.put(ledger.key("head.json"), hint)
    assert Ledger(bucket, ledger.record).version().version == 3


def test_what_has_been_seen_is_not_read_again(bucket, ledger):
    ledger.commit(ledger.head(), [make_summary(0)], SearcherState(), {})
    bucket.requests.clear()
    assert ledger.version().version == 1
    assert bucket.requests == {"LIST": 1}
    other = Ledger(Bucket(bucket.settings), ledger.record)
    for number in (1, 2):
        other.commit(other.head(), [make_summary(number)], SearcherState(), {})
    bucket.requests.clear()
    assert ledger.version().version == 3
    assert bucket.requests == {"LIST": 1, "GET": 1}


def test_hint_to_a_missing_version(bucket, ledger):
    ledger.commit(ledger.head(), [make_summary(0)], SearcherState(), {})
    bucket.put(ledger.key("head.json"), b"2")
    with pytest.raises(StoreError, match=r"controllers/000002.safetensors is missing: search .* is damaged"):
        Ledger(bucket, ledger.record).head()
    with pytest.raises(StoreError, match="is damaged"):
        sample_architecture(Ledger(bucket, ledger.record))


@pytest.mark.parametrize("hint", [None, b"0", b"1"])
def test_stale_hint_of_the_next_round(bucket, hint):
    ledger = create(bucket, make_spec(loop={"children": 40, "window": 5}))
    for number in range(3):
        assert sample_architecture(ledger)[0].round == number
    bucket.delete([ledger.key("next.json")])
    if hint is not None:
        bucket.put(ledger.key("next.json"), hint)
    assert sample_architecture(ledger)[0].round == 3
    assert ledger.next_round() == 4


def test_leaders(ledger):
    """The best twenty, ties by name; failures never; only the snapshots of the best five stay."""
    ledger.create_snapshots("000000-000", b"old")
    head = ledger.head()
    for number in range(12):
        for i in range(2):
            ledger.create_snapshots(f"{number:06d}-{i:03d}", b"weights")
        ledger.commit(head, [make_summary(number)], SearcherState(), {})
        head = ledger.head()
    leaders = head.version.leaders
    assert [leader.reward for leader in leaders] == [i / 1000 for i in range(23, 3, -1)]
    kept = {key.rpartition("/")[2] for key in ledger.bucket.list(ledger.key("snapshots/"))}
    assert kept == {f"{leader.child}.safetensors" for leader in leaders[:5]}
    ledger.commit(head, [make_summary(12, reward=1.0)], SearcherState(), {})
    assert [leader.child for leader in ledger.version().leaders[:2]] == ["000012-000", "000012-001"]
    ledger.commit(ledger.head(), [make_summary(13, reward=2.0, status="failed")], SearcherState(), {})
    assert ledger.version().leaders[0].child == "000012-000"
    assert ledger.version().failed == 2
    ledger.commit(ledger.head(), [make_summary(14, status="lost")], SearcherState(), {})
    assert ledger.version().failed == 4


# --- facts are created once ---


def test_facts_are_created_once(ledger):
    children = (PlannedChild(tokens=(0, 1, 2), log_probability=-1.5, seed=3),)
    plan = Plan(round=0, policy_version=0, samples=0, children=children)
    assert ledger.create_plan(plan)
    assert not ledger.create_plan(plan.model_copy(update={"policy_version": 1}))
    assert ledger.plan(0) == plan
    assert ledger.plan(1) is None
    first, second = Result(status="lost", reward=0.0), Result(status="ok", reward=1.0)
    assert ledger.create_result("000000-000", first)
    assert not ledger.create_result("000000-000", second)
    assert ledger.result("000000-000") == first
    ledger.create_summary(make_summary(0))
    ledger.create_summary(make_summary(0, reward=7.0))
    assert ledger.summary(0) == make_summary(0)
    ledger.create_snapshots("000000-000", b"first")
    ledger.create_snapshots("000000-000", b"second")
    assert ledger.snapshots("000000-000") == b"first"
    assert ledger.finished_children(0) == ledger.trained_children(0) == {"000000-000"}
    assert ledger.finished_children(1) == set()


def test_a_round_may_hold_more_children_than_a_page_of_the_store(bucket, ledger):
    names = {child_id(7, i) for i in range(1003)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: bucket.put(ledger.key(f"results/{name}.json"), b"{}"), names))
    assert ledger.finished_children(7) == names


def test_damaged_object(bucket, ledger):
    bucket.put(ledger.key("plans/000000.json"), b'{"round": 0}')
    with pytest.raises(StoreError, match=r"plans/000000.json: not a plan of this version of rlnas") as caught:
        ledger.plan(0)
    assert "\n" not in str(caught.value)


def test_lost_answers_cost_nothing(bucket, proxied, proxy, spec):
    """Protocol test 5 for every conditional put of the ledger: what was lost is recognised as one's own."""
    proxy.lose = range(1, 999, 2)
    ledger = create(proxied, spec)
    assert open_search(bucket, spec.name).record == ledger.record
    assert ledger.create_plan(
        Plan(round=0, policy_version=0, samples=0, children=(PlannedChild(tokens=(), log_probability=0, seed=0),))
    )
    assert ledger.create_result("000000-000", Result(status="ok", reward=1.0))
    head = ledger.head()
    assert ledger.commit(head, [make_summary(0)], head.state, {}).version.version == 1
    assert proxy.conditional >= 10


# --- the search itself ---


def test_changed_spec_is_refused_field_by_field(bucket, ledger, spec):
    document = spec.model_dump(mode="json")
    document["seed"] = 5
    document["loop"]["children"] = 80
    document["controller"]["hidden"] = 9
    with pytest.raises(UserError) as caught:
        create(bucket, searches.parse_spec(document))
    assert str(caught.value) == (
        f"search {spec.name} exists with another spec (seed: 5, not 0; controller.hidden: 9, not 8;"
        " loop.children: 80, not 40); allowed: its own spec, or another name: in the spec, or by --name NAME"
    )
    assert create(bucket, spec).record == ledger.record


def test_spec_from_before_a_field_was_there(bucket, ledger, spec):
    """A new version of rlnas adds a field with a default: searches in the store go on."""
    record = json.loads(bucket.get(f"searches/{spec.name}/search.json").data)
    del record["spec"]["failures"]["lost"]
    record["spec_sha256"] = "of before"
    bucket.put(f"searches/{spec.name}/search.json", json.dumps(record, separators=(",", ":")).encode())
    assert create(bucket, spec).record.incarnation == ledger.record.incarnation


def test_changed_data_is_refused(bucket, ledger, spec):
    shape = check_spec(spec, opener(bucket))
    with pytest.raises(UserError, match=f"search {spec.name}: its data has changed: .*'classes': 3.*, not"):
        create_search(bucket, spec, replace(shape, classes=3))


def test_unknown_schema_is_refused(bucket, ledger, spec):
    key = f"searches/{spec.name}/search.json"
    data = bucket.get(key).data
    later = r"search.json: a newer version of rlnas wrote it \(schema (2|17); this one reads up to 1\); upgrade rlnas"
    for other, error, words in (
        (data.replace(b'"schema_version":1,', b'"schema_version":2,'), UserError, later),
        (b'{"schema_version": 17}', UserError, later),
        (b'{"schema_version": true}', StoreError, "search.json: not a searchrecord of this version"),
        (b"{}", StoreError, "search.json: not a searchrecord of this version"),
    ):
        bucket.put(key, other)
        for attempt in (lambda: open_search(bucket, spec.name), lambda: create(bucket, spec)):
            with pytest.raises(error, match=words):
                attempt()
        assert bucket.get(key).data == other


def test_no_such_search(bucket):
    with pytest.raises(UserError, match="no search 'nothing' in the store"):
        open_search(bucket, "nothing")
    with pytest.raises(UserError, match=r"'\.\./x' cannot name a search"):
        open_search(bucket, "../x")


def test_list_searches(bucket, ledger, spec):
    other = create(bucket, searches.renamed(spec))
    assert list_searches(bucket) == sorted([ledger.name, other.name])
    delete_search(other)
    other.create_result("000000-000", Result(status="ok", reward=1.0))  # a late task
    assert list_searches(bucket) == [ledger.name]
    bucket.put("searches/odd/search.json", b'{"schema_version":9,"deleting":false}')
    assert list_searches(bucket) == ["odd", ledger.name] if ledger.name > "odd" else [ledger.name, "odd"]


@pytest.mark.parametrize("damage", [b"", b"half of", b"\xff" * 40])
def test_damaged_objects(bucket, ledger, damage):
    """A version that cannot be read is the store's error; a hint that cannot be read is none."""
    first = ledger.head()
    for hint in ("head.json", "next.json"):
        bucket.put(ledger.key(hint), damage)
    assert Ledger(bucket, ledger.record).head().data == first.data
    assert ledger.next_round() == 0
    key = ledger.key("controllers/000000.safetensors")
    bucket.put(key, first.data[:-20])
    with pytest.raises(StoreError, match="controller 0 is damaged: not a safetensors file"):
        _ = Ledger(bucket, ledger.record).head().state
    bucket.put(key, damage)
    with pytest.raises(StoreError, match=f"{key} is damaged: not a safetensors file"):
        Ledger(bucket, ledger.record).head()


def test_delete(bucket, ledger):
    keys = [ledger.key(f"{folder}/{i:06d}") for folder in ("plans", "results", "summaries") for i in range(500)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: bucket.put(key, b"x"), keys))
    delete_search(ledger)
    assert list(bucket.list_all("searches/")) == []
    delete_search(ledger)
    with pytest.raises(UserError, match="no search"):
        open_search(bucket, ledger.name)


def test_delete_and_recreate_while_an_old_task_works(bucket, spec):
    """Protocol test 11: the old task writes below its own incarnation alone, then hears of it."""
    old = create(bucket, spec)
    sample_architecture(old)
    delete_search(old)
    with pytest.raises(SearchDeleted, match="was deleted"):
        old.head()
    new = create(bucket, spec)
    assert new.record.incarnation != old.record.incarnation
    before = sorted(bucket.list_all(new.root))
    with pytest.raises(SearchDeleted):
        sample_architecture(old)
    old.create_snapshots("000000-000", b"late")
    old.create_result("000000-000", Result(status="ok", reward=1.0))
    assert sorted(bucket.list_all(new.root)) == before
    assert new.result("000000-000") is None
    delete_search(old)  # not the new one
    assert open_search(bucket, spec.name).record == new.record
    delete_search(new)
    assert list(bucket.list_all("searches/")) == []  # what the late task wrote is gone too


def test_search_deleted_under_a_reader(bucket, ledger, monkeypatch):
    """The hint was read before the deletion, the version after it: not damage, but a deleted search."""
    ledger.commit(ledger.head(), [make_summary(0)], SearcherState(), {})
    get = bucket.get

    def get_then_delete(key):
        found = get(key)
        if key.endswith("head.json"):
            monkeypatch.setattr(bucket, "get", get)
            delete_search(Ledger(bucket, ledger.record))
        return found

    monkeypatch.setattr(bucket, "get", get_then_delete)
    with pytest.raises(SearchDeleted, match="was deleted"):
        Ledger(bucket, ledger.record).newest()


def test_interrupted_deletion_can_be_brought_to_its_end(bucket, ledger, spec):
    ledger.head()

    def fail(keys):
        raise StoreError("the store is down")

    broken = Bucket(bucket.settings)
    broken.delete = fail
    with pytest.raises(StoreError):
        delete_search(Ledger(broken, ledger.record))
    for attempt in (lambda: open_search(bucket, spec.name), lambda: create(bucket, spec)):
        with pytest.raises(SearchDeleted, match=f"search {spec.name} is being deleted; `rlnas delete {spec.name}`"):
            attempt()
    with pytest.raises(SearchDeleted):
        ledger.check_alive()
    assert list_searches(bucket) == []
    delete_search(open_search(bucket, spec.name, deleting=True))
    assert list(bucket.list_all("searches/")) == []
    assert create(bucket, spec).version() == Version()


def test_creation_race_has_one_search(bucket, spec):
    ready = threading.Barrier(8)

    def race(_):
        mine = Bucket(bucket.settings)
        ready.wait()
        return create(mine, spec).record

    with ThreadPoolExecutor(8) as threads:
        assert len({record.incarnation for record in threads.map(race, range(8))}) == 1


# --- reading a large search (protocol test 12) ---


@pytest.fixture
def large(bucket):
    """12,800 children in 1,600 rounds, as they lie in the store when all are applied but not yet swept."""
    spec = make_spec(loop={"children": 12_800, "children_per_round": 8})
    ledger = create(bucket, spec)
    summaries = [make_summary(number, policy_version=number, children=8) for number in range(1600)]
    objects = {ledger.key(f"summaries/{s.round:06d}.json"): s.to_bytes() for s in summaries}
    for k in range(16):
        history = History(summaries=tuple(summaries[k * 100 : (k + 1) * 100]))
        objects[ledger.key(f"history/{k:06d}.json")] = history.to_bytes()
    leaders = tuple(
        Leader(child=f"{1599:06d}-{i:03d}", reward=1.0, tokens=(0, 0, 0), metrics={"score": 1.0}) for i in range(8)
    )
    version = Version(version=1600, low_mark=1600, children=12_800, leaders=leaders)
    objects[ledger.key("controllers/001600.safetensors")] = pack({}, version.model_dump(mode="json"))
    objects[ledger.key("head.json")] = b"1600"
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda item: bucket.put(*item), objects.items()))
    return ledger


def test_reading_a_wide_window(bucket):
    """As many listings for forty rounds under way as for one."""
    spec = make_spec(loop={"children": 200, "children_per_round": 2, "window": 40})
    ledger = create(bucket, spec)
    ledger.bucket.put(
        ledger.key("controllers/000000.safetensors"),
        pack({}, Version(low_mark=9, extras=(11,), children=22).model_dump(mode="json")),
    )
    for number in (8, 9, 11, 30, 48, 49):  # applied, under way, applied, under way twice, beyond
        ledger.create_result(f"{number:06d}-000", Result(status="ok", reward=0.5))
        for i in range(2):
            bucket.put(ledger.lease_key(f"{number:06d}-{i:03d}"), b"{}")
    ledger.create_snapshots("000048-001", b"weights")
    bucket.requests.clear()
    status = read_status(ledger)
    assert (status.children, status.running) == (22 + 3, 2)
    assert bucket.requests["LIST"] == 3 + 1


def test_reading_a_large_search(bucket, large):
    fresh = Bucket(bucket.settings)
    status = read_status(open_search(fresh, large.name))
    assert fresh.requests == {"GET": 3, "LIST": 1}
    assert (status.children, len(status.leaders), status.complete) == (12_800, 8, True)

    fresh = Bucket(bucket.settings)
    summaries = Ledger(fresh, large.record).summaries()
    assert [summary.round for summary in summaries] == list(range(1600))
    assert fresh.requests == {"GET": 17, "LIST": 1}

    bucket.delete([large.key("history/000015.json")])  # killed between the commit and the bundle
    assert [summary.round for summary in large.summaries()] == list(range(1600))
    stray = ["checkpoints/000003-001", "snapshots/000003-001", "snapshots/001599-007"]  # left by zombies
    kept = [f"snapshots/001599-{i:03d}" for i in range(5)]
    running = ["checkpoints/001600-000", "snapshots/001600-001"]
    for name in stray + kept + running:
        bucket.put(large.key(f"{name}.safetensors"), b"x")
    assert collect_garbage(large) == len(stray)
    left = [*bucket.list(large.key("checkpoints/")), *bucket.list(large.key("snapshots/"))]
    assert sorted(left) == sorted(large.key(f"{name}.safetensors") for name in kept + running)
    assert bucket.get(large.key("history/000015.json")) is not None
    assert collect_garbage(large) == 0
    assert finish(large).rounds == large.spec.loop.rounds


def test_history_is_bundled(bucket):
    """A hundred rounds that are all applied become one object; those above wait."""
    ledger = create(bucket, make_spec(loop={"children": 600}))
    summaries = [make_summary(number) for number in range(205)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ledger.create_summary, summaries))
    head = ledger.head()
    ledger.commit(head, [s for s in summaries if s.round != 50], head.state, {})
    assert bucket.list(ledger.key("history/")) == []
    assert ledger.summaries() == summaries
    ledger.commit(ledger.head(), [summaries[50]], head.state, {})
    assert bucket.list(ledger.key("history/")) == [ledger.key(f"history/{k:06d}.json") for k in range(2)]
    bucket.requests.clear()
    assert ledger.summaries() == summaries
    assert bucket.requests == {"GET": 3 + 5, "LIST": 2}


def test_version_says_what_is_in_it(ledger):
    """The metadata alone tells all: no tensor has to be read."""
    head = ledger.head()
    assert read_document(head.data)["memory"] == {"baseline": None}
    assert Version.model_validate(read_document(head.data)) == head.version
