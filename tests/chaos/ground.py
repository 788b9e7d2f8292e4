"""The ground that plans are played on: a real store that can be killed, a disk that can be filled, and a proxy."""

import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from proxy import FAULTS, FaultyProxy
from searches import FORK, start
from waiting import join

from chaos.plans import LATE
from rlnas.orphans import stop_with_parent
from rlnas.state import EmbeddedStore, StoreSettings

DISK = "160m"
FILLER = "filler"


class Ground:
    """A store of its own for plans that are played one after another.

    Attributes:
        settings: the store, undisturbed.
        can_fill: whether its disk can be filled; else `why_not` says why.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rlnas-chaos-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", self.folder], capture_output=True, text=True
        )
        self.can_fill, self.why_not = mounted.returncode == 0, mounted.stderr.strip()
        self._store = EmbeddedStore(self.folder / ".rlnas")
        self.settings: StoreSettings = self._store.start()

    def close(self) -> None:
        """Stop the store, and leave nothing."""
        self._store.stop()
        if self.can_fill:
            subprocess.run(["umount", self.folder], check=True)
        self._folder.cleanup()

    def kill_store(self, rest: float) -> None:
        """Kill the server, and start it again on its data after a while."""
        pid = self._store.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        time.sleep(rest)
        self._store.start()

    def fill_disk(self, lasting: float) -> None:
        """Fill the disk, empty it after a while, and start the server anew: by itself it looks once a minute."""
        with (self.folder / FILLER).open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(1 << 16))
        time.sleep(lasting)
        (self.folder / FILLER).unlink()
        self.kill_store(0.0)


class Network:
    """A proxy before a store, in a process of its own: what it does to requests can be changed at any time."""

    def __init__(self, target: str, seed: int) -> None:
        self._parts = FORK.Array("d", [0.0] * len(FAULTS))
        self._counts = FORK.Array("q", [0] * len(FAULTS))
        self._requests = FORK.Value("q", 0)
        mine, its = FORK.Pipe()
        self._process = start(_play, target, seed, its, self._parts, self._counts, self._requests)
        self._pipe: Connection = mine
        self.endpoint: str = mine.recv()

    def disturb(self, network: dict[str, float]) -> None:
        """From now on, let each fault befall that part of the requests."""
        self._parts[:] = [network.get(fault, 0.0) for fault in FAULTS]

    def calm(self) -> None:
        """From now on forward everything; what was held back has arrived when this returns."""
        self.disturb({})
        time.sleep(2 * LATE)

    @property
    def counts(self) -> Counter[str]:
        """How many requests each fault befell."""
        return Counter(dict(zip(FAULTS, self._counts, strict=True)))

    @property
    def requests(self) -> int:
        """How many requests have come."""
        return int(self._requests.value)

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        join(self._process)


def _play(target: str, seed: int, pipe: Connection, parts: Any, counts: Any, requests: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_with_parent(os.getppid())
    chance, lock = random.Random(seed), threading.Lock()

    def fault(method: str) -> str:
        with lock:
            requests.value += 1
            drawn = chance.random()
            for number, (name, part) in enumerate(zip(FAULTS, parts[:], strict=True)):
                if (drawn := drawn - part) < 0:
                    counts[number] += 1
                    return name
        return ""

    with FaultyProxy(target) as proxy:
        proxy.play, proxy.delay = fault, LATE
        pipe.send(proxy.endpoint)
        with suppress(EOFError):
            pipe.recv()
