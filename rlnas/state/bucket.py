"""The only file that knows S3: objects that are created once, replaced if unchanged, listed and deleted.

The `minio` client signs every request. Its `put_object` cannot write conditionally (it turns `If-None-Match` into
metadata and overwrites), so objects are written and read by presigned addresses over the pool that the client shares.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import os
import re
import secrets
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import NamedTuple

import certifi
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error, ServerError
from tenacity import Retrying, retry_if_result, stop_after_attempt, stop_all, stop_before_delay, wait_random_exponential
from urllib3 import exceptions as http

from rlnas.errors import StoreError, UserError
from rlnas.state.settings import ENDPOINT, SINGLE_WRITER, StoreSettings

PAGE = 1000  # keys in one listing and in one deletion, by S3
CONNECT_SECONDS, READ_SECONDS = 5, 60
CREATE, REPLACE = "If-None-Match", "If-Match"
Keys = list[str]

# A presigned address is a credential, and urllib3 logs addresses.
logging.getLogger("urllib3.connectionpool").addFilter(lambda record: "X-Amz-" not in record.getMessage())


class Object(NamedTuple):
    """What lies under a key."""

    data: bytes
    etag: str


class _Answer(NamedTuple):
    """What one request came to."""

    status: int  # HTTP; 0 where no answer came, 495 (by nginx's custom) where the certificate is not trusted
    code: str = ""  # the store's name of an error, or our words where no answer came
    data: bytes = b""
    etag: str = ""

    @property
    def doubtful(self) -> bool:
        """Whether the store may have done what it was asked all the same."""
        return self.status == 0 or self.status >= 500

    @property
    def passing(self) -> bool:
        """Whether the same request may fare better in a moment. 409: a racing write; 501: will never be known."""
        return self.status != 501 and (self.doubtful or self.status in (408, 409, 429) or self.code == "RequestTimeout")


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
        self._pool = urllib3.PoolManager(
            retries=False,  # ours are in `_persist`; urllib3's would log the addresses
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
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
            raise UserError(f"{ENDPOINT}: {settings.endpoint} cannot be a store: {error}") from None

    # --- objects ---

    def get(self, key: str) -> Object | None:
        """The object under `key`, or None."""
        answer = self._send("GET", key)[-1]
        if answer.code == "NoSuchKey":
            return None
        self._expect(answer, f"read {key}")
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
        self._expect(answer, f"write {key}")
        return answer.etag

    # --- many keys ---

    def list(self, prefix: str, start_after: str | None = None, limit: int = PAGE) -> Keys:
        """The first `limit` (at most 1,000) keys below `prefix` after `start_after`, by one request.

        In order within a folder; SeaweedFS puts `a/x` before `a-b/x`, S3 the other way round.
        """
        page: Keys = []

        def attempt() -> _Answer:
            found = self._client.list_objects(self.settings.bucket, prefix, recursive=True, start_after=start_after)
            page[:] = [item.object_name for item in islice(found, min(limit, PAGE))]
            return _Answer(200)

        self._expect(self._persist("LIST", attempt)[-1], f"list {prefix}")
        return page

    def list_all(self, prefix: str, start_after: str | None = None) -> Iterator[str]:
        """All keys below `prefix` after `start_after`, a request for every 1,000."""
        page = self.list(prefix, start_after)
        yield from page
        while len(page) == PAGE:
            page = self.list(prefix, start_after=page[-1])
            yield from page

    def folders(self, prefix: str) -> Keys:
        """The folders directly below `prefix`, which ends with a slash."""
        found: Keys = []

        def attempt() -> _Answer:
            entries = self._client.list_objects(self.settings.bucket, prefix)
            found[:] = [entry.object_name for entry in entries if entry.is_dir]
            return _Answer(200)

        self._expect(self._persist("LIST", attempt)[-1], f"list {prefix}")
        return found

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the objects, 1,000 a request. A key without an object is no error."""
        rest = iter(keys)
        while batch := [DeleteObject(key) for key in islice(rest, PAGE)]:

            def attempt(batch: list[DeleteObject] = batch) -> _Answer:
                errors = [error.code for error in self._client.remove_objects(self.settings.bucket, batch)]
                return _Answer(403 if "AccessDenied" in errors else 500, errors[0]) if errors else _Answer(200)

            self._expect(self._persist("DELETE", attempt)[-1], f"delete {len(batch)} objects")

    # --- the bucket itself ---

    def ensure(self) -> None:
        """Create the bucket if it is missing.

        Asks for an object that is not there, because some stores refuse to be asked for a bucket, or to create one.
        """
        answer = self._send("GET", "probe/none")[-1]
        if answer.code == "NoSuchKey":
            return
        if answer.code != "NoSuchBucket":
            return self._expect(answer, "find the bucket")

        def attempt() -> _Answer:
            try:
                self._client.make_bucket(self.settings.bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):  # somebody was faster
                    raise
            return _Answer(200)

        self._expect(self._persist("PUT", attempt)[-1], "create the bucket")

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
                raise StoreError(
                    f"the store at {self.settings.endpoint} {wrong}: it, or a proxy before it, ignores {header}; use "
                    f"one with conditional writes, or set {SINGLE_WRITER}=true (overlapping runs are then unsafe)"
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

        def attempt() -> _Answer:
            url = self._client.get_presigned_url(method, self.settings.bucket, key, expires=timedelta(hours=1))
            # A stream, because urllib3 holds the sending of a bytes body as a whole to the connect timeout.
            body = None if data is None else io.BytesIO(data)
            answer = self._pool.request(method, url, body=body, headers={**headers, **about}, redirect=False)
            code = re.search(rb"<Code>(\w+)</Code>", answer.data) if answer.status >= 300 else None
            return _Answer(answer.status, code[1].decode() if code else "", answer.data, answer.headers.get("ETag", ""))

        return self._persist(method, attempt)

    def _persist(self, method: str, attempt: Callable[[], _Answer]) -> Answers:
        """Try until the answer is definite or patience ends. Returns the answers to all tries, the last one last."""
        answers: Answers = []

        def once() -> _Answer:
            with self._lock:
                self.requests[method] += 1
            try:
                answers.append(attempt())
            except (MinioException, http.HTTPError) as error:  # ends here: it may hold an address or keys
                answers.append(_understood(error))
            return answers[-1]

        Retrying(
            retry=retry_if_result(lambda answer: answer.passing),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            stop=stop_all(stop_before_delay(self._patience), stop_after_attempt(3)),
            retry_error_callback=lambda state: None,
        )(once)
        return answers

    def _expect(self, answer: _Answer, what: str) -> None:
        if answer.status not in (200, 204):
            where = f"bucket {self.settings.bucket} at {self.settings.endpoint}"
            raise StoreError(f"cannot {what} ({where}): {_cause(answer)}")


Answers = list[_Answer]


def _understood(error: Exception) -> _Answer:
    """The answer that an exception of `minio` or `urllib3` stands for."""
    if isinstance(error, S3Error):
        return _Answer(error.response.status, error.code or "", (error.message or "").encode())
    if isinstance(error, ServerError):
        return _Answer(error.status_code)
    if isinstance(error, MinioException):  # an answer that is no XML, mostly a proxy's
        status = re.search(r"Response code: (\d+)", str(error))
        return _Answer(int(status[1]) if status else 500)
    cause = error.__cause__ or error.__context__
    if isinstance(error, http.SSLError):
        verify = next((e for e in (*error.args, cause) if isinstance(e, ssl.SSLCertVerificationError)), None)
        if verify is not None:
            return _Answer(495, f"the TLS certificate is not trusted: {verify.verify_message}")
        return _Answer(0, "TLS failed; does the store speak TLS?")
    if isinstance(error, http.NameResolutionError):
        return _Answer(0, "the host's name is unknown")
    if isinstance(error, http.NewConnectionError):
        return _Answer(0, (getattr(cause, "strerror", None) or "no connection").lower())
    if isinstance(error, http.ConnectTimeoutError):
        return _Answer(0, f"no connection within {CONNECT_SECONDS} s")
    if isinstance(error, http.TimeoutError):
        return _Answer(0, f"no answer within {READ_SECONDS} s")
    return _Answer(0, "the connection was cut")


def _cause(answer: _Answer) -> str:
    if answer.status == 507 or re.search(
        rb"(?i)no space|disk full|storage ?full|no (free|writable) volume", answer.data
    ):
        return "no space left in the store"
    if answer.code == "RequestTimeTooSkewed":
        return "the clocks of this machine and of the store differ"
    if answer.status == 403:
        return f"access denied, check the keys and what they may do ({answer.code or 'HTTP 403'})"
    if answer.code == "NoSuchBucket":
        return "the bucket does not exist"
    if answer.status in (301, 307):
        return "the bucket is in another region than the settings say"
    if answer.status in (0, 495):
        return answer.code
    if answer.code == "InternalError":
        return (
            f"HTTP {answer.status} InternalError: see the store's log, and whether its disk is full"  # SeaweedFS's way
        )
    return f"HTTP {answer.status} {answer.code or 'without an error of S3; is this an S3 store?'}"
