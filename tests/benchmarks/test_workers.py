"""The measure of workers: two of them on a small search, counted requests, and objects that do not add up."""

import hashlib
from pathlib import Path

import pytest
from searches import renamed

from benchmarks import workers
from rlnas import steps
from rlnas.state import Bucket, Ledger, child_id
from rlnas.tensors import pack


@pytest.fixture
def ledger(bucket: Bucket, tmp_path: Path) -> Ledger:
    spec = workers.make_spec(tmp_path, 3 * workers.CHILDREN_PER_ROUND)
    spec = renamed(spec)
    return steps.open_search(bucket, spec.name, spec)


def test_workers_of_which_one_is_killed_keep_all_promises(ledger: Ledger, tmp_path: Path) -> None:
    log = tmp_path / "requests"
    assert workers.run_workers(ledger, 2, 16, log) in (1, 2), "the last one may come too late"
    workers.check(ledger)
    sent = workers.requests(log)
    assert set(sent) == {"GET", "PUT", "LIST", "DELETE"}
    assert sent["PUT"] >= 4 * 3 * workers.CHILDREN_PER_ROUND, "a lease twice, a snapshot and a result"


def test_what_does_not_add_up_is_seen(ledger: Ledger) -> None:
    bucket, rounds = ledger.bucket, ledger.spec.loop.rounds
    steps.work(ledger, "a", workers.HOUR, rounds)
    workers.check(ledger)
    child, beyond = child_id(0, 0), ledger.key(f"plans/{rounds:06d}.json")
    result = bucket.get(ledger.key(f"results/{child}.json"))
    plan = bucket.get(ledger.key("plans/000000.json"))
    assert result
    assert plan
    bucket.put(beyond, plan.data)
    with pytest.raises(AssertionError, match="beyond the budget"):
        workers.check(ledger)
    bucket.delete([beyond])
    bucket.put(ledger.key(f"results/{child}.json"), result.data.replace(b'"attempts":1', b'"attempts":2'))
    with pytest.raises(AssertionError, match="the summary has the result"):
        workers.check(ledger)
    bucket.put(ledger.key(f"results/{child}.json"), result.data)
    last = ledger.controller(rounds)
    assert last
    again = last.version.model_copy(
        update={"version": rounds + 1, "parent_sha256": hashlib.sha256(last.data).hexdigest()}
    )
    bucket.put(ledger.key(f"controllers/{rounds + 1:06d}.safetensors"), pack({}, again.model_dump(mode="json")))
    with pytest.raises(AssertionError, match="each round is in one update"):
        workers.check(ledger)


def test_what_a_request_asks_for() -> None:
    host = "http://127.0.0.1:1/rlnas"
    assert workers.kind_of("GET", f"{host}/searches/a/f00/plans/000001.json?X-Amz-Date=1") == "GET plans"
    assert workers.kind_of("GET", f"{host}?list-type=2&prefix=searches%2Fa%2Ff00%2Fleases%2F") == "LIST leases"
    assert workers.kind_of("POST", f"{host}?delete=") == "DELETE search"
    assert workers.kind_of("PUT", f"{host}/searches/a/f00/head.json") == "PUT head.json"


def test_a_run_of_workers_is_few_pods(tmp_path: Path) -> None:
    runs = workers.LARGE * workers.PODS_GOAL // workers.pods_of_a_run(tmp_path)
    assert runs >= 16, "days, of at least five children an hour and worker"
