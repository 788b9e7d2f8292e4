"""Whether a store keeps every promise that a search rests on, tried by many connections at once.

`Bucket.probe` is the short form, at every open. This is the long one, for a person who sets up a store: a promise that
is broken once in a thousand times is broken. docs/state.md says what rests on which.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from rlnas.errors import StoreError, one_line
from rlnas.state.bucket import CREATE, PAGE, REPLACE, Object
from rlnas.state.crew import Broken, Connection, Crew, compare_keys, demand
from rlnas.state.settings import SINGLE_WRITER

LARGE = 64_000_000  # bytes; above the parts of all stores, and of the size of a large child's snapshot
RACERS = 3  # with large objects
LISTED = 2 * PAGE + 100  # keys: three pages
GRACE = 1.0  # seconds for a store to see that a connection has ended
# Names of rlnas's own objects, of files with a person's data, and pairs that a careless store takes for one.
NAMES = (
    "000002-007.json",
    "000003.safetensors",
    "model_1.pt2",
    "a",
    "A",
    "a b",
    "a+b",
    "a%20b",
    "x=1&y?#z",
    "it's (1), @2: $3; *4!",
    "~größe-日本",
    "n" * 120,
)
KEPT = "verdict: the store keeps every promise that a search rests on"
ALLOWED = (
    "a store with conditional writes, reads and listings that show every write at once, and checked Content-MD5, with"
    " nothing before it that changes requests or answers; such as SeaweedFS 4.48"
)


@dataclass(frozen=True)
class Check:
    """What became of one promise.

    Attributes:
        name: of the promise.
        ok: whether it was kept.
        seen: what was done, or what the store did wrong.
        operations: requests that it took.
        seconds: that it took.
    """

    name: str
    ok: bool
    seen: str
    operations: int
    seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.operations / max(self.seconds, 1e-9)


def check_store(crew: Crew, seconds: float) -> Iterator[Check]:
    """Try one promise after the other. Where the store is said to be for a single writer, races are left out.

    Args:
        crew: who tries; each check leaves nothing behind.
        seconds: how long the checks that go on for a time take, all together.

    Raises:
        StoreError: the store does not answer any more.
    """
    crew.ends[0].put(crew.key("-first"), b"")  # SeaweedFS makes room for a bucket with its first object
    promises = promised(crew)
    for promise in promises:
        crew.give(seconds / sum(other.timed for other in promises) if promise.timed else 0)
        before, began = crew.requests, time.monotonic()
        try:
            ok, seen = True, promise.keep(crew)
        except (Broken, StoreError) as error:
            ok, seen = False, one_line(error)
        check = Check(promise.name, ok, seen, crew.requests - before, time.monotonic() - began)
        crew.sweep()
        yield check


def verdict(checks: Sequence[Check], single_writer: bool) -> str:
    """Say in one line what the checks have found."""
    broken = [check.name for check in checks if not check.ok]
    if not broken:
        return KEPT + f"; races were left out, because {SINGLE_WRITER} is true" * single_writer
    races = {promise.name for promise in PROMISES if promise.conditional}
    alone = f", or {SINGLE_WRITER}=true (overlapping runs are then unsafe)" * (set(broken) <= races)
    return f"verdict: the store breaks {len(broken)}: {', '.join(broken)}; allowed: {ALLOWED}{alone}"


# --- conditional writes ---


def _create_race(crew: Crew) -> str:
    number = 0
    for number in crew.rounds():
        key = crew.key(f"-create-{number}")
        content, etag = crew.race(key, _contents(crew, number), None, held=number % 2 == 1)
        crew.expect(key, Object(content, etag), "a create race")
    return f"{number + 1:,} races of {len(crew.connections)} writers, one winner each"


def _replace_race(crew: Crew) -> str:
    key, number = crew.key("-replace"), 0
    etag = _created(crew.ends[0], key, b"first")
    for number in crew.rounds():
        before = etag
        content, etag = crew.race(key, _contents(crew, number), before, held=number % 2 == 1)
        late = crew.connections[number % len(crew.connections)]
        demand(late.replace(key, b"late", before) is None, "an object that had changed was replaced")
        crew.expect(key, Object(content, etag), "a replace race")
    return f"{number + 1:,} races of {len(crew.connections)} writers, one winner each"


def _counter(crew: Crew) -> str:
    """Everybody raises one counter, as fast as he can."""
    key, lock, reached = crew.key("-counter"), threading.Lock(), 0
    _created(crew.ends[0], key, b"0 by nobody")

    def value(found: Object | None) -> int:
        number = b"" if found is None else found.data.partition(b" ")[0]
        return int(number) if number.isdigit() else -1

    def raise_it(connection: Connection, i: int) -> int:
        nonlocal reached
        wins = 0
        for _ in crew.rounds():
            least, found = reached, connection.get(key)
            now = value(found)
            demand(now >= least, f"a read gave {now} after a counter had been raised to {least}")
            if found is not None and connection.replace(key, b"%d by %d" % (now + 1, i), found.etag) is not None:
                wins += 1
                with lock:
                    reached = max(reached, now + 1)
        return wins

    wins, end = sum(crew.each(raise_it)), value(crew.ends[-1].get(key))
    demand(wins == end, f"a counter that was raised {wins} times stands at {end}: an update was lost")
    return f"raised {wins:,} times by {len(crew.connections)} writers, no update lost"


def _lost_answers(crew: Crew) -> str:
    """A write whose answer is lost is sent again, and the refusal of it is told from that of a loser."""
    for i, connection in enumerate(crew.ends):
        key = crew.key(f"-lost-{i}")
        connection.lose = 1
        etag = connection.create(key, b"ours")
        demand(etag is not None, "a create whose answer was lost cannot be told from one that lost")
        crew.expect(key, Object(b"ours", etag or ""), "a create that was sent twice")
        connection.lose = 1
        new = connection.replace(key, b"ours anew", etag or "")
        demand(new is not None, "a replace whose answer was lost cannot be told from one that lost")
        connection.lose = 1
        demand(connection.create(key, b"theirs") is None, "a create that was sent twice took an object of others")
        connection.lose = 1
        demand(connection.replace(key, b"theirs", etag or "") is None, "a replace sent twice took a changed object")
        crew.expect(key, Object(b"ours anew", new or ""), "writes that were sent twice")
    return "writes that were sent twice counted once; ETags are the same at writing and reading"


# --- reads and listings ---


def _reads_after_writes(crew: Crew) -> str:
    number = 0
    for number in crew.rounds():
        writer, key = crew.connections[number % len(crew.connections)], crew.key(f"-written-{number}")
        crew.expect(key, None, "no write")
        etag = _created(writer, key, b"one")
        crew.expect(key, Object(b"one", etag), "a create")
        new = writer.replace(key, b"two", etag)
        demand(new is not None, "an unchanged object could not be replaced")
        crew.expect(key, Object(b"two", new or ""), "a replace")
        writer.put(key, b"three")
        own = writer.get(key)
        demand(own is not None and own.data == b"three", "a writer did not read what it had put")
        crew.expect(key, own, "a put")
    return f"{3 * (number + 1):,} writes, each read at once by {len(crew.connections)}"


def _reads_after_deletes(crew: Crew) -> str:
    key, number = crew.key("-deleted"), 0
    for number in crew.rounds():
        writer, other = (crew.connections[at % len(crew.connections)] for at in (number, number + 1))
        etag = _created(writer, key, b"%d" % number)
        crew.expect(key, Object(b"%d" % number, etag), "a create")
        writer.delete([key])
        crew.expect(key, None, "a delete")
        demand(other.replace(key, b"late", etag) is None, "an object that had been deleted was replaced")
        crew.expect(key, None, "a delete and a late replace")
        etag = _created(other, key, b"anew %d" % number)
        crew.expect(key, Object(b"anew %d" % number, etag), "a delete and a create")
        writer.delete([key])
    return f"{number + 1:,} deletes, each seen at once by {len(crew.connections)}"


def _listings(crew: Crew) -> str:
    keys = [crew.key(f"-list-{i:05d}.json") for i in range(LISTED)]
    prefix, order = keys[0].removesuffix("00000.json"), Random(0).sample(keys, LISTED)
    done: list[str] = []
    writers = len(crew.connections) - 1
    writing = set(range(writers))

    def work(connection: Connection, i: int) -> int:
        """Write a share; or, the last one, list meanwhile. Returns the listings."""
        if i < writers:
            try:
                for key in order[i::writers]:
                    _created(connection, key, b"x")
                    done.append(key)
            finally:
                writing.remove(i)
            return 0
        listings = 0
        while writing:
            known = list(done)
            compare_keys(connection, list(connection.list_all(prefix)), known, keys, "creates that went on")
            listings += 1
        return listings

    meanwhile = sum(crew.each(work))
    crew.at_every_end(keys, prefix, f"{LISTED:,} creates")
    for connection in crew.ends:
        part = connection.list(prefix, start_after=keys[9], limit=5)
        demand(part == keys[10:15], f"a listing after {keys[9]} began with {', '.join(part) or 'nothing'}")

    def delete(connection: Connection, i: int) -> None:
        connection.delete(keys[::3][i :: len(crew.connections)])

    crew.each(delete)
    crew.at_every_end(set(keys) - set(keys[::3]), prefix, f"{len(keys[::3])} deletes")
    return f"{LISTED:,} keys in pages of {PAGE:,}, complete and in order; {meanwhile} listings while they were written"


def _multi_delete(crew: Crew) -> str:
    there = [crew.key(f"-delete-{i:04d}") for i in range(10 * len(crew.connections))]
    prefix, never = there[0].removesuffix("0000"), [crew.key(f"-delete-never-{i}") for i in range(PAGE)]

    def create(connection: Connection, i: int) -> None:
        for key in there[i :: len(crew.connections)]:
            _created(connection, key, b"x")

    def read(connection: Connection, i: int) -> None:
        for key in there[i :: len(crew.connections)]:
            crew.compare(connection, connection.get(key), None, "a delete of many keys")

    crew.each(create)
    crew.ends[0].delete(sorted([*there, *never]))
    crew.each(read)
    crew.at_every_end([], prefix, "a delete of many keys")
    return f"{len(there) + PAGE:,} keys, {len(there)} of them there, in requests of {PAGE:,}"


def _keys(crew: Crew) -> str:
    folders = [f"a{i}" for i in range(3)]
    names = [*NAMES, *(f"{folder}/x" for folder in folders)]
    keys = {crew.key(f"/{name}"): name.encode() for name in names}
    root = next(iter(keys)).removesuffix(names[0])
    for key, data in keys.items():
        _created(crew.ends[0], key, data)
    for connection in crew.ends:
        for key, data in keys.items():
            found = connection.get(key)
            demand(found is not None and found.data == data, f"another object lies under the key {key}")
        compare_keys(connection, sorted(connection.list_all(root)), keys, keys, "creates with odd keys")
        found_folders = connection.folders(root)
        demand(
            sorted(found_folders) == [f"{root}{folder}/" for folder in folders],
            f"a listing of folders gave {', '.join(found_folders) or 'nothing'}",
        )
    crew.ends[-1].delete(keys)
    crew.at_every_end([], root, "a delete of odd keys")
    return f"{len(keys)} names written, read, listed and deleted"


# --- whole objects ---


def _checksums(crew: Crew) -> str:
    codes: set[str] = set()
    for i, connection in enumerate(crew.ends):
        new, old = crew.key(f"-sum-new-{i}"), crew.key(f"-sum-old-{i}")
        etag = _created(connection, old, b"right")
        wrong = [
            connection.write_wrongly(new, b"wrong", {CREATE: "*"}),
            connection.write_wrongly(new, bytes(10_000_000)),
            connection.write_wrongly(old, b"wrong"),
            connection.write_wrongly(old, b"wrong", {REPLACE: etag}),
        ]
        codes |= {answer.code for answer in wrong}
        taken = sum(answer.good for answer in wrong)
        demand(not taken, f"{taken} of {len(wrong)} writes were taken although Content-MD5 was that of other content")
        crew.expect(new, None, "writes with a wrong Content-MD5")
        crew.expect(old, Object(b"right", etag), "writes with a wrong Content-MD5")
        _created(connection, new, b"right")
    return f"a wrong Content-MD5 is refused ({', '.join(sorted(codes))}); nothing changed"


def _cut_off_writes(crew: Crew) -> str:
    data = secrets.token_bytes(200_000)
    old: dict[str, Object] = {}
    for i, connection in enumerate(crew.ends):
        key = crew.key(f"-cut-old-{i}")
        old[key] = Object(b"whole", _created(connection, key, b"whole"))
        for most in (0, len(data) // 2):
            connection.write_in_part(crew.key(f"-cut-new-{i}"), data, most, {CREATE: "*"})
            connection.write_in_part(key, data, most)
    time.sleep(GRACE)
    for i, key in enumerate(old):
        new = crew.key(f"-cut-new-{i}")
        crew.expect(new, None, "a write that was cut off")
        crew.expect(key, old[key], "a write that was cut off")
        _created(crew.ends[i], new, data)
    return "a write whose sender hangs up after the headers, or midway, leaves nothing"


def _large_objects(crew: Crew) -> str:
    key, rest = crew.key("-large"), secrets.token_bytes(LARGE - 1)
    racers = 1 if crew.ends[0].settings.single_writer else min(RACERS, len(crew.connections))
    content, etag = crew.race(key, [b"%d" % i + rest for i in range(racers)], None, held=True)
    for connection in crew.ends:
        crew.compare(connection, connection.get(key), Object(content, etag), "a create of a large object")
    content, etag = crew.race(key, [b"%d" % i + rest for i in range(3, 3 + racers)], etag, held=True)
    for connection in crew.ends:
        crew.compare(connection, connection.get(key), Object(content, etag), "a replace of a large object")
    return f"{LARGE / 1e6:.0f} MB created, replaced and read whole; {racers} writers at once, one winner"


# --- all of them ---


class Promise(NamedTuple):
    """What a search rests on.

    Attributes:
        name: in two or three words.
        keep: tries it; returns what was done, and raises `Broken`.
        timed: whether it goes on for a time.
        conditional: whether a single writer does without it.
    """

    name: str
    keep: Callable[[Crew], str]
    timed: bool = False
    conditional: bool = False


PROMISES = (
    Promise("create race", _create_race, timed=True, conditional=True),
    Promise("replace race", _replace_race, timed=True, conditional=True),
    Promise("counter", _counter, timed=True, conditional=True),
    Promise("lost answers", _lost_answers, conditional=True),
    Promise("reads after writes", _reads_after_writes, timed=True),
    Promise("reads after deletes", _reads_after_deletes, timed=True),
    Promise("listings", _listings),
    Promise("multi-delete", _multi_delete),
    Promise("keys", _keys),
    Promise("checksums", _checksums),
    Promise("cut-off writes", _cut_off_writes),
    Promise("large objects", _large_objects),
)


def promised(crew: Crew) -> list[Promise]:
    """Return the promises that searches in this store rest on."""
    return [promise for promise in PROMISES if not (promise.conditional and crew.ends[0].settings.single_writer)]


def _contents(crew: Crew, number: int) -> list[bytes]:
    """What the connections write in a round: no two alike, and every eighth time too much to be kept with the key."""
    size = 20_000 if number % 8 == 7 else 16
    return [b"%d by %d: " % (number, i) + secrets.token_bytes(size) for i in range(len(crew.connections))]


def _created(connection: Connection, key: str, data: bytes) -> str:
    """Create an object where nothing is. Returns its etag."""
    etag = connection.create(key, data)
    if etag is None:
        raise Broken(f"a create of {key} was refused, where nothing was")
    return etag
