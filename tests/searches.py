"""Small searches for the tests of the state. The same code runs them whatever their space is."""

import importlib
import itertools
import math
import multiprocessing
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import invariants
import torch
import torch._dynamo  # noqa: F401 - so that forked processes need not import them
from odd import Odd
from waiting import join

from rlnas import steps
from rlnas.controller import SETTINGS
from rlnas.registry import resolve
from rlnas.spec import SearchSpec, parse_spec
from rlnas.state import Bucket, FinalRecord, Ledger, StoreSettings, leases, open_search
from rlnas.steps.processes import Ended

CALLS = ("get", "put", "create", "replace", "list", "folders", "delete")
WRITES = ("put", "create", "replace", "delete")
FORK = multiprocessing.get_context("fork")
KINDS = ("tabular", "cnn", "rnn")
# The package's names are the steps themselves, which hide the modules.
SAMPLE, TRAIN, EVALUATE, FINALIZE, WORK = (
    importlib.import_module(f"rlnas.steps.{step}")
    for step in ("sample_architecture", "train_child", "evaluate", "finalize", "work")
)
SAMPLE.POLL_SECONDS = FINALIZE.POLL_SECONDS = WORK.POLL_SECONDS = 0.1  # type: ignore[attr-defined]
_folder = tempfile.TemporaryDirectory(prefix="rlnas-tests-")  # until this process ends
FILES = Path(_folder.name)


def make_spec(kind: str = "tabular", **sections: dict) -> SearchSpec:
    """A search of seconds, under a name of its own; sections are laid over the ones here."""
    documents: dict[str, dict[str, Any]] = {
        "tabular": {
            "space": {"kind": "tabular", "choices": [3, 3, 3]},
            "dataset": {"kind": "table", "path": str(_table())},
        },
        "cnn": {
            "space": {"kind": "cnn", "layers": 2, "filters": [2, 4], "filter_heights": [1, 3], "filter_widths": [1, 3]},
            "dataset": {"kind": "digits", "validation_fraction": 0.1, "test_fraction": 0.6},
            "child": {"epochs": 2, "batch": 128, "snapshots": 1, "upsample_by": 1, "flip": False},
        },
        "rnn": {
            "space": {"kind": "rnn", "base": 2},
            "dataset": {"kind": "text"} | {f"{part}_file": str(_text()) for part in ("train", "validation", "test")},
            "child": {
                "epochs": 2,
                "batch": 4,
                "bptt": 10,
                "hidden": 8,
                "layers": 1,
                "dead_after": None,
                "learning_rate": 0.1,
            },
        },
    }
    document = documents[kind] | {
        "name": f"{kind}-{uuid4().hex[:8]}",
        "controller": {"kind": "reinforce", "hidden": 8, "learning_rate": 0.1},
        "loop": {"children": 4, "children_per_round": 2},
        "failures": {"lease_seconds": 3600},  # on a slow machine too, the living keep what they hold
        "finalize": None,
    }
    for name, section in sections.items():
        document[name] = section if name == "controller" and "kind" in section else (document.get(name) or {}) | section
    return parse_spec(document)


def make_small_spec(searcher: str, kind: str, **loop: int) -> SearchSpec:
    """Two rounds of three: a searcher that reads the history proposes from it in the second."""
    small = {"hidden": 8, "learning_rate": 0.1, "population": 2, "first": 2, "samples": 8, "draws": 4}
    small |= {"trials": 2} if kind == "rnn" else {}  # of images there are none
    fields = resolve(SETTINGS, searcher, "rlnas.controller_settings").model_fields
    return make_spec(
        kind,
        controller={"kind": searcher} | {name: value for name, value in small.items() if name in fields},
        child={"epochs": 1} | ({"batch": 16, "learning_rate": 0.3} if kind == "cnn" else {}),
        loop={"children": 6, "children_per_round": 3, "children_per_batch": 2} | loop,
        objective={"limit": {"parameters": 100}} if kind == "cnn" else {},  # cells are all of one size
    )


def _table() -> Path:
    path = FILES / "table.csv"
    if not path.exists():
        rows = [f"{a}-{b}-{c},{20 * a + 7 * b * c + c},{a}" for a, b, c in itertools.product(range(3), repeat=3)]
        path.write_text("\n".join(["architecture,validation,test", *rows]) + "\n")
    return path


def _text() -> Path:
    path = FILES / "text.txt"
    if not path.exists():
        story = "the cat sat on the mat and the dog ate the bone while a bird sang to the moon\n"
        path.write_text("".join(story[i % 9 :] for i in range(40)))
    return path


def run(
    settings: StoreSettings, spec: SearchSpec, task: str = "a", before_turn: Callable[[Ledger], Any] = lambda _: None
) -> Ledger:
    """Run every step of a search, over and over, until its budget is reached."""
    torch.set_num_threads(1)  # forked from pytest, where others may have used more
    ledger = steps.open_search(Bucket(settings), spec.name, spec)
    for turn in itertools.count():
        before_turn(ledger)
        for number, batch in enumerate(steps.sample_architecture(ledger)):
            steps.train_child(ledger, batch, f"{task}/{turn}/{number}")
            steps.evaluate(ledger, batch)
        steps.update_controller(ledger)
        reached = steps.finish(ledger).rounds == ledger.rounds
        if reached and (ledger.spec.final is None or steps.final_test(ledger)):
            return ledger
        assert turn < 100, "the search does not come to its end"


def finalize(ledger: Ledger, child: str = "", references: tuple[str, ...] = (), task: str = "a") -> FinalRecord | None:
    """Run every step that takes a winner to its test."""
    for number, batch in enumerate(steps.plan_grid(ledger, child, references)):
        steps.train_child(ledger, batch, f"{task}/grid/{number}")
        steps.evaluate(ledger, batch)
    for number, batch in enumerate(steps.plan_retraining(ledger, child)):
        steps.train_child(ledger, batch, f"{task}/last/{number}")
    return steps.final_test(ledger, child)


def start(function: Callable[..., Any], *args: Any) -> Any:
    """Start a process: killed, it dies as a pod does. It leads a group of its own, so that all of it can be killed."""

    def lead() -> None:
        os.setpgrp()
        function(*args)

    process = FORK.Process(target=lead)
    process.start()
    return process


def in_process(function: Callable[..., Any], *args: Any) -> int:
    """Run a function in a process of its own and return the exit status."""
    return join(start(function, *args))


def odd_trainers() -> None:
    """From now on, in this process, children are trained by `Odd`."""
    TRAIN.trainer_of = EVALUATE.trainer_of = lambda ledger, *_: Odd(ledger.spec.child, ledger.shape, "cpu")  # type: ignore[attr-defined]


def inline() -> None:
    """From now on, in this process, children are trained and evaluated without processes of their own."""
    TRAIN.run_in_processes = EVALUATE.run_in_processes = run_inline  # type: ignore[attr-defined]


def run_inline(work: Callable[[str], Any], children: Any, *_: Any) -> Ended[Any]:
    return Ended({child: work(child) for child in children}, [])


def run_apart(bucket: Bucket, spec: SearchSpec, **options: Any) -> Ledger:
    """Run a search in a process of its own, and its children in that very process: fast where they are small."""

    def work() -> None:
        inline()
        run(bucket.settings, spec, **options)

    assert in_process(work) == 0
    return open_search(bucket, spec.name)


def on_call(act: Callable[[int, str, str], None], methods: tuple[str, ...] = CALLS) -> None:
    """From now on, in this process, call `act(number from 1, method, key)` after each call to the store."""
    numbers = itertools.count(1)

    def watch(method: str) -> None:
        original = getattr(Bucket, method)

        def watched(self: Bucket, key: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, key, *args, **kwargs)
            act(next(numbers), method, str(key))
            return result

        setattr(Bucket, method, watched)

    for method in methods:
        watch(method)


def killed_run(settings: StoreSettings, spec: SearchSpec, when: Callable[[int, str, str], bool], methods: Any) -> None:
    """In a process of its own: run a search and die by SIGKILL right after the call to the store that `when` picks."""
    Bucket.probe = lambda self: None  # eight threads at once; it has a test of its own
    inline()

    def act(number: int, method: str, key: str) -> None:
        if when(number, method, key):
            os.kill(os.getpid(), signal.SIGKILL)

    on_call(act, methods)
    run(settings, spec)


def killed_at_every_write(work: Callable[[], Any]) -> int:
    """Do a work in one process after another. Each dies by SIGKILL after its first write that none has died after.

    A write is the same as another one if it is the same call for the same key, as often in its process, and the search
    has come to the same version.

    Returns:
        How many died before one came to the end.
    """
    known: set[tuple[str, str, int, int]] = set()
    told = FORK.SimpleQueue()

    def process() -> None:
        Bucket.probe = lambda self: None  # type: ignore[method-assign]
        inline()
        counts: Counter[tuple[str, str]] = Counter()
        versions = sum(method == "create" and "/controllers/" in key for method, key, *_ in known)

        def act(number: int, method: str, key: str) -> None:
            counts[method, key] += 1
            if (write := (method, key, counts[method, key], versions)) not in known:
                told.put(write)
                os.kill(os.getpid(), signal.SIGKILL)

        on_call(act, WRITES)
        work()

    while in_process(process):
        known.add(told.get())
    return len(known)


def take_turns(*works: Callable[[], Any]) -> None:
    """Do works in a process each, which take turns: one goes on when the one before it has called the store once."""
    turns = [FORK.Semaphore(0) for _ in works]
    busy = FORK.Array("b", [True] * len(works))

    def hand_over(place: int) -> None:
        after = [(place + step) % len(works) for step in range(1, len(works) + 1)]
        turns[next((other for other in after if busy[other]), place)].release()

    def process(place: int) -> None:
        def act(*_: Any) -> None:
            hand_over(place)
            turns[place].acquire()

        Bucket.probe = lambda self: None  # type: ignore[method-assign]
        inline()
        on_call(act)
        turns[place].acquire()
        try:
            works[place]()
        finally:
            busy[place] = False
            hand_over(place)

    processes = [start(process, place) for place in range(len(works))]
    turns[0].release()
    assert [join(process) for process in processes] == [0] * len(works)


def checkpoint_every_step() -> None:
    """From now on, in this process, every step of a child leaves a checkpoint, as on an endlessly slow machine."""
    leases.BEAT_SECONDS = 0.0


def checkpoint_never() -> None:
    """From now on, in this process, no child leaves one unless it is told to stop, as on an endlessly fast machine."""
    leases.BEAT_SECONDS = math.inf


def objects_of(ledger: Ledger) -> dict[str, bytes]:
    """Every object of a search, by its key below the incarnation."""
    found = {key: ledger.bucket.get(key) for key in ledger.bucket.list_all(ledger.root)}
    return {key.removeprefix(ledger.root): item.data for key, item in found.items() if item}


def outcome(ledger: Ledger) -> dict[str, Any]:
    """All that a search must come to, however often it was interrupted, by key; see `invariants.outcome`."""
    return invariants.outcome(objects_of(ledger))


def renamed(spec: SearchSpec) -> SearchSpec:
    """The same search under another name, with a ledger of its own."""
    return spec.model_copy(update={"name": f"{spec.space.kind}-{uuid4().hex[:8]}"})
