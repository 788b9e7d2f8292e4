"""A bucket of an S3 store: objects that are created once, replaced if unchanged, listed and deleted.

The `minio` client signs every request. Its `put_object` cannot write conditionally (it turns `If-None-Match` into
metadata and overwrites), so objects are written and read by presigned addresses over the pool that the client shares.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import NamedTuple
from xml.etree import ElementTree

import certifi
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from tenacity import Retrying, retry_if_result, stop_after_attempt, stop_all, stop_before_delay, wait_random_exponential
from urllib3 import exceptions as http

from rlnas.errors import StoreError, UserError, one_line
from rlnas.state.answers import CONNECT_SECONDS, Answer, Pool, cause, read, understood
from rlnas.state.settings import ENDPOINT, SINGLE_WRITER, StoreSettings

PAGE = 1000  # keys in one listing and in one deletion, by S3
SHORTEST_READ, LONGEST_READ = 10, 60  # seconds of silence until a request is given up; a busy machine may be slow
CREATE, REPLACE = "If-None-Match", "If-Match"
Keys = list[str]
Answers = list[Answer]

# A presigned address is a credential, and urllib3 logs addresses.
logging.getLogger("urllib3.connectionpool").addFilter(lambda record: "X-Amz-" not in record.getMessage())


class Object(NamedTuple):
    """What lies under a key."""

    data: bytes
    etag: str


class Entry(NamedTuple):
    """What a listing says of an object. Of times, only those of one store may be compared."""

    key: str
    size: int
    etag: str
    modified: datetime


Entries = list[Entry]


class Bucket:
    """One bucket of an S3 store. Safe for use from several threads.

    Every method sends its request again while the store is silent or answers 5xx, and then raises `StoreError`: one
    line with the key, the endpoint and the cause, never a credential or a signed address. Refused keys fail at once.

    Args:
        settings: the store.
        patience: seconds to go on trying, but at least three tries.

    Raises:
        UserError: an endpoint that the client refuses.

    Attributes:
        requests: how many requests were sent, by method: GET, PUT, LIST, DELETE.
    """

    def __init__(self, settings: StoreSettings, patience: float = 30.0) -> None:
        self.settings = settings
        self.requests: Counter[str] = Counter()
        self._patience = patience
        self._lock = threading.Lock()
        self._pool = Pool(
            retries=False,  # ours are in `_persist`; urllib3's would log the addresses
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=min(LONGEST_READ, max(SHORTEST_READ, 2 * patience))),
            maxsize=16,
            ca_certs=settings.ca_file or os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        try:
            self._client = Minio(
                settings.endpoint,
                access_key=settings.access_key,
                secret_key=settings.secret_key,
                session_token=settings.session_token,
                secure=settings.secure,
                region=settings.region,
                http_client=self._pool,
            )
        except ValueError as error:  # it has rules of its own, for hosts of AWS most of all
            wrong = f"{ENDPOINT}: {settings.endpoint} cannot be a store: {error}"
            raise UserError(settings.in_their_names(wrong)) from None

    # --- objects ---

    def get(self, key: str) -> Object | None:
        """The object under `key`, or None."""
        answer = self._send("GET", key)[-1]
        if answer.code == "NoSuchKey":
            return None
        self._expect(answer, f"read {key}", "GetObject", key)
        return Object(answer.data, answer.etag)

    def put(self, key: str, data: bytes) -> None:
        """Write, whatever was there."""
        self._put(key, data, {})

    def create(self, key: str, data: bytes) -> str | None:
        """Write if nothing is there. Returns the etag if this call did, None if somebody else was first."""
        if self.settings.single_writer:
            return self._put(key, data, {}) if self.get(key) is None else None
        return self._put(key, data, {CREATE: "*"})

    def replace(self, key: str, data: bytes, etag: str) -> str | None:
        """Write if the object still is the one of `etag`. Returns the new etag, or None if it is not.

        An etag is a hash of the content, so what is replaced must never come back: carry a nonce or a counter.
        """
        if self.settings.single_writer:
            found = self.get(key)
            return self._put(key, data, {}) if found is not None and found.etag == etag else None
        return self._put(key, data, {REPLACE: etag})

    def _put(self, key: str, data: bytes, condition: Mapping[str, str]) -> str | None:
        *earlier, answer = self._send("PUT", key, data, condition)
        if condition and (answer.status == 412 or answer.code == "NoSuchKey"):
            if not any(other.doubtful for other in earlier):
                return None
            # An earlier try may have got through and its answer been lost: then what refuses us is our own object.
            found = self.get(key)
            return found.etag if found is not None and found.data == data else None
        self._expect(answer, f"write {key}", "PutObject", key)
        return answer.etag

    # --- many keys ---

    def list(self, prefix: str, start_after: str | None = None, limit: int = PAGE) -> Keys:
        """The first `limit` (at most 1,000) keys below `prefix` after `start_after`, by one request.

        In order within a folder; SeaweedFS puts `a/x` before `a-b/x`, S3 the other way round.
        """
        return [entry.key for entry in self._page(prefix, start_after, limit)]

    def list_all(self, prefix: str, start_after: str | None = None) -> Iterator[str]:
        """All keys below `prefix` after `start_after`, a request for every 1,000."""
        page = self.list(prefix, start_after)
        yield from page
        while len(page) == PAGE:
            page = self.list(prefix, start_after=page[-1])
            yield from page

    def entries(self, prefix: str) -> Iterator[Entry]:
        """All objects below `prefix` with what a listing says of them, a request for every 1,000."""
        page = self._page(prefix)
        yield from page
        while len(page) == PAGE:
            page = self._page(prefix, start_after=page[-1].key)
            yield from page

    def _page(self, prefix: str, start_after: str | None = None, limit: int = PAGE) -> Entries:
        page: Entries = []

        def attempt() -> Answer:
            found = self._client.list_objects(self.settings.bucket, prefix, recursive=True, start_after=start_after)
            page[:] = [
                Entry(o.object_name, o.size or 0, (o.etag or "").strip('"'), o.last_modified)
                for o in islice(found, min(limit, PAGE))
            ]
            return Answer(200)

        self._expect(self._persist("LIST", attempt)[-1], f"list {prefix}", "ListBucket")
        return page

    def folders(self, prefix: str) -> Keys:
        """The folders directly below `prefix`, which ends with a slash."""
        found: Keys = []

        def attempt() -> Answer:
            entries = self._client.list_objects(self.settings.bucket, prefix)
            found[:] = [entry.object_name for entry in entries if entry.is_dir]
            return Answer(200)

        self._expect(self._persist("LIST", attempt)[-1], f"list {prefix}", "ListBucket")
        return found

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects, 1,000 a request. A key without an object is no error."""
        rest = iter(keys)
        while batch := [DeleteObject(key) for key in islice(rest, PAGE)]:

            def attempt(batch: list[DeleteObject] = batch) -> Answer:
                errors = list(self._client.remove_objects(self.settings.bucket, batch))
                error = next((e for e in errors if e.code == "AccessDenied"), errors[0] if errors else None)
                if error is None:
                    return Answer(200)
                status = 403 if error.code == "AccessDenied" else 500
                return Answer(status, error.code, message=error.message or "", key=error.name or "")

            self._expect(self._persist("DELETE", attempt)[-1], f"delete {len(batch)} objects", "DeleteObject")

    # --- the bucket itself ---

    def ensure(self) -> None:
        """Create the bucket if it is missing.

        Asks for an object that is not there, because some stores refuse to be asked for a bucket, or to create one.
        """
        answer = self._send("GET", "probe/none")[-1]
        if answer.code == "NoSuchKey":
            return
        if answer.good:  # nobody ever wrote that object
            answer = answer._replace(foreign=answer.foreign or "something that has an answer to everything")
        if answer.code != "NoSuchBucket":
            return self._expect(answer, "find the bucket", "GetObject", "probe/none")

        def attempt() -> Answer:
            try:
                self._client.make_bucket(self.settings.bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):  # somebody was faster
                    raise
            return Answer(200)

        self._expect(self._persist("PUT", attempt)[-1], "create the bucket", "CreateBucket")

    def probe(self) -> None:
        """Prove that the store, and all between, keeps the promises the search rests on, and leave no trace.

        Raises:
            StoreError: what the store did wrong.
        """
        key, race = f"probe/{secrets.token_hex(8)}", f"probe/{secrets.token_hex(8)}"
        try:
            self._probe(key, race)
        finally:
            with suppress(StoreError):
                self.delete([key, race])

    def _probe(self, key: str, race: str) -> None:
        def demand(kept: bool, header: str, wrong: str) -> None:
            if not kept:
                allowed = f"one with conditional writes, or set {SINGLE_WRITER}=true (overlapping runs are then unsafe)"
                raise StoreError(
                    f"the store at {self.settings.endpoint} {wrong}: it, or a proxy before it, ignores {header}; use "
                    f"{self.settings.in_their_names(allowed)}"
                )

        first = self.create(key, b"first") or ""
        demand(bool(first), CREATE, "refused to create a new object")
        demand(self.create(key, b"second") is None, CREATE, "created an object twice")
        demand(self.get(key) == Object(b"first", first), CREATE, "changed an object by a create that it refused")
        second = self.replace(key, b"second", first) or ""
        demand(bool(second), REPLACE, "refused to replace an unchanged object")
        demand(self.replace(key, b"third", first) is None, REPLACE, "replaced an object that had changed")
        demand(self.get(key) == Object(b"second", second), REPLACE, "changed an object by a replace it refused")
        if self.settings.single_writer:
            return
        with ThreadPoolExecutor(8) as threads:
            created = list(threads.map(lambda i: self.create(race, b"created by %d" % i), range(8)))
            won = [etag for etag in created if etag is not None]
            demand(len(won) == 1, CREATE, f"let {len(won)} of 8 create one object at once")
            replaced = list(threads.map(lambda i: self.replace(race, b"replaced by %d" % i, won[0]), range(8)))
            winners = sum(etag is not None for etag in replaced)
            demand(winners == 1, REPLACE, f"let {winners} of 8 replace one object at once")

    # --- requests ---

    def _send(self, method: str, key: str, data: bytes | None = None, headers: Mapping[str, str] = {}) -> Answers:
        about = {}
        if data is not None:
            # Without it, SeaweedFS 4.48 makes an empty object of a write whose sender dies between headers and body.
            checksum = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
            about = {"Content-Length": str(len(data)), "Content-MD5": checksum}

        url = self._client.get_presigned_url(method, self.settings.bucket, key, expires=timedelta(hours=1))

        def attempt() -> Answer:
            body = None if data is None else self._body(data)
            answer = self._pool.request(method, url, body=body, headers={**about, **headers}, redirect=False)
            return read(answer)

        return self._persist(method, attempt)

    def _body(self, data: bytes) -> io.BytesIO:
        """What is sent after the headers: a stream, because urllib3 holds bytes as a whole to the connect timeout."""
        return io.BytesIO(data)

    def _persist(self, method: str, attempt: Callable[[], Answer]) -> Answers:
        """Try until the answer is definite or patience ends. Returns the answers to all tries, the last one last."""
        answers: Answers = []

        def once() -> Answer:
            with self._lock:
                self.requests[method] += 1
            try:
                answers.append(attempt())
            except (MinioException, http.HTTPError, ElementTree.ParseError, ValueError) as error:
                answers.append(understood(error))  # it ends here: it may hold an address or keys
            return answers[-1]

        self._retrying(once)
        return answers

    @cached_property
    def _retrying(self) -> Retrying:
        return Retrying(
            retry=retry_if_result(lambda answer: answer.passing),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            stop=stop_all(stop_before_delay(self._patience), stop_after_attempt(3)),
            retry_error_callback=lambda state: None,
        )

    def _expect(self, answer: Answer, what: str, action: str, key: str = "") -> None:
        """Raise `StoreError` unless the answer is good.

        Args:
            answer: to the last try.
            what: was to be done, in words.
            action: the permission that it takes, by the name that all stores have from S3.
            key: of the object that it takes it for; empty: the one that the answer names, or the bucket.
        """
        if not answer.good:
            key = key or answer.key
            where = f"bucket {self.settings.bucket} at {self.settings.endpoint}"
            needs = f"s3:{action} on {self.settings.bucket}{'/' * bool(key)}{key}"
            why = self.settings.in_their_names(cause(answer, needs, self.settings.region))
            raise StoreError(one_line(f"cannot {what} ({where}): {why}"))
