"""Where the object store is and how to enter it: a few environment variables, or the embedded store's own answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rlnas.errors import UserError, keep_secret

ENDPOINT = "RLNAS_STORE_ENDPOINT"
ENDPOINTS = "RLNAS_STORE_ENDPOINTS"
ACCESS_KEY = "RLNAS_STORE_ACCESS_KEY"
SECRET_KEY = "RLNAS_STORE_SECRET_KEY"
SECURE = "RLNAS_STORE_SECURE"
REGION = "RLNAS_STORE_REGION"
BUCKET = "RLNAS_STORE_BUCKET"
CA_FILE = "RLNAS_STORE_CA_FILE"
SESSION_TOKEN = "RLNAS_STORE_SESSION_TOKEN"
SINGLE_WRITER = "RLNAS_STORE_SINGLE_WRITER"


@dataclass(frozen=True)
class StoreSettings:
    """An S3 endpoint, its keys and a bucket. The keys are not in the repr. TLS certificates are always verified.

    Args:
        endpoint: `host:port` (or `host` alone, for the port of the scheme).
        access_key, secret_key, session_token: the credentials; the token only for temporary ones.
        secure: speak TLS.
        region: named outright, so that nobody asks the store for a bucket's location, which some refuse to tell.
        bucket: 3 to 63 lower-case letters, digits, dots and hyphens.
        ca_file: the certificate authorities to trust instead of the system's, in PEM.
        single_writer: the store has no conditional writes: read, then write. Overlapping runs are then unsafe.
        given_as: where a person gave these settings, if not in `RLNAS_STORE_*`; see `in_their_names`.

    Raises:
        UserError: a value that cannot be, named by its environment variable.
    """

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    secure: bool = False
    region: str = "us-east-1"
    bucket: str = "rlnas"
    ca_file: str | None = None
    session_token: str | None = field(default=None, repr=False)
    single_writer: bool = False
    given_as: tuple[tuple[str, str], ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        keep_secret(self.access_key, self.secret_key, self.session_token)
        if not re.fullmatch(r"([\w.-]+|\[[0-9A-Fa-f:]+\])(:\d{1,5})?", self.endpoint):
            raise UserError(
                f"{ENDPOINT}: must be host:port, or http:// or https:// before it, without a path or a user"
            )
        if (port := re.search(r":(\d{1,5})$", self.endpoint)) and int(port[1]) > 65535:
            raise UserError(f"{ENDPOINT}: {port[1]} is no port; allowed: 1 to 65535")
        for name, value in ((ACCESS_KEY, self.access_key), (SECRET_KEY, self.secret_key)):
            if not value:
                raise UserError(f"{name}: is empty; the store at {self.endpoint} needs an access key and a secret key")
        if not re.fullmatch(r"(?![-_])[A-Za-z0-9_-]{1,63}(?<![-_])", self.region):
            raise UserError(
                f"{REGION}: {self.region!r} must be letters, digits and hyphens; leave it out for us-east-1"
            )
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", self.bucket):
            raise UserError(f"{BUCKET}: {self.bucket!r} must be 3 to 63 lower-case letters, digits, dots and hyphens")
        if re.search(r"\.\.|\.-|-\.|^\d+(\.\d+){3}$|^xn--|-s3alias$|--ol-s3$", self.bucket):
            raise UserError(
                f"{BUCKET}: S3 refuses {self.bucket!r}; allowed: no '..', '.-' or '-.', no IP address, no xn-- at the"
                " start, no -s3alias or --ol-s3 at the end"
            )
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise UserError(f"{CA_FILE}: {self.ca_file!r} is not a file; give certificate authorities in PEM")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> StoreSettings | None:
        """The settings in `RLNAS_STORE_*`, or None where no endpoint is named. Empty variables count as unset."""
        given = {name: value.strip() for name, value in environ.items() if value.strip()}
        if ENDPOINT not in given:
            return None
        scheme, _, rest = given[ENDPOINT].rpartition("://")
        if scheme not in ("", "http", "https"):
            raise UserError(f"{ENDPOINT}: {scheme}:// is not a scheme of S3; allowed are http:// and https://")
        secure = _truth(given, SECURE, default=scheme == "https")
        if scheme and secure != (scheme == "https"):
            raise UserError(
                f"{SECURE}: {str(secure).lower()} contradicts {scheme}:// in {ENDPOINT}; leave one of them out"
            )
        return cls(
            endpoint=rest.removesuffix("/"),
            access_key=given.get(ACCESS_KEY, ""),
            secret_key=given.get(SECRET_KEY, ""),
            secure=secure,
            region=given.get(REGION, cls.region),
            bucket=given.get(BUCKET, cls.bucket),
            ca_file=given.get(CA_FILE),
            session_token=given.get(SESSION_TOKEN),
            single_writer=_truth(given, SINGLE_WRITER, default=False),
        )

    @classmethod
    def all_from_environment(cls, environ: Mapping[str, str]) -> list[StoreSettings]:
        """The settings for each endpoint of one store, which `RLNAS_STORE_ENDPOINT` and `RLNAS_STORE_ENDPOINTS` name.

        Without either there is none.
        """
        first = cls.from_environment(environ)
        found = [] if first is None else [first]
        for endpoint in filter(None, map(str.strip, environ.get(ENDPOINTS, "").split(","))):
            try:
                settings = cls.from_environment({**environ, ENDPOINT: endpoint})
            except UserError as error:
                raise UserError(f"{ENDPOINTS}: {endpoint}: {error}") from None
            found += [settings] if settings is not None else []
        return list(dict.fromkeys(found))

    def in_their_names(self, words: str) -> str:
        """Return words about a setting with the names under which a person gave these settings."""
        return _renamed(words, self.given_as)

    def to_environment(self) -> dict[str, str]:
        """The inverse of `from_environment`, for child processes. Holds the keys: never print it."""
        values = {
            ENDPOINT: self.endpoint,
            ACCESS_KEY: self.access_key,
            SECRET_KEY: self.secret_key,
            SECURE: str(self.secure).lower(),
            REGION: self.region,
            BUCKET: self.bucket,
            CA_FILE: self.ca_file,
            SESSION_TOKEN: self.session_token,
            SINGLE_WRITER: str(self.single_writer).lower(),
        }
        return {name: value for name, value in values.items() if value is not None}


def _truth(given: Mapping[str, str], name: str, default: bool) -> bool:
    value = given.get(name, str(default)).lower()
    if value not in ("true", "false"):
        raise UserError(f"{name}: {value!r} must be true or false")
    return value == "true"


OURS, OTHER = "RLNAS_STORE_", "RLNAS_TO_"
AS_OTHER = ((ENDPOINT, "--to"), (BUCKET, "--to"), (OURS, OTHER))


def other_store(address: str, environ: Mapping[str, str]) -> StoreSettings:
    """Return a second store, whose keys and all else are in `RLNAS_TO_*` as those of the first are in `RLNAS_STORE_*`.

    Args:
        address: ENDPOINT/BUCKET.
        environ: holds its keys.

    Raises:
        UserError: a value that cannot be, named as a person gave it.
    """
    allowed = "allowed: ENDPOINT/BUCKET, such as https://s3.example.org/nas"
    if "@" in address:  # not repeated: it may hold a password
        raise UserError(f"--to: an address holds no user and no password, RLNAS_TO_* does; {allowed}")
    endpoint, _, bucket = address.rpartition("/")
    host = endpoint.rpartition("://")[2]
    if not host or not bucket or "/" in host or endpoint.endswith(":/"):
        raise UserError(f"--to: {address!r} names no bucket; {allowed}")
    named = {OURS + name.removeprefix(OTHER): value for name, value in environ.items() if name.startswith(OTHER)}
    try:
        settings = StoreSettings.from_environment(named | {ENDPOINT: endpoint, BUCKET: bucket})
    except UserError as error:
        raise UserError(_renamed(str(error), AS_OTHER)) from None
    assert settings is not None
    return replace(settings, given_as=AS_OTHER)


def _renamed(words: str, names: Sequence[tuple[str, str]]) -> str:
    for ours, theirs in names:
        words = words.replace(ours, theirs)
    return words
