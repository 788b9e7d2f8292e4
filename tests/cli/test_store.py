"""`rlnas store check`."""

import json
import os
import signal
import threading
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from proxy import FaultyProxy, Reply
from searches import start
from waiting import join, wait_for

from rlnas import cli
from rlnas.state import Bucket, conformance


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "LARGE", 2_000_000)
    monkeypatch.setattr(conformance, "LISTED", 40)


def test_a_sound_store_gets_a_verdict(rlnas: Any, bucket: Bucket) -> None:
    status, out, err = rlnas("store", "check", "--seconds", "0")
    assert (status, err) == (0, "")
    assert f"bucket {bucket.settings.bucket} at {bucket.settings.endpoint}\n" in out
    assert "ok      create race          2 races of 16 writers, one winner each (" in out
    assert f"{conformance.KEPT}\n" in out
    assert bucket.list("") == []


def test_a_broken_one_likewise_and_endpoints_are_those_of_both_variables(
    rlnas: Any, bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.drop = {"If-None-Match"}
    monkeypatch.setenv("RLNAS_STORE_ENDPOINTS", f"http://{proxy.endpoint}, {bucket.settings.endpoint},")
    status, out, _ = rlnas("store", "check", "--seconds", "0", "--json")
    assert status == 1
    said = json.loads(out)
    assert said["endpoints"] == [bucket.settings.endpoint, proxy.endpoint]
    broken = {check["name"] for check in said["checks"] if not check["ok"]}
    assert {"create race", "lost answers"} <= broken
    assert not said["ok"]
    assert said["verdict"].startswith(f"verdict: the store breaks {len(broken)}: ")
    assert {"name", "ok", "seen", "operations", "seconds", "rate"} == set(said["checks"][0])
    assert bucket.list("") == []


def test_one_that_is_full_is_not_called_broken(rlnas: Any, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlnas.cli.store.PATIENCE", 0.1)
    monkeypatch.setenv("RLNAS_STORE_ENDPOINT", proxy.endpoint)
    proxy.twist = lambda method, path, forward: Reply(507, [], b"") if method == "PUT" else forward()
    status, out, err = rlnas("store", "check")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "no space left in the store" in err


def test_an_endpoint_that_cannot_be_one_is_named(rlnas: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLNAS_STORE_ENDPOINTS", "ftp://elsewhere")
    status, out, err = rlnas("store", "check")
    assert (status, out) == (2, "")
    assert err.startswith("rlnas: RLNAS_STORE_ENDPOINTS: ftp://elsewhere: ")
    assert "allowed are http:// and https://" in err


@pytest.mark.parametrize("write", [1, 50])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_interrupted_leaves_no_trace(
    rlnas: Any, bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, number: int, write: int
) -> None:
    monkeypatch.setattr("sys.argv", ["rlnas", "store", "check", "--seconds", "3600"])
    monkeypatch.setenv("RLNAS_STORE_ENDPOINT", proxy.endpoint)
    written, told, writes = threading.Event(), threading.Event(), count(1)

    def hold(method: str, path: str, forward: Callable[[], Reply]) -> Reply:
        reply = forward()
        if method == "PUT" and next(writes) == write:
            written.set()
            told.wait()
        return reply

    proxy.twist = hold

    def work() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.main()

    process = start(work)
    wait_for(written.is_set)
    os.kill(process.pid, number)
    told.set()
    assert join(process) == 130
    assert bucket.list("") == []
