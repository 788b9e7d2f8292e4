"""The ledger on a real store: the chain of controllers, and what it costs to read a large search."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import searches
from searches import make_spec
from state.made_up import create, make_summary

from rlnas.controller import SearcherState
from rlnas.errors import SearchDeleted, StoreError
from rlnas.report import read_status
from rlnas.state import Bucket, Ledger, Plan, PlannedChild, Result, collect_garbage, delete_search, open_search
from rlnas.state.records import History, Leader, Version
from rlnas.steps import finish, sample_architecture, update_controller
from rlnas.tensors import pack, read_document

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


def test_version_says_what_is_in_it(ledger):
    """The metadata alone tells all: no tensor has to be read."""
    head = ledger.head()
    assert read_document(head.data)["memory"] == {"baseline": None}
    assert Version.model_validate(read_document(head.data)) == head.version


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
