"""Whatever is killed, run twice or run elsewhere: the search comes to the same (protocol tests 3, 4)."""

import os
import signal
import subprocess
import sys

import pytest
import searches
from searches import KINDS, WRITES, in_process, killed_run, make_spec, outcome, renamed, run, start
from waiting import join

from rlnas.state import Bucket, open_search


@pytest.fixture(params=KINDS)
def spec(request):
    return make_spec(request.param)


KNOWN = {}


@pytest.fixture
def undisturbed(bucket, spec):
    """What the search comes to when nobody disturbs it; its name makes no difference."""
    kind = spec.space.kind
    if kind not in KNOWN:
        twin = renamed(spec)
        assert in_process(run, bucket.settings, twin) == 0
        KNOWN[kind] = outcome(open_search(bucket, twin.name))
    return KNOWN[kind]


def count_calls(bucket, spec):
    """How many calls to the store a whole search makes."""
    twin, key = renamed(spec), f"calls-of-{spec.name}"

    def counted():
        counts = []
        killed_run(bucket.settings, twin, lambda number, *_: counts.append(number), searches.CALLS)
        Bucket(bucket.settings).put(key, str(len(counts)).encode())

    assert in_process(counted) == 0
    return int(bucket.get(key).data)


def kill_and_continue(bucket, spec, undisturbed, when, methods=searches.CALLS, prepare=lambda: None):
    twin = renamed(spec)

    def killed():
        prepare()
        killed_run(bucket.settings, twin, when, methods)

    def continued():
        searches.inline()
        run(bucket.settings, twin)

    assert in_process(killed) == -signal.SIGKILL
    assert in_process(continued) == 0
    assert outcome(open_search(bucket, twin.name)) == undisturbed


def test_undisturbed_search(bucket, spec, undisturbed):
    """The yardstick of this file is a whole search itself."""
    rounds = range(spec.loop.rounds)
    names = {f"controllers/{v:06d}.safetensors" for v in (*rounds, spec.loop.rounds)}
    names |= {f"plans/{r:06d}.json" for r in rounds} | {f"summaries/{r:06d}.json" for r in rounds}
    children = [f"{r:06d}-{i:03d}" for r in rounds for i in range(spec.loop.children_per_round)]
    names |= {f"results/{child}.json" for child in children}
    names |= {f"snapshots/{child}.safetensors" for child in children}  # four children: all among the best five
    assert set(undisturbed) == names
    assert all(undisturbed[f"results/{child}.json"]["status"] == "ok" for child in children)


@pytest.mark.parametrize("spec", ["tabular"], indirect=True)
def test_killed_at_every_write(bucket, spec, undisturbed):
    """Between two writes the store is the same: these are all the states that a kill can leave behind."""
    assert searches.killed_at_every_write(lambda: run(bucket.settings, spec)) > 25
    assert outcome(open_search(bucket, spec.name)) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["tabular"], indirect=True)
def test_kill_after_every_call(bucket, spec, undisturbed):
    """A kill for each search. Reads included, and so before every call as well, the first one's excepted."""
    calls = count_calls(bucket, spec)
    for k in range(1, calls + 1):
        kill_and_continue(bucket, spec, undisturbed, lambda number, *_, k=k: number == k)


@pytest.mark.parametrize("folder", ["plans/", "leases/", "snapshots/", "results/", "summaries/", "controllers/"])
def test_kill_and_resume(bucket, spec, undisturbed, folder):
    """In every space: at the second round, after the first write of each kind."""

    def when(number, method, key):
        second = "000002" if folder == "controllers/" else "000001"
        return f"{folder}{second}" in key

    kill_and_continue(bucket, spec, undisturbed, when, WRITES)


@pytest.mark.parametrize("spec", ["cnn", "rnn"], indirect=True)
@pytest.mark.parametrize("nth", [1, 4])
def test_kill_after_a_checkpoint(bucket, spec, undisturbed, nth):
    """A child is resumed from its checkpoint, and becomes what it would have become."""
    seen = []

    def when(number, method, key):
        seen.extend([key] if "checkpoints/" in key and method != "delete" else [])
        return len(seen) == nth

    kill_and_continue(bucket, spec, undisturbed, when, WRITES, prepare=searches.checkpoint_every_step)


@pytest.mark.parametrize("spec", ["tabular"], indirect=True)
@pytest.mark.parametrize("folder", ["leases/000000-000", "leases/000001-001", "snapshots/000000-001"])
def test_kill_on_another_host(bucket, spec, undisturbed, folder):
    """Who cannot see that a process is dead waits for its lease to expire, by its own clock."""
    import socket

    spec = make_spec(failures={"lease_seconds": 1})

    def elsewhere():
        socket.gethostname = lambda: "elsewhere"

    kill_and_continue(bucket, spec, undisturbed, lambda number, method, key: folder in key, WRITES, prepare=elsewhere)


@pytest.mark.parametrize("spec", ["tabular"], indirect=True)
def test_kill_while_opening(bucket, spec):
    """The probe included."""
    for k in (1, 8, 24):
        twin = renamed(spec)

        def killed(twin=twin, k=k):
            searches.on_call(lambda number, *_: number >= k and os.kill(os.getpid(), signal.SIGKILL))
            searches.steps.open_search(Bucket(bucket.settings), twin.name, twin)

        in_process(killed)
        searches.steps.open_search(bucket, twin.name, twin)
        assert searches.steps.open_search(bucket, twin.name, None).spec == twin


def test_two_runs_at_once(bucket, spec, undisturbed):
    twin = renamed(spec)
    processes = [start(run, bucket.settings, twin, task) for task in ("a", "b")]
    assert [join(process) for process in processes] == [0, 0]
    assert outcome(open_search(bucket, twin.name)) == undisturbed


@pytest.mark.parametrize("attempt", range(2))
def test_two_runs_in_batches_at_once(bucket, attempt):
    """The batches of a round end in any order, and are begun by both."""
    spec = make_spec(loop={"children": 12, "children_per_round": 4, "children_per_batch": 1})
    twin = renamed(spec)
    assert in_process(run, bucket.settings, spec) == 0
    processes = [start(run, bucket.settings, twin, task) for task in ("a", "b")]
    assert [join(process) for process in processes] == [0, 0]
    assert outcome(open_search(bucket, twin.name)) == outcome(open_search(bucket, spec.name))


@pytest.mark.parametrize("prepare", [searches.checkpoint_every_step, searches.checkpoint_never])
def test_kill_again_and_again(bucket, spec, undisturbed, prepare):
    """The whole run, with all its processes, a little later each time; on machines endlessly slow, and endlessly fast.

    Each process goes on counting where its parent was when it was begun.
    """
    twin = renamed(spec)

    def killed(writes):
        prepare()
        searches.on_call(lambda number, *_: os.killpg(0, signal.SIGKILL) if number == writes else None, WRITES)
        run(bucket.settings, twin)

    ends = []
    while not ends or ends[-1]:
        ends.append(in_process(killed, 4 + 3 * len(ends)))
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert len(ends) > 5
    assert outcome(open_search(bucket, twin.name)) == undisturbed


@pytest.mark.parametrize("spec", ["tabular", "cnn"], indirect=True)
def test_fresh_processes(bucket, spec, undisturbed, tmp_path):
    """Another interpreter, another order of hashes, another number of threads: the same bytes."""
    twin = renamed(spec)
    (tmp_path / "spec.json").write_text(twin.model_dump_json())
    code = (
        "import os, sys, searches; from rlnas.spec import load_spec; from rlnas.state import StoreSettings;"
        "searches.run(StoreSettings.from_environment(os.environ), load_spec(sys.argv[1]))"
    )
    environment = os.environ | bucket.settings.to_environment()
    environment |= {"PYTHONHASHSEED": "7", "PYTHONPATH": os.path.dirname(searches.__file__)}
    subprocess.run([sys.executable, "-c", code, tmp_path / "spec.json"], env=environment, check=True)
    assert outcome(open_search(bucket, twin.name)) == undisturbed
