"""What the processes of a plan do: the steps of the product, as its pods and workers take them."""

import itertools
import os
import random
import signal
import socket
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import searches
import torch

from chaos import mutants, trainer
from chaos.plans import Plan, Worker
from rlnas import steps
from rlnas.state import Bucket, Ledger, StoreSettings, open_search
from rlnas.steps.finalize import awaits_test, is_over
from rlnas.steps.processes import ends_well_if_told_to_stop

HOUR = 3600.0
HISTORY_ROUNDS = 2
"""Summaries in a bundle: small searches have some, too."""
TOLD, READING, TESTED = "told", "reading", "tested"
"""Lines of the log: a creation was confirmed (key, sha256); test data is about to be read; the final test returned."""


def live(plan: Plan, settings: StoreSettings, log: Path, mutant: str, number: int, life: int) -> None:
    """Be one of the plan's workers, from its start to its end or death.

    Args:
        plan: of chaos.
        settings: the store, as this worker reaches it.
        log: file that all processes of the plan write to.
        mutant: fault that is planted; empty: none.
        number: of the worker. Number 0 alone tests the winner.
        life: how often it has been started before.
    """
    worker = plan.workers[number]
    if worker.elsewhere:
        socket.gethostname = lambda: f"host-{number}-{life}"
    mutants.plant(mutant)
    prepare(log, plan.pause)
    _die_at(worker, life)
    if not worker.apart:
        searches.inline()
    # A pod that is started again is the same task; a new run is another one.
    task = f"{number}/{random.Random(life).choice(('', life))}"
    with ends_well_if_told_to_stop():
        ledger = open_search(Bucket(settings), plan.spec.name)
        (_loop if worker.kind == "loop" else _work)(ledger, task, number == 0)
        return
    os._exit(TOLD_TO_STOP)


TOLD_TO_STOP = 75
"""Exit status of a worker that ended well because it was told to stop."""


def finish(plan: Plan, settings: StoreSettings, log: Path, mutant: str = "") -> None:
    """Take the search to its end, in peace; create it if it is not there."""
    mutants.plant(mutant)
    prepare(log, 0.0)
    searches.inline()
    ledger = steps.open_search(Bucket(settings), plan.spec.name, plan.spec)
    _loop(ledger, "finish", True)
    steps.finish(ledger)


def prepare(log: Path, pause: float) -> None:
    """Write to the log what this process, and those forked from it, are told of the store."""
    global _log
    _log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    torch.set_num_threads(1)
    Ledger.HISTORY_ROUNDS = HISTORY_ROUNDS
    trainer.pause = pause
    Bucket.probe = lambda self: None  # type: ignore[method-assign]  # a proxy that plays tricks would fail it
    create, record = Bucket.create, Ledger.record_test_reading

    def told(self: Bucket, key: str, data: bytes) -> str | None:
        etag = create(self, key, data)
        if etag is not None:
            _say(TOLD, key, sha256(data).hexdigest())
        return etag

    def reading(self: Ledger) -> None:
        _say(READING, os.getpid())
        record(self)

    Bucket.create = told  # type: ignore[method-assign]
    Ledger.record_test_reading = reading  # type: ignore[method-assign]


_log = -1


def _say(*words: object) -> None:
    os.write(_log, f"{' '.join(map(str, words))}\n".encode())  # a line at once, whoever else writes


def _die_at(worker: Worker, life: int) -> None:
    """Kill this process, with its children's, before or after a write; each counts on from where it was forked."""
    at = worker.dies[life] if life < len(worker.dies) else 0
    if not at:
        return
    numbers = itertools.count(1)

    def watch(method: str) -> None:
        original = getattr(Bucket, method)

        def watched(self: Bucket, *args: Any, **kwargs: Any) -> Any:
            number = next(numbers)
            if number == -at:
                os.killpg(0, signal.SIGKILL)
            result = original(self, *args, **kwargs)
            if number == at:
                os.killpg(0, signal.SIGKILL)
            return result

        setattr(Bucket, method, watched)

    for method in searches.WRITES:
        watch(method)


def _loop(ledger: Ledger, task: str, tests: bool) -> None:
    """Take the loop's steps until the search is over."""
    for turn in itertools.count():
        for number, batch in enumerate(steps.sample_architecture(ledger)):
            steps.train_child(ledger, batch, f"{task}/{turn}/{number}")
            steps.evaluate(ledger, batch)
        steps.update_controller(ledger)
        reached = steps.finish(ledger).rounds == ledger.spec.loop.rounds
        if reached and _is_done(ledger, tests):
            return
        time.sleep(0.05)  # others work


def _work(ledger: Ledger, task: str, tests: bool) -> None:
    """Be a worker, as the product has it."""
    steps.work(ledger, task, HOUR, ledger.spec.loop.rounds)
    _is_done(ledger, tests)
    steps.finish(ledger)


def _is_done(ledger: Ledger, tests: bool) -> bool:
    if ledger.spec.final is None:
        return True
    if not tests:
        return is_over(ledger) or awaits_test(ledger)
    if is_over(ledger) and not ledger.version().leaders:
        return True
    record = steps.final_test(ledger)
    _say(TESTED, os.getpid())
    return record is not None
