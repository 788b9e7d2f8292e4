"""What an S3 store answers, or whatever stands where it should be: read, and put into words."""

from __future__ import annotations

import html
import re
import ssl
from typing import Any, NamedTuple
from xml.etree import ElementTree

import urllib3
from minio.error import MinioException, S3Error, ServerError
from urllib3 import exceptions as http

from rlnas.errors import one_line
from rlnas.state.settings import ENDPOINT, REGION

CONNECT_SECONDS = 5


class Answer(NamedTuple):
    """What one request came to."""

    status: int  # HTTP; 0 where no answer came, 495 (by nginx's custom) where the certificate is not trusted
    code: str = ""  # the store's name of an error, or our words where no answer came
    data: bytes = b""
    etag: str = ""
    message: str = ""  # the store's own words on an error
    region: str = ""  # where it says that the bucket is, if it does
    foreign: str = ""  # what answered, where it was no store
    key: str = ""  # of the object that was refused, where many were asked for

    @property
    def good(self) -> bool:
        """Whether a store did what it was asked."""
        return self.status in (200, 204) and not self.foreign

    @property
    def doubtful(self) -> bool:
        """Whether the store may have done what it was asked all the same."""
        return self.status == 0 or self.status >= 500

    @property
    def passing(self) -> bool:
        """Whether the same request may fare better in a moment. 409: a racing write; 501: will never be known."""
        return self.status != 501 and (self.doubtful or self.status in (408, 409, 429) or self.code == "RequestTimeout")


class Page(http.HTTPError):
    """A web page came, and not an answer of a store."""

    def __init__(self, status: int) -> None:
        self.status = status


class Pool(urllib3.PoolManager):
    """Connections, which tell web pages from answers of a store."""

    def urlopen(self, method: str, url: str, *args: Any, **kw: Any) -> Any:
        """Send a request; see `urllib3.PoolManager.urlopen`.

        Raises:
            Page: the answer is a page.
        """
        answer = super().urlopen(method, url, *args, **kw)
        # An object may be a page as well, but stores put their own headers on it.
        ours = any(name.lower().startswith(("x-amz-", "x-goog-", "x-minio-")) for name in answer.headers)
        if "html" in answer.headers.get("Content-Type", "") and not ours:
            answer.drain_conn()
            raise Page(answer.status)
        return answer


def read(answer: urllib3.BaseHTTPResponse) -> Answer:
    """What an answer to a request for one object says."""

    def said(name: str) -> str:
        found = re.search(f"<{name}>([^<]*)</{name}>", text)
        return html.unescape(found[1]) if found else ""

    data, etag = answer.data, answer.headers.get("ETag", "")
    if answer.status < 300:  # every store gives an object, read or written, its etag
        return Answer(answer.status, data=data, etag=etag, foreign="" if etag else "something that names no etag")
    text = data[:10_000].decode(errors="replace")
    region = said("Region") or answer.headers.get("x-amz-bucket-region", "")
    message = text if answer.headers.get("Content-Type", "").startswith("text/plain") else said("Message")
    return Answer(answer.status, said("Code"), data, message=one_line(message, 300), region=region)


def understood(error: Exception) -> Answer:
    """The answer that an exception of `minio` or `urllib3` stands for."""
    if isinstance(error, Page):
        return Answer(error.status, foreign="a web page")
    if isinstance(error, S3Error):
        return read(error.response)
    if isinstance(error, ElementTree.ParseError | ValueError):
        return Answer(200, foreign="something that speaks no XML of S3")
    if isinstance(error, ServerError):
        return Answer(error.status_code)
    if isinstance(error, MinioException):  # an answer that is no XML, mostly a proxy's
        status = re.search(r"Response code: (\d+)", str(error))
        return Answer(int(status[1]) if status else 500)
    reason = error.__cause__ or error.__context__
    if isinstance(error, http.SSLError):
        verify = next((e for e in (*error.args, reason) if isinstance(e, ssl.SSLCertVerificationError)), None)
        if verify is not None:
            return Answer(495, f"the TLS certificate is not trusted: {verify.verify_message}")
        return Answer(0, "TLS failed; does the store speak TLS?")
    if isinstance(error, http.NameResolutionError):
        return Answer(0, "the host's name is unknown")
    if isinstance(error, http.NewConnectionError):
        return Answer(0, (getattr(reason, "strerror", None) or "no connection").lower())
    if isinstance(error, http.ConnectTimeoutError):
        return Answer(0, f"no connection within {CONNECT_SECONDS} s")
    if isinstance(error, http.TimeoutError):
        return Answer(0, "no answer in time")
    return Answer(0, "the connection was cut")


# What stores say of keys that they do not know, or that have ended.
_BAD_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity"}
_BAD_REGION = {
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
}


def cause(answer: Answer, needs: str, region: str) -> str:
    """Say why a request was not granted; in the store's own words, where it has some.

    Args:
        answer: the store's.
        needs: the permission that the request takes.
        region: that the request named.
    """
    said = f"{answer.code}: {answer.message}".strip(": ") or f"HTTP {answer.status}"
    if answer.foreign and answer.status >= 500:
        return f"HTTP {answer.status} with {answer.foreign}: see what stands before the store"
    if answer.foreign:
        return (
            f"{answer.foreign} answered (HTTP {answer.status}): this is no endpoint of S3; allowed in {ENDPOINT}: the"
            " port of the store's S3 interface, which is not that of its web console"
        )
    if answer.status == 507 or re.search(
        rb"(?i)no space|disk full|storage ?full|no (free|writable) volume", answer.data
    ):
        return "no space left in the store"
    if answer.code == "RequestTimeTooSkewed":
        return f"the clocks of this machine and of the store differ ({said})"
    if answer.code in _BAD_REGION or answer.status in (301, 307) or answer.region not in ("", region):
        right = answer.region or "".join(re.findall(r"expect\w+:? '([\w-]+)'", answer.message)[:1])
        if right and right != region:
            return f"the bucket is in region {right}, not {region}: set {REGION}={right} ({said})"
        return f"the bucket is in another region, or at another address, than {region}, which {REGION} says ({said})"
    if answer.code in _BAD_KEYS:
        return f"access denied, check the keys ({said})"
    if answer.status == 403:
        unlisted = "; keys without s3:ListBucket are denied objects that are not there, too" * ("GetObject" in needs)
        return f"access denied, check the keys and whether they may do {needs} ({said}){unlisted}"
    if answer.code == "NoSuchBucket":
        return "the bucket does not exist"
    if answer.status in (0, 495):
        return answer.code
    if answer.code == "InternalError":
        return f"HTTP {answer.status} {said}; see the store's log, and whether its disk is full"  # SeaweedFS's way
    if not answer.code:
        words = f" ({answer.message})" * bool(answer.message)
        return f"HTTP {answer.status} without an error of S3{words}; is this an S3 store?"
    return f"HTTP {answer.status} {said}"
