"""Children in processes of their own."""

import multiprocessing.util
import os
import signal
import sys
import threading
import time

import psutil
import pytest
from searches import start
from waiting import LIMIT, join, wait_for

from rlnas.children.recipes import CNNRecipe
from rlnas.errors import SearchDeleted, StoreError, Unforeseen, UserError
from rlnas.steps import processes
from rlnas.steps.processes import Ended, ends_well_if_told_to_stop, run_in_processes


def has_ended(pid):
    """Whether a process is gone, buried or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_every_child_once_and_side_by_side(tmp_path):
    def work(child):
        (tmp_path / child).touch()
        pair = int(child[-1]) // 2 + 1  # alone, it waits for its neighbour
        wait_for(lambda: len(list(tmp_path.iterdir())) >= 2 * pair)
        with open(tmp_path.parent / f"{tmp_path.name}.log", "a") as log:
            log.write(f"{child} {os.getpid()}\n")

    children = [f"child-{i}" for i in range(6)]
    assert run_in_processes(work, children, at_once=2, attempts=1).died == []
    lines = (tmp_path.parent / f"{tmp_path.name}.log").read_text().split()
    assert sorted(lines[::2]) == children
    assert len(set(lines[1::2])) == 6
    assert str(os.getpid()) not in lines


def test_killed_child_is_run_again_and_takes_no_other_along(tmp_path):
    def work(child):
        with open(tmp_path / child, "a") as file:
            file.write("x")
        if child == "doomed" or (child == "unlucky" and (tmp_path / child).read_text() == "x"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_processes(work, ["doomed", "fine", "unlucky"], at_once=2, attempts=3).died == ["doomed"]
    assert {path.name: len(path.read_text()) for path in tmp_path.iterdir()} == {"doomed": 3, "fine": 1, "unlucky": 2}


def test_what_the_work_says_comes_back():
    """However much it is: more than a pipe holds while nobody reads."""
    said = {child: child * 10**6 for child in "ab"}
    assert run_in_processes(said.get, ["a", "b"], at_once=2, attempts=1) == Ended(said, [])


def test_who_has_said_it_all_is_not_run_again_however_it_ends(tmp_path):
    def work(child):
        with open(tmp_path / child, "a") as file:
            file.write("x")
        multiprocessing.util.Finalize(None, os._exit, args=(3,), exitpriority=1)
        return "said"

    assert run_in_processes(work, ["a"], at_once=1, attempts=3) == Ended({"a": "said"}, [])
    assert (tmp_path / "a").read_text() == "x"


def test_alone(tmp_path):
    """Suspects by themselves before the others; a child whose process died by itself after them."""
    path = tmp_path / "log"

    def work(child):
        with open(path, "a") as log:
            log.write(f"+{child} ")
        wait_for(lambda: child in "cd" or {"+a", "+b"} <= set(path.read_text().split()))
        time.sleep(0.2)
        with open(path, "a") as log:
            log.write(f"-{child} ")
        if child == "b" and path.read_text().count("-b") == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    assert run_in_processes(work, ["a", "b", "c", "d"], at_once=4, attempts=2, alone=["c", "d"]).died == []
    log = path.read_text().split()
    assert log[:4] == ["+c", "-c", "+d", "-d"]
    assert set(log[4:6]) == {"+a", "+b"}
    assert log[8:] == ["+b", "-b"]


@pytest.mark.parametrize("error", [StoreError("down"), UserError("wrong"), SearchDeleted("gone")])
def test_error_of_the_store_ends_the_step(tmp_path, error):
    """The others that run come to their end; nothing new is begun."""

    def work(child):
        if child == "0":
            (tmp_path / child).write_text(str(os.getpid()))
            raise error
        wait_for((tmp_path / "0").exists)
        wait_for(lambda: (pid := (tmp_path / "0").read_text()) and has_ended(int(pid)))
        (tmp_path / child).touch()

    with pytest.raises(type(error), match=str(error)):
        run_in_processes(work, ["0", "1", "2", "3"], at_once=2, attempts=5)
    assert "2" not in {path.name for path in tmp_path.iterdir()}


class Unsendable(Exception):
    """As of a library whose errors cannot be pickled."""

    def __init__(self, words, more):
        super().__init__(words)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("layer"), "child 0: KeyError: 'layer'"),
        (Unsendable("two\nlines", lambda: None), "child 0: Unsendable: two lines"),
        (OSError(5, "Input/output error", "/dev/x"), "child 0: OSError: [Errno 5] Input/output error: '/dev/x'"),
    ],
)
def test_what_nobody_foresaw_in_a_worker_ends_the_step_in_its_own_words(tmp_path, capfd, error, line):
    """It is no death of the process: nothing is tried again, and no child is taken for lost."""

    def work(child):
        with open(tmp_path / child, "a") as file:
            file.write("x")
        raise error

    with pytest.raises(Unforeseen) as caught:
        run_in_processes(work, ["0", "1"], at_once=1, attempts=5)
    assert str(caught.value) == line
    assert [path.read_text() for path in tmp_path.iterdir()] == ["x"]
    out = capfd.readouterr().out
    assert "Traceback (most recent call last):" in out
    assert "ended with" not in out


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory")])
def test_a_worker_without_memory_is_run_again_by_itself(tmp_path, error):
    def work(child):
        others = [path for path in tmp_path.iterdir() if path.name != child]
        (tmp_path / child).touch()
        if child == "greedy" and len(others) < 3:
            raise error

    assert run_in_processes(work, ["greedy", "a", "b", "c"], at_once=2, attempts=2).died == []


def test_told_to_stop(tmp_path):
    """The workers are told too, and have ended when the step ends."""

    def work(child):
        def tidy(*_):
            time.sleep(0.2)
            (tmp_path / f"{child}-stopped").touch()
            os._exit(0)

        signal.signal(signal.SIGTERM, tidy)
        (tmp_path / f"{child}-began").touch()
        for _ in range(int(10 * LIMIT)):  # a signal that comes just before a sleep is seen only after it
            time.sleep(0.1)

    def step():
        assert run_in_processes(work, ["a", "b", "c"], at_once=2, attempts=5).died == []
        assert {path.name for path in tmp_path.iterdir()} == {"a-began", "b-began", "a-stopped", "b-stopped"}
        (tmp_path / "went-on").touch()

    process = start(step)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    os.kill(process.pid, signal.SIGTERM)
    assert join(process) == 0
    assert (tmp_path / "went-on").exists()


def test_told_to_stop_before_there_are_workers(tmp_path):
    """While data is read, say; what stands behind the step still happens."""

    def step():
        with ends_well_if_told_to_stop():
            (tmp_path / "began").touch()
            time.sleep(LIMIT)
            (tmp_path / "ended").touch()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        (tmp_path / "went-on").touch()

    process = start(step)
    wait_for((tmp_path / "began").exists)
    os.kill(process.pid, signal.SIGTERM)
    assert join(process) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"began", "went-on"}


def test_a_store_that_fails_while_it_stops_is_told(tmp_path):
    def work(child):
        signal.signal(signal.SIGTERM, lambda *_: None)
        (tmp_path / child).touch()
        time.sleep(0.1)
        signal.pause()
        raise StoreError("down")

    def step():
        with pytest.raises(StoreError, match="down"):
            run_in_processes(work, ["a"], at_once=1, attempts=5)

    process = start(step)
    wait_for((tmp_path / "a").exists)
    while process.is_alive():  # again, since one that comes just before the pause is lost
        os.kill(process.pid, signal.SIGTERM)
        process.join(0.2)
    assert process.exitcode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tell")
def test_workers_are_told_to_stop_when_their_parent_is_killed(tmp_path):
    def work(child):
        def tidy(*_):
            (tmp_path / f"{child}-stopped").touch()
            os._exit(0)

        signal.signal(signal.SIGTERM, tidy)
        (tmp_path / f"{child}-began").touch()
        for _ in range(int(10 * LIMIT)):
            time.sleep(0.1)

    def names(count):
        wait_for(lambda: len(list(tmp_path.iterdir())) >= count)
        return {path.name for path in tmp_path.iterdir()}

    process = start(run_in_processes, work, ["a", "b"], 2, 5)
    assert names(2) == {"a-began", "b-began"}
    process.kill()
    assert names(4) == {"a-began", "b-began", "a-stopped", "b-stopped"}


@pytest.mark.parametrize("threads", [0, 1])
def test_told_to_stop_while_a_worker_starts(threads):
    """A signal between the start of a process and its registration, or before it minds signals, is not lost.

    Whichever thread it comes to: numpy and torch have some of their own.
    """

    def work(child):
        time.sleep(LIMIT)

    def step():
        for _ in range(threads):
            threading.Thread(target=time.sleep, args=(LIMIT,), daemon=True).start()
        process_class = processes._CONTEXT.Process
        begin = process_class.start

        def begin_and_be_told(self):
            begin(self)
            os.kill(os.getpid(), signal.SIGTERM)
            wait_for(lambda: not threads or signal.SIGTERM not in signal.sigpending())

        process_class.start = begin_and_be_told
        run_in_processes(work, ["a", "b"], at_once=1, attempts=5)

    process = start(step)
    assert join(process) == 0


def test_signals_are_as_before():
    before = signal.getsignal(signal.SIGTERM)
    run_in_processes(lambda child: None, ["a"], at_once=1, attempts=1)
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_gpu_whose_memory_nobody_tells(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert processes.children_at_once(CNNRecipe(children_at_once=3), "cuda") == 3
    with pytest.raises(UserError, match=r"nvidia-smi .* allowed: .*child.children_at_once") as caught:
        processes.children_at_once(CNNRecipe(), "cuda")
    assert "\n" not in str(caught.value)
