"""What has been learnt of files, kept on this node: a second look at a large folder takes seconds.

It is never needed: a cache that cannot be read or written is as good as an empty one.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path

_remembered: dict[bytes, tuple[str, str]] = {}  # by this process, for the nodes where nothing can be written


def stamp(file: os.stat_result) -> str:
    """Return what changes when a file does, and is known without reading it."""
    return f"{file.st_size} {file.st_mtime_ns} {file.st_ctime_ns} {file.st_ino}"


def read(folder: str) -> dict[bytes, tuple[str, str]]:
    """Return what is known of the files below a folder: path -> stamp of the file, and what was learnt."""
    start, end = os.fsencode(folder) + b"/", os.fsencode(folder) + b"0"  # the sign after /
    known: dict[bytes, tuple[str, str]] = {}

    def use(table: sqlite3.Connection) -> None:
        for path, of, learnt in table.execute("SELECT * FROM files WHERE path >= ? AND path < ?", (start, end)):
            known[path] = of, learnt

    _use(use)
    return known | {path: kept for path, kept in _remembered.items() if path.startswith(start)}


def write(learnt: Iterable[tuple[bytes, str, str]]) -> None:
    """Keep what was learnt: path, stamp of the file, what was learnt."""
    rows = list(learnt)
    _remembered.update((path, (of, what)) for path, of, what in rows)

    def use(table: sqlite3.Connection) -> None:
        with table:
            table.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)

    _use(use)


def _use(use: Callable[[sqlite3.Connection], None]) -> None:
    """Open the cache for a moment; what fails is left undone."""
    try:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlnas" / "files.sqlite"
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # nowhere to write, or no home
        return
    try:
        with closing(sqlite3.connect(path)) as table:
            table.execute("CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, stamp TEXT, learnt TEXT)")
            use(table)
    except sqlite3.OperationalError:  # not to be written, a full disk, in use for seconds
        pass
    except sqlite3.DatabaseError:  # damaged: the next one begins anew
        with suppress(OSError):
            path.unlink()
