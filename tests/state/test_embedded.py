"""The embedded store: one server a folder, whatever dies and whoever else starts it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

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
    wait_for(lambda: not store.status().running)
    assert store.start() == settings, "clients of the old server go on with the new one"
    assert store.status().pid != status.pid
    impatient = Bucket(settings, patience=0)
    assert impatient.get("a/key").data == b"kept", "it starts until it has its objects"

    store.stop()
    assert not store.status().running
    store.stop()

    with socket.socket() as stranger:  # takes the old port, and may be anybody
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", int(settings.endpoint.split(":")[1])))
        stranger.listen()
        moved = store.start()
    assert moved.endpoint != settings.endpoint
    assert Bucket(moved, patience=0).get("a/key").data == b"kept"


def sockets_of(store):
    """What its server has, or has left, in /tmp."""
    return [path for path in map(Path, embedded._sockets(store._read()["ports"])) if path.exists()]


def test_a_server_that_is_gone_leaves_no_socket(store):
    store.start()
    assert sockets_of(store)
    store.stop()
    assert not sockets_of(store)

    store.start()
    os.kill(store.status().pid, signal.SIGKILL)
    while store._alive():
        time.sleep(0.01)
    left = sockets_of(store)
    assert left
    store.stop()
    assert not sockets_of(store), "stopping one that was killed tidies up after it"

    store.start()
    os.kill(store.status().pid, signal.SIGKILL)
    while store._alive():
        time.sleep(0.01)
    left, port = sockets_of(store), store._read()["ports"][0]
    with socket.create_server(("127.0.0.1", port)):
        store.start()
    assert left
    assert not [path for path in left if path.exists()], "so does the next start, even if it takes other ports"


def test_sockets_of_another_server_that_has_the_old_ports_are_left_alone(store, tmp_path):
    other = EmbeddedStore(tmp_path / "other")
    other.start()
    try:
        store.folder.mkdir()
        state = {"access_key": "access", "secret_key": "secret", "ports": other._read()["ports"], "pid": None}
        (store.folder / "store.json").write_text(json.dumps(state))
        (store.folder / "store.lock").touch()
        theirs = sockets_of(other)
        store.stop()
        assert sockets_of(other) == theirs
        store.start()
        assert set(theirs) <= set(sockets_of(other))
        assert other.status().running
    finally:
        other.stop()


# Whatever SeaweedFS takes for a list, a flag, an address, a quote or a pattern, and what is hard to print.
NAMES = ["-x=a,b c:d;e", 'it\'s "q" 100%s\ttwo\nlines 日本 [1]{2}*?$(x)#\\', os.fsdecode(b"\xff\xfe,")]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / "above" / name
    folder.mkdir(parents=True)
    store = EmbeddedStore(folder / ".rlnas")
    try:
        bucket = Bucket(store.start())
        bucket.ensure()
        bucket.put("key", b"kept")
        assert bucket.get("key").data == b"kept"
        assert store.status().size > 0
    finally:
        store.stop()
    assert os.listdir(folder.parent) == [name], "no stray folder beside it"
    assert os.listdir(folder) == [".rlnas"]


@pytest.mark.parametrize("cut", [1, 16, 20])
def test_an_index_that_a_full_disk_has_cut_loses_no_object(store, cut):
    bucket, data = Bucket(store.start()), b"some bytes" * 100
    keys = [f"a/{number}" for number in range(20)]
    for key in keys:
        bucket.put(key, data)
    os.kill(store.status().pid, signal.SIGKILL)
    wait_for(lambda: not store.status().running)
    (index,) = (store.folder / "store").glob(f"{bucket.settings.bucket}_*.idx")
    assert index.stat().st_size % embedded.INDEX_ENTRY == 0
    with index.open("r+b") as file:
        file.truncate(index.stat().st_size - cut)
    bucket = Bucket(store.start())
    assert {found.data for key in keys if (found := bucket.get(key))} == {data}
    assert sorted(bucket.list("a/")) == sorted(keys)


def test_processes_that_start_at_once_get_one_server(store):
    started = [
        subprocess.Popen([sys.executable, "-c", START, str(store.folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    endpoints = {process.communicate(timeout=90)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert endpoints == {store.start().endpoint}
    servers = [
        process.info["cwd"] for process in psutil.process_iter(["name", "cwd"]) if process.info["name"] == "weed"
    ]
    assert servers.count(str(store.folder)) == 1
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
