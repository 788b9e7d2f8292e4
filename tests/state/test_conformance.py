"""The long check of a store: it passes on the real one, and finds each promise that something before it breaks."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from proxy import FaultyProxy, Reply
from waiting import wait_for

from rlnas.state import Crew, conformance, crew
from rlnas.state.bucket import Bucket
from rlnas.state.conformance import PROMISES, Check, check_store, verdict
from rlnas.state.settings import StoreSettings


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Check]:
    """Try one promise with few connections and small objects."""
    monkeypatch.setattr(conformance, "LARGE", 2_000_000)
    monkeypatch.setattr(conformance, "LISTED", 40)

    def found(name: str, *endpoints: StoreSettings) -> Check:
        promise = [promise for promise in PROMISES if promise.name == name]
        monkeypatch.setattr(conformance, "PROMISES", promise)
        with Crew(endpoints, connections=4) as four:
            (check,) = check_store(four, seconds=0)
        return check

    return found


def test_the_real_store_keeps_every_promise_through_two_endpoints_and_no_trace_stays(
    bucket: Bucket, proxied: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conformance, "LARGE", 9_000_000)  # more than one part, as SeaweedFS keeps it
    monkeypatch.setattr(conformance, "LISTED", 1_010)  # two pages
    with Crew([bucket.settings, proxied.settings], connections=6) as six:
        found = list(check_store(six, seconds=0))
    assert [(check.name, check.seen) for check in found if not check.ok] == []
    assert [check.name for check in found] == [promise.name for promise in PROMISES]
    assert verdict(found, single_writer=False) == conformance.KEPT
    assert all(check.operations for check in found)
    assert len(proxy.seen) > 100
    assert {path.partition("/probe/")[0].strip("/") for _, path in proxy.seen} == {bucket.settings.bucket}
    assert bucket.list("") == []
    assert set(bucket.folders("probe/")) <= {"probe/"}, "SeaweedFS keeps the folder itself, as after the short probe"


# --- what something before the store does to it ---


def drop(header: str) -> Callable[[FaultyProxy], None]:
    return lambda proxy: proxy.drop.add(header)


def twist(change: Callable[[str, str, Reply], Reply]) -> Callable[[FaultyProxy], None]:
    """Change answers."""

    def install(proxy: FaultyProxy) -> None:
        proxy.twist = lambda method, path, forward: change(method, path, forward())

    return install


def stale(*statuses: int) -> Callable[[FaultyProxy], None]:
    """A cache that keeps what it has read of these statuses."""

    def install(proxy: FaultyProxy) -> None:
        kept: dict[str, Reply] = {}

        def answer(method: str, path: str, forward: Callable[[], Reply]) -> Reply:
            name = path.partition("?")[0]
            if method == "GET" and "/probe/" in name:
                if name in kept:
                    return kept[name]
                reply = forward()
                if reply.status in statuses:
                    kept[name] = reply
                return reply
            return forward()

        proxy.twist = answer

    return install


def listing(pattern: bytes, new: bytes) -> Callable[[FaultyProxy], None]:
    return twist(lambda method, path, reply: reply._replace(data=re.sub(pattern, new, reply.data, flags=re.DOTALL)))


def forget_deletes(proxy: FaultyProxy) -> None:
    """Say that all was deleted, and delete nothing."""
    nothing = b'<?xml version="1.0"?><DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></DeleteResult>'
    xml = [("Content-Type", "application/xml")]
    proxy.twist = lambda method, path, forward: Reply(200, xml, nothing) if method == "POST" else forward()


def another_etag(method: str, path: str, reply: Reply) -> Reply:
    if method != "GET":
        return reply
    return reply._replace(headers=[(n, '"else"' if n.lower() == "etag" else v) for n, v in reply.headers])


CONTENTS = rb"<Contents>(?:(?!</Contents>).)*?list-00007\.json.*?</Contents>"
# The wrong key is seen before the right one is missed, or after, by who is faster.
NOBODY = ("left out 1 keys", "had 1 keys that are not there")
FAULTS: dict[str, tuple[Callable[[FaultyProxy], None], str, str | tuple[str, ...]]] = {
    "creates are puts": (drop("If-None-Match"), "create race", "4 of 4 were told that they created one object at once"),
    "replaces are puts": (drop("If-Match"), "replace race", "4 of 4 were told that they replaced one object at once"),
    "replaces overtake": (drop("If-Match"), "counter", "counter"),  # an update is lost, or a read goes back
    "creates sent twice": (drop("If-None-Match"), "lost answers", "sent twice took an object of others"),
    "other ETags": (twist(another_etag), "create race", 'with ETag "else" instead of '),
    "absence cached": (stale(404), "reads after writes", "gave nothing instead of 3 bytes"),
    "old content cached": (stale(200), "reads after writes", "after a replace, a read at"),
    "presence cached": (stale(200), "reads after deletes", "instead of nothing"),
    "hidden key": (listing(CONTENTS, b""), "listings", "left out 1 keys, such as probe/"),
    "key named twice": (listing(b"(%s)" % CONTENTS, rb"\1\1"), "listings", "out of order or named a key twice"),
    "key of nobody": (listing(rb"list-00007\.json", b"list-x.json"), "listings", NOBODY),
    "nothing deleted": (forget_deletes, "multi-delete", "after a delete of many keys, a read at"),
    "capitals lost": (listing(rb"A</Key>", rb"a</Key>"), "keys", "left out 1 keys"),
    "checksums ignored": (drop("Content-MD5"), "checksums", "of 4 writes were taken although Content-MD5"),
    "cut at 1 MB": (
        twist(lambda method, path, reply: reply._replace(data=reply.data[:1_000_000])),
        "large objects",
        "gave 1,000,000 bytes with",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_broken_promise_is_found(
    bucket: Bucket,
    proxied: Bucket,
    proxy: FaultyProxy,
    check: Callable[..., Check],
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    fault, name, words = FAULTS[case]
    if name == "counter":
        monkeypatch.setattr(crew, "FEWEST_ROUNDS", 25)  # one at a time they would lose nothing
    fault(proxy)
    found = check(name, proxied.settings)
    assert not found.ok
    assert any(word in found.seen for word in ([words] if isinstance(words, str) else words))
    bucket.delete(bucket.list(""))  # what the fault has kept from being swept


def test_a_store_that_keeps_half_an_object_is_found(
    bucket: Bucket, proxied: Bucket, proxy: FaultyProxy, check: Callable[..., Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the checksum SeaweedFS makes an empty object of a write that ends after its headers."""

    def until_it_is_there(_: float) -> None:
        wait_for(lambda: [key for key in bucket.list("probe/") if "-cut-new-" in key])

    monkeypatch.setattr(conformance, "time", SimpleNamespace(sleep=until_it_is_there, monotonic=time.monotonic))
    proxy.drop = {"Content-MD5"}
    found = check("cut-off writes", proxied.settings)
    assert not found.ok
    assert "after a write that was cut off, a read at" in found.seen


def test_one_endpoint_of_two_that_lags_is_named(
    bucket: Bucket, proxied: Bucket, proxy: FaultyProxy, check: Callable[..., Check]
) -> None:
    stale(404)(proxy)
    found = check("reads after writes", bucket.settings, proxied.settings)
    assert f"after a create, a read at {proxy.endpoint} gave nothing" in found.seen


@pytest.mark.parametrize("name", ["create race", "replace race", "large objects"])
def test_a_store_that_looks_before_it_writes_is_found(
    bucket: Bucket, check: Callable[..., Check], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each condition alone is kept, but not at once. So writes a bucket of a single writer."""
    monkeypatch.setattr(crew.Connection, "create", looking(crew.Connection.create))
    monkeypatch.setattr(crew.Connection, "replace", looking(crew.Connection.replace))
    found = check(name, bucket.settings)
    assert not found.ok
    assert "were told that they" in found.seen


def looking(write: Callable[..., str | None]) -> Callable[..., str | None]:
    def look(connection: crew.Connection, *arguments: object) -> str | None:
        settings = connection.settings
        connection.settings = replace(settings, single_writer=True)
        try:
            return write(connection, *arguments)
        finally:
            connection.settings = settings

    return look


def test_an_operation_that_the_store_does_not_know_is_a_broken_promise(
    proxied: Bucket, proxy: FaultyProxy, check: Callable[..., Check]
) -> None:
    """Some know no `If-Match`, and say so."""
    unknown = Reply(501, [], b"")
    proxy.twist = lambda method, path, forward: unknown if method == "PUT" and "-replace" in path else forward()
    found = check("replace race", proxied.settings)
    assert not found.ok
    assert "HTTP 501" in found.seen


# --- the verdict ---


def test_a_single_writer_needs_no_conditions(
    proxied: Bucket, proxy: FaultyProxy, check: Callable[..., Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.drop = {"If-None-Match", "If-Match"}
    alone = replace(proxied.settings, single_writer=True)
    for name in ("reads after writes", "reads after deletes", "checksums", "large objects"):
        found = check(name, alone)
        assert found.ok, found.seen
    monkeypatch.setattr(conformance, "PROMISES", PROMISES)
    with Crew([alone], connections=1) as one:
        assert not any(promise.conditional for promise in conformance.promised(one))
    assert verdict([found], single_writer=True).startswith(f"{conformance.KEPT}; races were left out")


def test_every_check_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs/commands.md").read_text("utf-8")
    table = text.partition("| check | what is tried |")[2].partition("\n\n")[0]
    explained = re.findall(r"^\| ([a-z -]+) \|", table, re.MULTILINE)
    assert explained == [promise.name for promise in PROMISES]


def test_the_verdict_names_what_is_broken_and_what_is_allowed() -> None:
    def checks(*broken: str) -> list[Check]:
        return [Check(p.name, p.name not in broken, "", 1, 1.0) for p in PROMISES]

    assert verdict(checks(), single_writer=False) == conformance.KEPT
    line = verdict(checks("create race", "counter"), single_writer=False)
    assert line.startswith("verdict: the store breaks 2: create race, counter; allowed: ")
    assert "RLNAS_STORE_SINGLE_WRITER=true" in line
    line = verdict(checks("create race", "listings"), single_writer=False)
    assert "RLNAS_STORE_SINGLE_WRITER" not in line, "which would not help"
