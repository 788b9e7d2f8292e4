"""A worker: one process that goes on with a search, whatever is next in it, until its time is over.

It takes the steps of the loop, so any number of workers, loops and other runs are one search: the window and the leases
are all that they know of one another. What a worker spares is the time between steps: it starts once, and what it has
read stays read.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain

from rlnas.errors import UserError
from rlnas.state import Ledger, Observer
from rlnas.steps.common import NOTHING_TO_DO, POLL_SECONDS, Batch
from rlnas.steps.deserted import Deserted
from rlnas.steps.evaluate import evaluate, evaluate_own
from rlnas.steps.finalize import awaits_test, is_over, plan_final
from rlnas.steps.processes import device, ends_well_if_told_to_stop
from rlnas.steps.sample_architecture import find_work
from rlnas.steps.train_child import train_child
from rlnas.steps.update_controller import update_controller

BUSY = ("training", "evaluating")


class _TimeIsUp(Exception):
    """While it waited for others."""


@dataclass
class Spent:
    """What a worker did with its time.

    Args:
        clock: monotonic seconds.
        seconds: by what it did: sampling, training, evaluating, updating, idle.
    """

    clock: Callable[[], float]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the seconds of a block; those of blocks within it are theirs alone."""
        start, before = self.clock(), sum(self.seconds.values())
        try:
            yield
        finally:
            within = sum(self.seconds.values()) - before
            self.seconds[what] = self.seconds.get(what, 0.0) + self.clock() - start - within

    @property
    def busy(self) -> float:
        """The share of its time in which it trained and evaluated."""
        return sum(self.seconds.get(what, 0.0) for what in BUSY) / max(sum(self.seconds.values()), 1e-9)

    @property
    def numbers(self) -> dict[str, float]:
        """Seconds by what they were for, and the busy share."""
        return {f"seconds {what}": round(seconds, 3) for what, seconds in self.seconds.items()} | {"busy": self.busy}

    def __str__(self) -> str:
        parts = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in self.seconds.items())
        return f"worked {sum(self.seconds.values()):.1f} s: {parts or 'nothing to do'}; busy {self.busy:.0%}"


def work(
    ledger: Ledger,
    task: str,
    seconds: float,
    until: int,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Spent:
    """Sample, train, evaluate and update, and train the winner, until nothing is left to do or the time is over.

    What was begun is trained to its end. Told to stop (SIGTERM), or where the search is paused, it gives its children
    back and returns.

    Args:
        ledger: of the search.
        task: equal for two attempts of one task, different for any two tasks.
        seconds: after so many nothing new is begun.
        until: the number of rounds at which the run ends; all of the search's: the winner's trainings are the run's
            matter, too.
        clock, sleep: of this machine, in seconds.

    Raises:
        UserError: the winner cannot be finalized, the data has changed, or short trials would be made on a GPU.
        StoreError: the store failed; nothing finished is lost.
    """
    on_gpu = device() != "cpu"
    if ledger.spec.controller.asks_for_trials and on_gpu:
        # Sampling would begin to use the GPU, and a process that does cannot be forked for children.
        raise UserError("controller.trials: workers make no short trials on a GPU; allowed: 0, or the loop")
    spent, end = Spent(clock), clock() + seconds

    def pause(length: float = min(POLL_SECONDS, ledger.spec.failures.lease_seconds / 4)) -> None:
        if clock() + length > end:
            raise _TimeIsUp
        with spent.on("idle"):
            sleep(length)

    with ends_well_if_told_to_stop(), suppress(_TimeIsUp):
        observer, version = Observer(ledger, trainers_score=True), ledger.version()
        deserted = Deserted(ledger, observer)
        while version.low_mark < until and clock() < end:
            with spent.on("sampling"):
                found = find_work(ledger, observer, until=until, deserted=deserted)
            if found is None or ledger.record.paused:
                break
            if not found:
                pause()
                continue
            batch = _whole(found)
            trained = _train(ledger, batch, task, spent)
            with spent.on("evaluating"):
                evaluate_own(ledger, batch, task, trained)
            before = version.version
            with spent.on("updating"):
                version = update_controller(ledger, found[0].round if found[0].children else None, apart=on_gpu)
            if version.version > before:
                print(f"round {version.rounds} of {ledger.rounds}: version {version.version}", flush=True)
            elif found == [NOTHING_TO_DO]:
                if until < ledger.rounds:
                    break  # what is missing for an update is beyond this run
                pause()
        waits = False
        while until >= ledger.rounds <= ledger.version().rounds and clock() < end:
            if is_over(ledger) or awaits_test(ledger):
                break
            if waits:
                pause()  # others train what is left
            with spent.on("sampling"):
                found = plan_final(ledger, pause)
            if found == [NOTHING_TO_DO]:
                break  # it is paused, extended, or over by now
            batch = _whole(found)
            waits = ledger.trained_children(batch.round).issuperset(batch.names)
            _train(ledger, batch, task, spent)
            with spent.on("evaluating"):
                evaluate(ledger, batch)
    print(spent, flush=True)
    return spent


def _train(ledger: Ledger, batch: Batch, task: str, spent: Spent) -> set[str]:
    with spent.on("training"):
        return train_child(ledger, batch, task)


def _whole(batches: list[Batch]) -> Batch:
    """Join the batches of a round: a worker trains as many at once as it can."""
    return Batch(batches[0].round, tuple(chain.from_iterable(batch.children for batch in batches)))
