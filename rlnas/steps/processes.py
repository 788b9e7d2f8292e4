"""Children side by side, each in a process of its own: one that is killed takes no other along."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from rlnas.children import Recipe, Trainer
from rlnas.children.heap import keep_freed_memory
from rlnas.errors import SearchDeleted, StoreError, Unforeseen, UserError, unforeseen_line, unforeseen_traceback
from rlnas.orphans import stop_with_parent

# Forked processes share what the parent has imported and read. Elsewhere than on Linux forking is not safe.
_CONTEXT: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
CONTEXT_GIB = 0.5  # that CUDA itself takes from a GPU for each process
TOLD_TO_STOP = "told to stop: what is not finished is given back; a later round or run takes it up"
T = TypeVar("T")


class _ToldToStop(BaseException):
    """SIGTERM came while this step held no children."""


@dataclass(frozen=True)
class Ended(Generic[T]):
    """What became of children that were run side by side.

    Args:
        said: what the work has returned, by child.
        died: those whose process died every time.
    """

    said: dict[str, T]
    died: list[str]


@contextmanager
def ends_well_if_told_to_stop() -> Iterator[None]:
    """Let a step that is told to stop (SIGTERM) go on behind this block: its task writes its outputs and exits with 0.

    A pod that makes room for others, or whose node is drained, is no failure: its children are given back, and the
    ledger says what is missing. `run_in_processes` sees to the children; at other times a step holds none. Where such
    blocks lie within one another, all of them end.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        raise _ToldToStop

    stopping, previous = False, signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _ToldToStop:
        stopping = True
    finally:
        signal.signal(signal.SIGTERM, previous)
    if stopping:
        _hand_on(previous)


def _hand_on(handler: Any) -> None:
    """Tell whoever minded SIGTERM before this block did; if nobody did, say what comes of it."""
    if callable(handler):
        handler(signal.SIGTERM, None)
    else:
        print(TOLD_TO_STOP, flush=True)


def run_in_processes(
    work: Callable[[str], T],
    children: Sequence[str],
    at_once: int,
    attempts: int,
    alone: Collection[str] = (),
    may_begin: Callable[[], bool] = lambda: True,
    kind: str = "child",
) -> Ended[T]:
    """Run `work(child)` for every child, each in its own process; one whose process died again later, by itself.

    Told to stop (SIGTERM), it tells the workers so, waits until they have ended, begins no more, and returns.

    Args:
        work: a child's own failures are its results; what it raises is an error of the store, or of this program. What
            it returns comes back from its process.
        children: names.
        at_once: how many processes at a time.
        attempts: how often to run a child whose process dies.
        alone: those that run by themselves from the first, before the others.
        may_begin: asked before each; False: neither this one nor any after it is run.
        kind: what messages call them.

    Returns:
        What came of them. A child whose process was told to stop is in it only if its work returned all the same, and
        one whose process never began is not.

    Raises:
        StoreError, UserError, SearchDeleted, Unforeseen: what a worker raised, once the others have ended.
    """
    lonely = set(alone)
    waiting = [(child, 1) for child in sorted(children, key=lambda child: child not in lonely)]
    running: dict[Any, tuple[Any, str, int]] = {}  # by the end of a pipe at which its process is heard
    said: dict[str, T] = {}
    errors: list[Exception] = []
    died: list[str] = []
    stopping = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for process, _, _ in running.values():
            process.terminate()

    def has_room() -> bool:
        together = [waiting[0][0], *(child for _, child, _ in running.values())]
        return not running or (len(running) < at_once and lonely.isdisjoint(together))

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        while running or (waiting and not stopping and not errors):
            while waiting and has_room() and not stopping and not errors:
                if not may_begin():
                    waiting.clear()
                    break
                child, attempt = waiting.pop(0)
                hear, say = _CONTEXT.Pipe(duplex=False)
                process = _CONTEXT.Process(target=_work, args=(work, child, say, kind), name=child)
                with _sigterm_held_back():  # by the new process too, until it minds signals
                    process.start()
                    running[hear] = (process, child, attempt)
                say.close()  # the process has it alone: where that ends, the pipe does
                if stopping:  # a thread of numpy's or torch's took the signal when the process was not known here yet
                    process.terminate()
            # Now and then, since a signal that comes just before the waiting is seen only after it.
            for hear in wait(list(running), timeout=1):
                process, child, attempt = running[hear]
                heard = _heard(hear)
                process.join()
                del running[hear]  # it is told to stop as long as it lives
                for message in heard:
                    if isinstance(message, Exception):
                        errors.append(message)
                    else:
                        said[child] = message
                if heard or process.exitcode == 0 or stopping:
                    continue
                print(
                    f"{kind} {child}: its process ended with {process.exitcode}, attempt {attempt} of {attempts}",
                    flush=True,
                )
                lonely.add(child)
                if attempt < attempts:
                    waiting.append((child, attempt + 1))
                else:
                    died.append(child)
    finally:
        signal.signal(signal.SIGTERM, previous)
    if errors:
        raise errors[0]
    if stopping:
        _hand_on(previous)
    return Ended(said, died)


def _heard(hear: Any) -> list[Any]:
    """Return the one thing that a process has said; nothing, if it died before it had said it whole."""
    with hear, suppress(EOFError, OSError):
        return [hear.recv()]
    return []


@contextmanager
def _sigterm_held_back() -> Iterator[None]:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _work(work: Callable[[str], T], child: str, say: Any, kind: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # held back by the parent
    if (parent := multiprocessing.parent_process()) and parent.pid:
        stop_with_parent(parent.pid)
    try:
        message: Any = work(child)
    except (StoreError, UserError, SearchDeleted) as error:
        message = error
    except Exception as error:
        from rlnas.children.training import is_out_of_memory

        print(unforeseen_traceback(error), end="", flush=True)
        if is_out_of_memory(error):  # the process may have more room by itself, as if the kernel had killed it
            sys.exit(1)
        message = Unforeseen(f"{kind} {child}: {unforeseen_line(error)}")
    with suppress(BrokenPipeError):  # spawned, and whoever began it was killed: it has ended well all the same
        say.send(message)


def device() -> str:
    """Return `cuda` where there is a GPU, else `cpu`, without touching the GPU: a process that has cannot fork."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def children_at_once(recipe: Recipe, on: str) -> int:
    """Return how many children to train side by side: one a core, or as many as the GPU's memory holds."""
    if recipe.children_at_once is not None:
        return recipe.children_at_once
    if on == "cpu":
        return _cores()
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        mebibytes = float(subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0])
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
        raise UserError(
            "nvidia-smi does not tell the GPU's memory, so how many children fit is not known; allowed: nvidia-smi in"
            " PATH, or child.children_at_once in the spec"
        ) from None
    return max(1, min(_cores(), int(mebibytes / 1024 / (recipe.gpu_memory_gib + CONTEXT_GIB))))


def settle(trainer: Trainer, at_once: int) -> None:
    """Give this process, which is one child's, one thread, a heap for itself, and its part of a GPU that several share.

    Without a limit, the child that asks last would be out of memory for a neighbour that holds too much.
    """
    import torch

    keep_freed_memory()
    torch.set_num_threads(1)  # the same sums on every machine; a spawned process does not inherit it
    if trainer.device != "cpu" and at_once > 1:
        total = torch.cuda.get_device_properties(trainer.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, trainer.recipe.gpu_memory_gib * 2**30 / total))


def _cores() -> int:
    """Cores that this process may use; a container's limit is not in the affinity mask."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
