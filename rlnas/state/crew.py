"""Many connections to one bucket that do things at the same moment: what a search's pods are to a store."""

from __future__ import annotations

import base64
import hashlib
import io
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import count
from typing import TypeVar

from rlnas.errors import StoreError
from rlnas.state.answers import Answer
from rlnas.state.bucket import Answers, Bucket, Object
from rlnas.state.settings import StoreSettings

CONNECTIONS = 16
PATIENCE = 15.0  # seconds for one request: a busy store is slow, not wrong
FEWEST_ROUNDS = 2  # one of writes sent whole, one of writes held back
T = TypeVar("T")


class Broken(Exception):
    """A promise that the store did not keep: what was seen, in words."""


def demand(kept: bool, wrong: str) -> None:
    """Raise `Broken` unless a promise was kept."""
    if not kept:
        raise Broken(wrong)


class Connection(Bucket):
    """A bucket whose writes can be held back after their headers, cut off, sent wrongly or robbed of their answers.

    Attributes:
        held: the next write sends its headers, and its body when all others at this barrier are that far, too.
        lose: so many of the next answers are lost after the store has given them.

    Args:
        settings: of one endpoint.
        stopped: nothing more is sent once this is set.
    """

    def __init__(self, settings: StoreSettings, stopped: threading.Event) -> None:
        super().__init__(settings, PATIENCE)
        self._stopped = stopped
        self.held: threading.Barrier | None = None
        self.lose = 0
        self._most: int | None = None

    def write_wrongly(self, key: str, data: bytes, condition: Mapping[str, str] = {}) -> Answer:
        """Write with the checksum of another content. Returns the store's answer."""
        wrong = base64.b64encode(hashlib.md5(data + b"!", usedforsecurity=False).digest()).decode()
        return self._send("PUT", key, data, {**condition, "Content-MD5": wrong})[-1]

    def write_in_part(self, key: str, data: bytes, most: int, condition: Mapping[str, str] = {}) -> None:
        """Send the headers and `most` bytes of an object and hang up, as a process does that is killed."""
        self._most = most
        try:
            self._send("PUT", key, data, condition)
        finally:
            self._most = None

    def _body(self, data: bytes) -> io.BytesIO:
        held, self.held = self.held, None  # a write that is sent again waits for nobody
        return _Body(data, held, self._most)

    def _persist(self, method: str, attempt: Callable[[], Answer]) -> Answers:
        def robbed() -> Answer:
            demand(not self._stopped.is_set(), "stopped")
            answer = attempt()
            if self.lose:
                self.lose -= 1
                return Answer(0, "lost on purpose")
            return answer

        return super()._persist(method, robbed)


class _Body(io.BytesIO):
    """What is sent of an object after its headers: when all are ready, and perhaps not all of it."""

    def __init__(self, data: bytes, held: threading.Barrier | None, most: int | None) -> None:
        super().__init__(data)
        self._held, self._most = held, most

    def read(self, size: int | None = -1, /) -> bytes:
        if self._held is not None and self.tell() == 0:
            self._held.wait()
        if self._most is None:
            return super().read(size)
        if self.tell() >= self._most:
            raise OSError("cut off on purpose")
        return super().read(self._most - self.tell())


class Crew:
    """Connections to one bucket, spread over its endpoints, a thread for each. To be used in a `with` statement.

    All that they write lies below `probe/` and is deleted at the end, also where that is an interruption.

    Args:
        endpoints: of one store; the same bucket at each.
        connections: how many.

    Attributes:
        connections: all of them; their endpoints take turns.
        ends: one for each endpoint.
    """

    def __init__(self, endpoints: Sequence[StoreSettings], connections: int = CONNECTIONS) -> None:
        self._stopped = threading.Event()
        self.connections = [Connection(endpoints[i % len(endpoints)], self._stopped) for i in range(connections)]
        self.ends = self.connections[: len(endpoints)]
        self._sweeper = Bucket(endpoints[0], PATIENCE)
        self._root = f"probe/{secrets.token_hex(8)}"
        self._keys: set[str] = set()
        self._until = 0.0
        self._start = threading.Barrier(1)
        self._threads = ThreadPoolExecutor(connections)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._start.abort()
        self._threads.shutdown()  # waits: nobody may write after the sweep
        with suppress(StoreError):
            self.sweep()

    # --- time and place ---

    @property
    def requests(self) -> int:
        """How many were sent so far."""
        return sum(sum(connection.requests.values()) for connection in self.connections)

    def give(self, seconds: float) -> None:
        """Set how long `rounds` goes on from now."""
        self._until = time.monotonic() + seconds

    def rounds(self) -> Iterator[int]:
        """Numbers from 0 on, until the time is up."""
        for number in count():
            if number >= FEWEST_ROUNDS and time.monotonic() >= self._until:
                return
            yield number

    def key(self, name: str) -> str:
        """Where an object of this crew lies. The store is swept of it."""
        key = f"{self._root}{name}"
        self._keys.add(key)
        return key

    def sweep(self) -> None:
        """Delete all that was written: what is known, and what a listing shows."""
        keys = self._keys | set(self._sweeper.list_all(self._root))
        # SeaweedFS keeps a folder that has become empty, until somebody deletes it by its name.
        folders = {
            key[: at + 1] for key in keys for at, letter in enumerate(key) if letter == "/" and at > len("probe")
        }
        self._sweeper.delete(sorted(keys))
        self._sweeper.delete(sorted(folders, key=len, reverse=True))
        self._keys.clear()

    # --- together ---

    def each(self, work: Callable[[Connection, int], T], members: int | None = None) -> list[T]:
        """Return what every connection (or the first `members`) made of `work(connection, its number)`, all at once."""
        futures = [self._threads.submit(work, member, i) for i, member in enumerate(self.connections[:members])]
        wait(futures)
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:  # where one has failed, those who waited for it did as well
            raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
        return [future.result() for future in futures]

    def race(self, key: str, contents: Sequence[bytes], etag: str | None, held: bool) -> tuple[bytes, str]:
        """Let a connection for each content create an object, or replace it, at the same moment.

        Args:
            key: of the object.
            contents: no two alike.
            etag: of what is replaced; None: it is created.
            held: whether all send their headers first and then their bodies. A store that looks at the headers'
                condition before it has the body, and not again, then lets all of them win.

        Returns:
            What was written, and its etag.

        Raises:
            Broken: there was not exactly one winner.
        """
        self._start = start = threading.Barrier(len(contents))

        def write(connection: Connection, i: int) -> str | None:
            try:
                if held:
                    connection.held = start
                else:
                    start.wait()
                if etag is None:
                    return connection.create(key, contents[i])
                return connection.replace(key, contents[i], etag)
            except BaseException:
                start.abort()
                raise
            finally:
                connection.held = None

        written = self.each(write, len(contents))
        won = [(content, new) for content, new in zip(contents, written, strict=True) if new is not None]
        what = "create" if etag is None else "replace"
        demand(len(won) == 1, f"{len(won)} of {len(contents)} were told that they {what}d one object at once")
        return won[0]

    def expect(self, key: str, expected: Object | None, after: str) -> None:
        """Let all connections read an object at once.

        Raises:
            Broken: one of them saw something else.
        """

        def read(connection: Connection, _: int) -> Object | None:
            return connection.get(key)

        for connection, found in zip(self.connections, self.each(read), strict=True):
            self.compare(connection, found, expected, after)

    def compare(self, connection: Connection, found: Object | None, expected: Object | None, after: str) -> None:
        """Raise `Broken` unless a connection has read what it should."""
        demand(
            found == expected,
            f"after {after}, a read at {connection.settings.endpoint} gave {_named(found)} instead of"
            f" {_named(expected)}",
        )

    def at_every_end(self, keys: Iterable[str], prefix: str, after: str) -> None:
        """Compare the listing of each endpoint with the keys that there are.

        Raises:
            Broken: keys are missing, too many, or out of order.
        """
        right = sorted(keys)
        for connection in self.ends:
            compare_keys(connection, list(connection.list_all(prefix)), right, right, after)


def compare_keys(
    connection: Connection, listed: Sequence[str], least: Iterable[str], most: Iterable[str], after: str
) -> None:
    """Raise `Broken` unless a listing holds `least`, nothing beyond `most`, and is in order."""
    where = f"after {after}, a listing at {connection.settings.endpoint}"
    if missing := set(least) - set(listed):
        raise Broken(f"{where} left out {len(missing)} keys, such as {min(missing)}")
    if beyond := set(listed) - set(most):
        raise Broken(f"{where} had {len(beyond)} keys that are not there, such as {min(beyond)}")
    demand(list(listed) == sorted(set(listed)), f"{where} was out of order or named a key twice")


def _named(found: Object | None) -> str:
    return "nothing" if found is None else f"{len(found.data):,} bytes with ETag {found.etag}"
