"""The end of a run: swept up; and what a whole search asks of the store (protocol test 12)."""

from dataclasses import replace

from searches import in_process, make_spec

from rlnas import steps
from rlnas.state import Bucket, open_search


def test_reached_or_not(make_ledger):
    ledger = make_ledger(loop={"children": 4, "children_per_round": 2})
    assert steps.finish(ledger).rounds == 0
    for rounds in (1, 2):
        (batch,) = steps.sample_architecture(ledger)
        steps.train_child(ledger, batch, "a")
        steps.evaluate(ledger, batch)
        steps.update_controller(ledger)
        version = steps.finish(ledger)
        assert version.rounds == rounds
        assert version == ledger.version()


def test_sweeps_what_zombies_left(make_ledger):
    ledger = make_ledger(loop={"children": 8, "children_per_round": 8})
    (batch,) = steps.sample_architecture(ledger)
    steps.train_child(ledger, batch, "a")
    steps.evaluate(ledger, batch)
    version = steps.update_controller(ledger)
    best = {f"snapshots/{leader.child}.safetensors" for leader in version.leaders[:5]}
    stored = lambda: {key.removeprefix(ledger.root) for key in ledger.bucket.list_all(ledger.root)}  # noqa: E731
    assert {name for name in stored() if name.startswith(("snapshots/", "checkpoints/"))} == best
    clean = stored()
    for child in batch.names:
        ledger.create_snapshots(child, b"late")
        ledger.bucket.put(ledger.checkpoint_key(child), b"late")
    assert stored() > clean
    steps.finish(ledger)
    assert stored() == clean


def test_requests_of_a_round(bucket, proxy):
    """12 or fewer a child for a round of eight in one batch, counted on the wire, those of all processes included."""
    settings = replace(bucket.settings, endpoint=proxy.endpoint)
    spec = make_spec(loop={"children": 16, "children_per_round": 8})

    def one_round():
        def ledger():  # every step is a task of its own, which opens the search anew
            return open_search(Bucket(settings), spec.name)

        for batch in steps.sample_architecture(ledger()):
            steps.train_child(ledger(), batch, "a")
            steps.evaluate(ledger(), batch)
        steps.update_controller(ledger())

    def whole_run():
        steps.open_search(Bucket(settings), spec.name, spec)
        steps.plan_rounds(open_search(Bucket(settings), spec.name), 0)
        for _ in range(2):
            one_round()
        steps.finish(open_search(Bucket(settings), spec.name))

    steps.open_search(bucket, spec.name, spec)
    proxy.seen.clear()
    assert in_process(one_round) == 0
    assert len(proxy.seen) <= 12 * 8, len(proxy.seen)
    print("requests of a round:", len(proxy.seen))
    other = make_spec(loop={"children": 16, "children_per_round": 8})
    spec = other
    proxy.seen.clear()
    assert in_process(whole_run) == 0
    print("requests of a run of two rounds:", len(proxy.seen))
    assert open_search(bucket, spec.name).version().children == 16
