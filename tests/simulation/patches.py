"""What the product's modules see of the machine: the world's store, processes, signals and chance."""

import gc
import importlib
import random
import secrets
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from types import MappingProxyType, SimpleNamespace
from typing import Any, TextIO, cast

import torch  # noqa: F401 - no process of a world should need to import it

import rlnas.children.training  # noqa: F401
from rlnas.state import Bucket, StoreSettings
from rlnas.state.answers import Answer
from rlnas.state.bucket import Entries, Entry, Keys
from simulation import EPOCH, enter, parts
from simulation.promises import HISTORY_ROUNDS
from simulation.world import Process, World

SETTINGS = StoreSettings(endpoint="simulated:1", access_key="simulated", secret_key="simulated", bucket="rlnas")
PAGE = 5
"""Keys in a page of a listing, so that pages tear: what comes and goes between two of them may be missed."""
MOST_KNOWN = 20_000
"""Specs, or other records, that a process keeps as they were parsed."""
WRITTEN = datetime.fromtimestamp(EPOCH, UTC)  # every object: nothing in a world asks for its age
_now: list[World] = []


class SimulatedBucket(Bucket):
    """The product's bucket, retries and rules for doubtful answers included, over a world's objects."""

    def __init__(self, settings: StoreSettings = SETTINGS, patience: float = 30.0) -> None:
        self.settings = settings
        self.requests = Counter()
        self._patience = patience
        self._lock = threading.Lock()

    def _send(
        self, method: str, key: str, data: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> list[Answer]:
        world = _now[-1]
        apply = (lambda: world.store.get(key)) if data is None else (lambda: world.store.put(key, data, headers))
        return self._persist(method, lambda: world.request(method, key, apply))

    def _page(self, prefix: str, start_after: str | None = None, limit: int = 1000) -> Entries:
        world, page = _now[-1], Entries()

        def apply() -> Answer:
            keys = islice(world.store.keys(prefix, start_after), min(limit, PAGE))
            page[:] = [Entry(key, *world.store.about(key), WRITTEN) for key in keys]
            return Answer(200)

        answers = self._persist("LIST", lambda: world.request("LIST", prefix, apply))
        self._expect(answers[-1], f"list {prefix}", "ListBucket")
        return page

    def _persist(self, method: str, attempt: Callable[[], Answer]) -> list[Answer]:
        first = attempt()
        if not first.passing:  # nothing to retry: the product's retries would take half of the time to find that out
            return [first]
        said = [first]
        return super()._persist(method, lambda: said.pop() if said else attempt())

    def folders(self, prefix: str) -> Keys:
        world, found = _now[-1], Keys()

        def apply() -> Answer:
            rest = (key.removeprefix(prefix) for key in world.store.keys(prefix, None))
            found[:] = dict.fromkeys(f"{prefix}{key.partition('/')[0]}/" for key in rest if "/" in key)
            return Answer(200)

        self._expect(self._persist("LIST", lambda: world.request("LIST", prefix, apply))[-1], "list", "ListBucket")
        return found

    def delete(self, keys: Iterable[str]) -> None:
        world, keys = _now[-1], list(keys)
        if keys:
            answers = self._persist(
                "DELETE", lambda: world.request("DELETE", keys[0], lambda: world.store.delete(keys))
            )
            self._expect(answers[-1], f"delete {len(keys)} objects", "DeleteObject")

    def ensure(self) -> None:
        """There is a bucket."""

    def probe(self) -> None:
        """The store keeps its promises; that it does is proven elsewhere."""


class _Pipe:
    """Both ends of one, at which a process hears another that it begins."""

    def __init__(self) -> None:
        self._said: list[Any] = []
        self.process: Process | None = None

    def __enter__(self) -> "_Pipe":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: Any) -> None:
        self._said.append(message)

    def recv(self) -> Any:
        if not self._said:
            raise EOFError
        return self._said.pop()

    def close(self) -> None:
        pass


def _pipe(duplex: bool) -> tuple[_Pipe, _Pipe]:
    pipe = _Pipe()
    return pipe, pipe


class _Fork:
    """What `multiprocessing` gives out as a process."""

    def __init__(self, target: Callable[..., None], args: Sequence[Any], name: str) -> None:
        self._target, self._args, self._name = target, args, name
        self._process: Process | None = None

    def start(self) -> None:
        world, me = _now[-1], _now[-1].me
        self._process = world.start(f"{me.name}/{self._name}", lambda: self._target(*self._args), me.pod, me.host)
        for pipe in self._args:
            if isinstance(pipe, _Pipe):
                pipe.process = self._process

    def join(self) -> None:
        assert self._process is not None
        _now[-1].wait([self._process])

    def terminate(self) -> None:
        assert self._process is not None
        _now[-1].tell_to_stop(self._process)

    @property
    def exitcode(self) -> int | None:
        return self._process.exitcode if self._process else None


def _wait(pipes: Sequence[_Pipe], timeout: float | None = None) -> list[_Pipe]:
    ended = _now[-1].wait([pipe.process for pipe in pipes if pipe.process], timeout)
    return [pipe for pipe in pipes if pipe.process in ended]


def _signal(number: int, handler: Any) -> Any:
    handlers = _now[-1].me.handlers
    before = handlers.get(number, signal.SIG_DFL)
    handlers[number] = handler
    return before


def _kill(pid: int, number: int) -> None:
    if number == signal.SIGKILL:
        _now[-1].kill(_now[-1].me)
        _now[-1].pause(0.0)
    process = _now[-1].by_pid.get(pid)
    if process is None or process.ended:
        raise ProcessLookupError


def _token_hex(size: int | None = None) -> str:
    assert size is not None
    return f"{_now[-1].random.getrandbits(8 * size):0{2 * size}x}"


class _Silence:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def module(name: str) -> Any:
    """Return a module of the product; the package's names are the steps themselves, which hide modules."""
    return importlib.import_module(f"rlnas.{name}")


@cache
def install() -> None:
    """Put the world in the place of the machine, once for this process."""
    parts.register()
    signals = SimpleNamespace(
        signal=_signal,
        pthread_sigmask=lambda how, which: None,
        **{name: getattr(signal, name) for name in ("SIGTERM", "SIG_DFL", "SIG_IGN", "SIG_BLOCK", "SIG_UNBLOCK")},
    )
    processes, train, evaluate, leases = map(
        module, ("steps.processes", "steps.train_child", "steps.evaluate", "state.leases")
    )
    processes._CONTEXT = SimpleNamespace(Process=_Fork, Pipe=_pipe)
    processes.wait, processes.signal, train.signal = _wait, signals, signals
    processes.stop_with_parent = lambda pid: None  # the world ends those that a process leads with it
    train.Bucket = evaluate.Bucket = SimulatedBucket
    for step in (train, evaluate, module("steps.finalize"), module("steps.work")):
        step.device = lambda: "cpu"
    train.settle = evaluate.settle = lambda trainer, at_once: None
    leases._host = lambda: _now[-1].me.host
    leases.os = SimpleNamespace(getpid=lambda: _now[-1].me.pid, kill=_kill)
    vars(parts)["os"] = leases.os
    vars(secrets)["token_hex"] = _token_hex
    module("state.bucket").PAGE = PAGE
    ledger = module("state.ledger")
    search = module("state.search")
    search.parse_spec = _parsed_once(search.parse_spec)
    ledger.read_document = _read_once(ledger.read_document)
    ledger.Version.model_validate = _parsed_once(ledger.Version.model_validate)
    record = module("state.records").Record
    record.model_validate_json = classmethod(_read_once(record.model_validate_json.__func__))
    ledger.Ledger.HISTORY_ROUNDS = HISTORY_ROUNDS
    gc.collect()
    gc.freeze()  # what is imported by now stays: no need to look through it again and again


def _read_once(read: Callable[..., Any]) -> Callable[..., Any]:
    """Equal bytes are one record, or one document, which nobody changes."""
    known: dict[tuple[Any, ...], Any] = {}

    def once(*what: Any) -> Any:
        if (found := known.get(what)) is None:
            if len(known) > MOST_KNOWN:
                known.clear()
            found = known[what] = read(*what)
        return found

    return once


def _parsed_once(parse: Callable[..., Any]) -> Callable[..., Any]:
    """The documents of equal bytes are one object, see `_read_once`; those that are known stay, and so do their ids."""
    known: dict[int, tuple[Any, Any]] = {}

    def once(document: Any, *about: Any, **more: Any) -> Any:
        if (found := known.get(id(document))) is None:
            if len(known) > MOST_KNOWN:
                known.clear()
            found = known[id(document)] = document, parse(document, *about, **more)
        return found[1]

    return once


class inside:
    """Within the block, the product's code sees this world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> World:
        install()
        random.seed(self._world.seed)
        _now.append(self._world)
        enter(self._world)
        self._out, sys.stdout = sys.stdout, cast(TextIO, _Silence())
        return self._world

    def __exit__(self, *error: object) -> None:
        sys.stdout = self._out
        enter(None)
        _now.pop()
