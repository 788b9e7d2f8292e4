"""A search that begins with an earlier one: what is copied, once, and that nothing depends on the other afterwards."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import searches
import torch
from searches import WRITES, in_process, killed_run, make_spec, outcome, renamed, run

from rlnas import steps
from rlnas.errors import SearchDeleted, StoreError, UserError
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, delete_search, open_search
from rlnas.state.earlier import COPY
from rlnas.steps.warm_start import look_up

GUIDED = {"kind": "guided", "samples": 8, "hidden": 8}
TEACHER = {"kind": "reinforce", "hidden": 8, "learning_rate": 0.1}


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (searches.TRAIN, searches.EVALUATE):
        monkeypatch.setattr(step, "run_in_processes", searches.run_inline)


@pytest.fixture
def earlier(bucket: Bucket) -> Ledger:
    """A finished search, six children of a table."""
    return run(bucket.settings, make_spec(controller=TEACHER, loop={"children": 6}))


def begin(earlier: Ledger, controller: dict = GUIDED, kind: str = "tabular", **sections: dict) -> SearchSpec:
    """The spec of a search that begins with it."""
    warm_start = {"search": earlier.name} | sections.pop("warm_start", {})
    return make_spec(kind, controller=controller, warm_start=warm_start, **sections)


def copies(bucket: Bucket, name: str) -> list[str]:
    return [key for key in keys(bucket, name) if key.endswith(COPY)]


def keys(bucket: Bucket, name: str) -> list[str]:
    return list(bucket.list_all(f"searches/{name}/"))


def told(ledger: Ledger) -> list[tuple]:
    return [(c.tokens, c.result.reward) for summary in ledger.summaries() for c in summary.children]


def test_children_and_controller_are_copied_and_the_record_says_whose(bucket, earlier):
    spec = begin(earlier)
    ledger = steps.open_search(bucket, spec.name, spec)
    assert ledger.record.warm_start.model_dump() == {
        "search": earlier.name,
        "incarnation": earlier.record.incarnation,
        "spec_sha256": earlier.record.spec_sha256,
        "version": 3,
        "children": 6,
        "controller": True,
    }
    assert [(t.tokens, t.reward) for t in ledger.earlier.trials] == told(earlier)
    assert all(t.earlier == earlier.spec.space and t.scored and "score" in t.metrics for t in ledger.earlier.trials)
    theirs, mine = earlier.head().state.tensors, ledger.head().state.tensors
    assert set(mine) == {name for name in theirs if name.startswith("policy/")}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def test_only_the_children(bucket, earlier):
    spec = begin(earlier, warm_start={"controller": False})
    ledger = steps.open_search(bucket, spec.name, spec)
    cold = make_spec(controller=GUIDED)
    fresh = steps.open_search(bucket, cold.name, cold)
    assert len(ledger.earlier.trials) == 6
    assert not ledger.record.warm_start.controller
    assert ledger.head().data == fresh.head().data, "version 0 is that of a search that begins with nothing"


def test_its_own_children_alone_count(bucket, earlier):
    spec = begin(earlier, loop={"children": 4})
    ledger = run(bucket.settings, spec)
    version = ledger.version()
    assert version.children == len(told(ledger)) == len(ledger.history(version)) == 4
    assert {leader.reward for leader in version.leaders} == {reward for _, reward in told(ledger)}
    assert version.memory["count"] == 4
    plans = [ledger.plan(number) for number in range(2)]
    assert "random" not in {child.by for child in plans[0].children}, "it chooses from the first child on"
    best = max(told(earlier), key=lambda pair: pair[1])[0]
    assert best in {tokens for tokens, _ in told(ledger)}, "what was good before is tried again"


def test_the_earlier_search_may_be_deleted_at_once(bucket, earlier):
    spec = begin(earlier)
    twin = renamed(spec)
    undisturbed = run(bucket.settings, twin)
    ledger = steps.open_search(bucket, spec.name, spec)
    delete_search(earlier)
    assert outcome(run(bucket.settings, spec)) == outcome(undisturbed)
    assert steps.open_search(bucket, spec.name, spec).record == ledger.record, "the same spec opens the same search"


def test_what_the_earlier_search_learns_later_is_not_seen(bucket):
    earlier = run(bucket.settings, make_spec(controller=TEACHER, loop={"children": 2}))
    longer = earlier.spec.model_copy(update={"loop": earlier.spec.loop.model_copy(update={"children": 8})})
    other = steps.open_search(bucket, "longer", longer.model_copy(update={"name": "longer"}))
    for task in ("a", "b"):
        (batch,) = steps.sample_architecture(other)
        steps.train_child(other, batch, task)
        steps.evaluate(other, batch)
        if task == "a":
            steps.update_controller(other)
    spec = begin(other)
    ledger = steps.open_search(bucket, spec.name, spec)
    assert ledger.record.warm_start.children == 2, "the second round has ended, but is not applied"
    steps.update_controller(other)
    again = steps.open_search(bucket, spec.name, spec)
    assert (again.record, len(again.earlier.children)) == (ledger.record, 2)


def test_reinforce_starts_from_the_controller(bucket, earlier):
    spec = begin(earlier, TEACHER)
    ledger = run(bucket.settings, spec)
    start, theirs = ledger.controller(0), earlier.head()
    assert all(torch.equal(tensor, theirs.state.tensors[name]) for name, tensor in start.state.tensors.items())
    assert start.version.memory == {"baseline": None}, "rewards of two searches cannot be compared"
    assert not any(name.startswith("adam/") for name in start.state.tensors)
    cold = run(bucket.settings, make_spec(controller=TEACHER))
    assert ledger.plan(0).children[0].log_probability != cold.plan(0).children[0].log_probability


def test_an_earlier_search_of_any_controller_has_children(bucket):
    earlier = run(bucket.settings, make_spec(controller={"kind": "random"}))
    spec = begin(earlier)
    with pytest.raises(UserError) as error:
        steps.open_search(bucket, spec.name, spec)
    assert str(error.value) == (
        f"warm_start.controller: search {earlier.name}, whose controller is random, has no weights of the size of this"
        " one (policy/start); allowed: a controller of the same size, or false"
    )
    spec = begin(earlier, warm_start={"controller": False})
    assert len(steps.open_search(bucket, spec.name, spec).earlier.trials) == 4


def test_depth_may_differ(bucket):
    cnn = {"layers": 2, "filters": [2, 4], "filter_heights": [1, 3], "filter_widths": [1, 3]}
    earlier = run(bucket.settings, make_spec("cnn", controller=TEACHER))
    for layers in (1, 3):
        spec = begin(earlier, kind="cnn", space=cnn | {"layers": layers, "max_layers": layers}, loop={"children": 2})
        ledger = run(bucket.settings, spec)
        assert {len(spec.space.decode(tokens).layers) for tokens, _ in told(ledger)} == {layers}


UNFIT = (
    ({"controller": GUIDED | {"hidden": 9}}, "warm_start.controller: .*no weights of the size of this one"),
    ({"space": {"choices": [3, 3]}}, "warm_start.search: .* has 3 options of decision 3; allowed: 0, as in this one"),
    ({"space": {"choices": [3, 2, 3]}}, "has 3 options of decision 2; allowed: 2, as in this one"),
    ({"warm_start": {"search": "nobody"}}, "warm_start.search: no search 'nobody' in the store; `rlnas list`"),
    ({"warm_start": {"search": "No Name"}}, "warm_start.search: name: 'No Name' cannot name a search"),
    ({"kind": "cnn"}, "warm_start.search: search .* is of space tabular; allowed: a search of space cnn"),
)


def test_what_does_not_fit_is_one_line(bucket, earlier):
    for sections, words in UNFIT:
        with pytest.raises(UserError, match=words):
            look_up(bucket, begin(earlier, **sections), earlier.shape)


def test_a_search_without_children_is_nothing_to_begin_with(bucket):
    other = make_spec()
    ledger = steps.open_search(bucket, other.name, other)
    spec = begin(ledger)
    with pytest.raises(UserError, match=f"search {other.name} has no finished round yet; allowed: a search that has"):
        steps.open_search(bucket, spec.name, spec)
    ledger.head()
    with pytest.raises(UserError, match="no finished round yet"):
        steps.open_search(bucket, spec.name, spec)
    assert keys(bucket, spec.name) == []


def test_one_that_is_deleted_meanwhile(bucket, earlier):
    spec = begin(earlier)
    bucket.delete([earlier.key("summaries/000001.json")])
    with pytest.raises(StoreError, match="has 6 children, but summaries of 4"):
        look_up(bucket, spec, earlier.shape)
    marked = earlier.record.model_copy(update={"deleting": True})
    bucket.put(f"searches/{earlier.name}/search.json", marked.to_bytes())
    with pytest.raises(SearchDeleted, match="is being deleted"):
        look_up(bucket, spec, earlier.shape)


def test_two_creators_at_once(bucket, earlier):
    spec = begin(earlier)
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda _: steps.open_search(Bucket(bucket.settings), spec.name, spec), range(4)))
    assert len({ledger.root for ledger in opened}) == 1
    assert copies(bucket, spec.name) == [opened[0].key(COPY)], "who was second took its copy away"


def test_a_copy_that_is_gone_or_damaged_is_an_error(bucket, earlier):
    spec = begin(earlier)
    ledger = steps.open_search(bucket, spec.name, spec)
    bucket.put(ledger.key(COPY), b"nonsense")
    with pytest.raises(StoreError, match=f"{COPY} is damaged"):
        steps.sample_architecture(open_search(bucket, spec.name))
    bucket.delete([ledger.key(COPY)])
    with pytest.raises(StoreError, match=f"{COPY} is missing: search {spec.name} is damaged"):
        steps.sample_architecture(open_search(bucket, spec.name))


def test_killed_after_every_write_until_the_first_child_is_trained(bucket, earlier):
    spec = begin(earlier)
    undisturbed = outcome(run(bucket.settings, renamed(spec)))
    seen = []
    while not seen or "leases/" not in seen[-1]:
        twin, nth = renamed(spec), len(seen) + 1

        def killed(twin=twin, nth=nth):
            def when(number, method, key):
                if number == nth:
                    Bucket(bucket.settings).put(f"killed/{nth}", key.encode())
                return number == nth

            killed_run(bucket.settings, twin, when, WRITES)

        def continued(twin=twin):
            searches.inline()
            run(bucket.settings, twin)

        assert in_process(killed) == -signal.SIGKILL
        seen.append(bucket.get(f"killed/{nth}").data.decode())
        assert in_process(continued) == 0
        assert outcome(open_search(bucket, twin.name)) == undisturbed
    assert COPY in seen[0], "the copy is the first"
    assert seen[1].endswith("/search.json")
    bucket.delete(bucket.list_all("killed/"))


def test_a_search_that_is_deleted_leaves_no_copy_of_a_killed_creator(bucket, earlier):
    spec = begin(earlier)
    bucket.put(f"searches/{spec.name}/0123456789abcdef/{COPY}", b"of a creator that was killed")
    delete_search(steps.open_search(bucket, spec.name, spec))
    assert keys(bucket, spec.name) == []
