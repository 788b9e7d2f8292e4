"""How a command ends, whatever happens: with one line, and an exit status. Imports nothing that could fail."""

import codecs
import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rlnas.errors import (
    ExportError,
    RunFailed,
    SearchDeleted,
    StoreError,
    UserError,
    one_line,
    unforeseen_line,
    unforeseen_traceback,
    without_secrets,
)

HOME = Path(".rlnas")
_NEAREST = {"×": "x", "…": "~", "→": ">", "–": "-"}  # of one column each, lest tables lose their shape


def fail(error: object, status: int) -> NoReturn:
    """End with one line on standard error."""
    with suppress(OSError):  # the terminal was closed
        print(f"rlnas: {one_line(error)}", file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:  # Python would complain of what is left in it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


@contextmanager
def one_line_endings() -> Iterator[None]:
    """Turn whatever is raised into one line; the traceback of what nobody foresaw goes to a file."""
    try:
        yield
    except (UserError, StoreError) as error:  # a run that the store fails midway is a RunFailed
        fail(error, 2)
    except (RunFailed, SearchDeleted, ExportError) as error:
        fail(error, 1)
    except KeyboardInterrupt:
        fail("stopped", 130)
    except SystemExit as end:  # typer has made one of an interruption, without a word
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            fail("stopped", 130)
        raise
    except Exception as error:
        if _while_stopping(error):  # what is drawn on a terminal that was closed cannot be taken away
            fail("stopped", 130)
        if isinstance(error, OSError) and error.errno == errno.EPIPE:  # `rlnas list | head -1` has seen enough
            fail("nobody reads what is printed", 1)
        if isinstance(error, OSError) and error.filename:  # a folder that cannot be made, a file that cannot be read
            fail(f"{os.fsdecode(error.filename)}: {error.strerror or error}", 2)
        fail(f"{unforeseen_line(error)}{_kept(error)}", 1)


def _while_stopping(error: BaseException) -> bool:
    """Whether the terminal failed (errno 5) while being told to stop was already under way."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__
    return cause is not None and isinstance(error, OSError) and error.errno == errno.EIO


def _kept(error: BaseException) -> str:
    """Keep a traceback for those who mend, and say where."""
    path = HOME / "logs" / f"error-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        command = without_secrets(" ".join(sys.argv))
        path.write_text(f"{command}\n\n{unforeseen_traceback(error)}", encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return f"; the traceback is in {path}"


def open_what_is_closed() -> None:
    """Open nothing in place of standard streams that are closed, as cron and daemons may leave them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process lives


def print_what_can_be_printed() -> None:
    """Have characters that the terminal lacks printed as the nearest that it has, or as question marks."""
    codecs.register_error("rlnas.nearest", _nearest)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="rlnas.nearest")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_NEAREST.get(c, "?") for c in error.object[error.start : error.end]), error.end


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Take a terminal that is closed (SIGHUP), and being told to stop (SIGTERM), for Ctrl-C.

    Once: of a closed terminal both the shell and the kernel tell, and a second Ctrl-C means to kill.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # One that is ignored stays so: nohup means it.
    numbers = [n for n in (signal.SIGHUP, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
