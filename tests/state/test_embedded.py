"""The embedded store: one server a folder, whatever dies and whoever else starts it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from rlnas.errors import StoreError
from rlnas.state import embedded
from rlnas.state.bucket import Bucket
from rlnas.state.embedded import EmbeddedStore

START = """
import sys, pathlib
from rlnas.state.embedded import EmbeddedStore
print(EmbeddedStore(pathlib.Path(sys.argv[1])).start().endpoint)
"""


@pytest.fixture
def store(tmp_path):
    store = EmbeddedStore(tmp_path / ".rlnas")
    yield store
    store.stop()


def test_life(store):
    """One server through its whole life, because every start costs a second."""
    assert not store.status().running
    assert not store.folder.exists(), "looking creates nothing"

    settings = store.start()
    bucket = Bucket(settings)
    bucket.probe()
    bucket.put("a/key", b"kept")

    status = store.status()
    assert status.running
    assert status.endpoint == settings.endpoint
    assert status.size > 0
    assert store.start() == settings, "a second start finds the first server"
    assert store.status().pid == status.pid
    assert os.getsid(status.pid) != os.getsid(0), "a signal to the search's group does not reach it"

    assert store.folder.stat().st_mode & 0o777 == 0o700
    for name in ("store.json", "store.s3.json"):
        assert (store.folder / name).stat().st_mode & 0o777 == 0o600
    assert settings.secret_key not in store.log.read_text()

    os.kill(status.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while store.status().running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert store.start() == settings, "clients of the old server go on with the new one"
    assert store.status().pid != status.pid
    assert bucket.get("a/key").data == b"kept"

    store.stop()
    assert not store.status().running
    store.stop()

    with socket.socket() as stranger:  # takes the old port, and may be anybody
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", int(settings.endpoint.split(":")[1])))
        stranger.listen()
        moved = store.start()
    assert moved.endpoint != settings.endpoint
    assert Bucket(moved).get("a/key").data == b"kept"


def test_processes_that_start_at_once_get_one_server(store):
    started = [
        subprocess.Popen([sys.executable, "-c", START, str(store.folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    endpoints = {process.communicate(timeout=90)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert endpoints == {store.start().endpoint}
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert sum(f"-dir={store.folder}/store" in command for command in commands) == 1
    assert store.status().running, "it outlives those who started it"


def test_stale_record_is_not_believed(store):
    """After a reboot the recorded process number may be anybody's: here it is ours, and we live on."""
    store.folder.mkdir(mode=0o700)
    state = {"access_key": "access", "secret_key": "secret", "ports": embedded._free_ports(None), "pid": os.getpid()}
    (store.folder / "store.json").write_text(json.dumps(state))
    (store.folder / "store.lock").touch()
    assert not store.status().running
    store.stop()


@pytest.mark.parametrize("content", ["", "{half of", "3"])
def test_damaged_record_is_named(store, content):
    store.folder.mkdir(mode=0o700)
    (store.folder / "store.json").write_text(content)
    for look in (store.status, store.start):
        with pytest.raises(StoreError, match=r"store\.json is damaged: delete it"):
            look()
    (store.folder / "store.json").unlink()
    assert store.start()


def test_failure_names_the_log(store, monkeypatch):
    monkeypatch.setattr(embedded, "_binary", lambda: "/bin/false")
    with pytest.raises(StoreError, match=r"does not start .* see .*store\.log") as caught:
        store.start()
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert store.start(), "the failure leaves nothing that hinders the next start"


def test_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot use .*file"):
        EmbeddedStore(tmp_path / "file").start()
