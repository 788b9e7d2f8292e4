"""A search as Prometheus sees it: asked by HTTP, read by Prometheus's own parser, held against the ledger."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from proxy import FaultyProxy
from report.made_up import make_up, spec_of
from searches import make_spec, run

from rlnas import steps
from rlnas.errors import UserError
from rlnas.report.metrics import serving
from rlnas.state import Bucket, Ledger, claim, delete_search

Samples = dict[tuple[str, ...], float]
STATES = ("ok", "failed", "lost", "finished", "running", "open")


def ask(address: str) -> Samples:
    """All samples: by name, and the values of the labels beside the search's name."""
    with urllib.request.urlopen(address) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        families = list(text_string_to_metric_families(answer.read().decode()))
    assert all(family.documentation for family in families)
    return {
        (sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "search")): sample.value
        for family in families
        for sample in family.samples
    }


@contextmanager
def asked(ledger: Ledger) -> Iterator[str]:
    with serving(Bucket(ledger.bucket.settings), ledger.name, "127.0.0.1:0") as address:
        yield address


def children(samples: Samples) -> dict[str, float]:
    """The states that any children are in; all states are told."""
    told = {state: samples["rlnas_children", state] for state in STATES}
    return {state: count for state, count in told.items() if count}


def test_the_numbers_are_those_of_the_ledger(bucket: Bucket) -> None:
    ledger = run(bucket.settings, make_spec(loop={"children": 6}))
    applied = [child for summary in ledger.summaries() for child in summary.children]
    version = ledger.version()
    with asked(ledger) as address:
        samples = ask(address)
    assert samples["rlnas_up",] == 1
    assert children(samples) == {"ok": 6}
    assert samples["rlnas_best_reward",] == version.leaders[0].reward
    assert samples["rlnas_child_seconds_count",] == 6
    assert samples["rlnas_child_seconds_sum",] == pytest.approx(sum(child.seconds for child in applied))
    assert samples["rlnas_staleness",] == version.numbers["staleness"] == 0


def test_prometheus_may_ask_for_openmetrics(bucket: Bucket) -> None:
    """As it does, unless told otherwise."""
    ledger = run(bucket.settings, make_spec())
    with asked(ledger) as address:
        wanted = urllib.request.Request(address, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        with urllib.request.urlopen(wanted) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            told = openmetrics.text_string_to_metric_families(answer.read().decode())
            families = {family.name: family for family in told}
    assert (families["rlnas_child_seconds"].type, families["rlnas_store_requests"].type) == ("summary", "counter")


def test_children_are_told_by_state_and_their_sum_is_the_budget(bucket: Bucket) -> None:
    spec = make_spec(loop={"children": 6, "children_per_round": 3, "children_per_batch": 1})
    ledger = steps.open_search(bucket, spec.name, spec)
    with asked(ledger) as address:
        assert children(ask(address)) == {"open": 6}
        first, *others = steps.sample_architecture(ledger)
        claim(ledger, others[0].names[0], "a task")
        assert children(ask(address)) == {"running": 1, "open": 5}
        steps.train_child(ledger, first, "another task")
        steps.evaluate(ledger, first)
        samples = ask(address)
        assert children(samples) == {"finished": 1, "running": 1, "open": 4}
        assert not {("rlnas_best_reward",), ("rlnas_staleness",)} & samples.keys(), "nothing is applied yet"
        for batch in others:
            steps.train_child(ledger, batch, "a task")
            steps.evaluate(ledger, batch)
        assert children(ask(address)) == {"ok": 3, "open": 3}, "complete, though not applied yet"
        steps.update_controller(ledger)
        assert children(ask(address)) == {"ok": 3, "open": 3}


def test_a_complete_round_is_read_once_however_often_prometheus_asks(bucket: Bucket) -> None:
    ledger = make_up(bucket, spec_of("tabular", "mine", 1_640), failing=0.3)  # 205 rounds: two bundles, and five more
    results = [child.result for summary in ledger.summaries() for child in summary.children]
    failed = sum(result.status == "failed" for result in results)
    with asked(ledger) as address:
        answers = [ask(address) for _ in range(3)]
    for samples in answers:
        assert children(samples) == {"ok": 1_640 - failed, "failed": failed}
        assert samples["rlnas_child_seconds_sum",] == pytest.approx(sum(result.seconds for result in results))
    sums = [sum(value for name, value in samples.items() if "requests" in name[0]) for samples in answers]
    assert sums[0] < 20, "a bundle is one request"
    assert sums[1] - sums[0] == sums[2] - sums[1] < 8


def test_a_search_that_is_deleted_and_made_anew_is_counted_anew(
    bucket: Bucket, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger = run(bucket.settings, make_spec())
    with asked(ledger) as address:
        assert children(ask(address)) == {"ok": 4}
        delete_search(ledger)
        samples = ask(address)
        assert samples["rlnas_up",] == 0
        assert not any(name[0] == "rlnas_children" for name in samples)
        steps.open_search(bucket, ledger.name, ledger.spec)
        assert children(ask(address)) == {"open": 4}
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"rlnas: search {ledger.name} cannot be read: no search '{ledger.name}' in the store")


def test_a_store_that_is_down_is_a_line_without_a_secret_and_is_asked_again(
    bucket: Bucket, proxied: Bucket, proxy: FaultyProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    ledger = run(bucket.settings, make_spec())
    with serving(proxied, ledger.name, "127.0.0.1:0") as address:
        assert ask(address)["rlnas_up",] == 1
        proxy.refuse = True
        assert ask(address)["rlnas_up",] == 0
        proxy.refuse = False
        assert ask(address)["rlnas_up",] == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert f"search {ledger.name} cannot be read: cannot read searches/{ledger.name}/search.json" in line
    for secret in (bucket.settings.access_key, bucket.settings.secret_key, "X-Amz-"):
        assert secret not in line


@pytest.mark.parametrize("listen", ["9090", "nowhere", "localhost:", ":65536", "http://localhost:9090", "::1:9090", ""])
def test_what_is_no_address_is_one_line(bucket: Bucket, listen: str) -> None:
    with (
        pytest.raises(UserError, match=r"^--listen: .* is no address; allowed: HOST:PORT"),
        serving(bucket, "x", listen),
    ):
        pass


def test_an_address_that_is_taken_is_one_line(bucket: Bucket) -> None:
    with serving(bucket, "x", "127.0.0.1:0") as address:
        taken = address.removeprefix("http://").removesuffix("/metrics")
        with pytest.raises(UserError, match=f"cannot listen at {taken}: .*; allowed"), serving(bucket, "x", taken):
            pass


def test_all_addresses_of_the_machine_are_listened_at(bucket: Bucket) -> None:
    ledger = run(bucket.settings, make_spec())
    with serving(bucket, ledger.name, ":0") as address:
        assert ask(address.replace("localhost", "127.0.0.1"))["rlnas_up",] == 1
