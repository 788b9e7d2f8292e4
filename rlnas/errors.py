"""The errors a person sees: each is one line that says what was wrong, where, and what is allowed."""

import errno
import os
import re
import shutil
import traceback
from collections.abc import Iterator
from contextlib import suppress

FULL, SCARCE = 1_000_000, 1_000_000_000  # bytes: so little room is none; some of so little may have been freed since
SHORTEST_SECRET = 8  # characters; a shorter one would black out words that happen to hold it
_secrets: set[str] = set()


def keep_secret(*values: str | None) -> None:
    """See to it that no line and no traceback of this process holds these values."""
    _secrets.update(value for value in values if value and len(value) >= SHORTEST_SECRET)


def without_secrets(text: str) -> str:
    """Return a text with credentials, signed addresses and passwords in addresses blacked out."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"(?i)\b(X-Amz-[\w-]+|AWSAccessKeyId|Signature)(=|%3D)[^&\s'\"<>]+", r"\1\2***", text)
    return re.sub(r"://[^/\s:@'\"]*:[^/\s@'\"]+@", "://***@", text)


def one_line(error: object, limit: int = 800) -> str:
    """Return what an error says as one printable line, whatever a person's input brought into it.

    Args:
        error: the error.
        limit: characters; from a longer line some are left out before its end, which says what is allowed.
    """
    words = " ".join(without_secrets(str(error)).split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return line if len(line) <= limit else f"{line[: limit // 2]} … {line[-limit // 2 :]}"


def unforeseen_line(error: BaseException) -> str:
    """Return in one line what an error is that nobody foresaw: its type, its own words, and where a disk is full."""
    if isinstance(error, Unforeseen):
        return one_line(error)
    return f"{type(error).__name__}: {one_line(error)}".removesuffix(": ") + _lack_of_room(error)


def unforeseen_traceback(error: BaseException) -> str:
    """Return the traceback of an error for a log, which is read by those who mend, without a secret."""
    return without_secrets("".join(traceback.format_exception(error)))


def _lack_of_room(error: BaseException) -> str:
    """Name the fullest of the folders that libraries write to, where a disk is full and the error names no file."""
    full = [e for e in _chain(error) if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT)]
    room = {}
    for folder in (os.environ.get("TMPDIR") or "/tmp", "/dev/shm", os.path.expanduser("~"), "."):
        with suppress(OSError):
            if (disk := shutil.disk_usage(folder)).total:  # /proc has nothing to fill
                room[os.path.abspath(folder)] = disk.free
    fullest = min(room, key=room.__getitem__, default=None)
    if fullest is None or any(e.filename for e in full) or room[fullest] > (SCARCE if full else FULL):
        return ""
    return f"; the least room is in {fullest}: {room[fullest] / 1e6:.1f} MB are free"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class Unforeseen(RuntimeError):
    """What nobody foresaw, told in one line by the process that met it and left the traceback in its log."""


class UserError(ValueError):
    """Input that a person can mend. Raised before anything is started; the command line exits with 2."""


class StoreError(RuntimeError):
    """The object store cannot be used: down, refusing the keys, full, or without conditional writes.

    The text names the endpoint and the object, never a credential or a signed address.
    """


class RunFailed(RuntimeError):
    """A run ended before its goal. Nothing finished is lost; running again continues."""


class SearchDeleted(RuntimeError):
    """The search this task belongs to was deleted, or deleted and created anew."""


class ChildFailure(Exception):
    """A child that cannot be scored, by its own fault: a recorded result, never a dead run.

    Args:
        reason: one of `not_finite`, `diverged`, `dead`, `out_of_memory`, `bad_shape`, `timeout`, `over_limit`, `error`.
        detail: one line for the person who looks at the result.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ExportError(RuntimeError):
    """An exported model cannot be made, or does not compute what the trained one does. Nothing of it is kept."""
