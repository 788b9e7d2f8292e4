"""Play a plan: start its workers, disturb them, let them come to an end, and say what is wrong with the outcome."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from invariants import (
    outcome,
    violations_against,
    violations_at_end,
    violations_between,
    violations_of_promises,
    violations_of_the_seal,
)
from searches import objects_of, renamed, start

from chaos import works
from chaos.ground import Ground, Network
from chaos.plans import Disturbance, Plan
from rlnas.errors import StoreError
from rlnas.orphans import stop_with_parent
from rlnas.state import Bucket, Ledger
from rlnas.state.searches import find_search
from rlnas.state.suggestions import Suggestion, suggest

PATIENCE = 600.0
"""Seconds without a word of any process after which they hang. The machine may be busy."""
STOPPED = 60
"""Requests of others for which a worker is stopped at least."""
TICK, LOOK = 0.03, 0.3  # seconds between two turns of the play, and between two looks at the store


@dataclass
class Played:
    """What came of a plan.

    Args:
        plan: that was played.
        counts: of what was done.
        violations: one line each.
        seconds: it took.
    """

    plan: Plan
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0


def play(plan: Plan, ground: Ground, folder: Path, mutant: str = "") -> Played:
    """Play a plan.

    Args:
        plan: to play.
        ground: to play it on.
        folder: for the log and the output of its processes.
        mutant: fault that is planted in its processes; empty: none.
    """
    begun, played = time.monotonic(), Played(plan)
    network = Network(ground.settings.endpoint, plan.seed)
    stage = _Play(plan, ground, network, folder, mutant, played)
    try:
        stage.run()
    finally:
        stage.clear()
        played.counts += network.counts
        network.close()
    if plan.is_reproducible and not played.violations:
        played.violations += _compare(plan, ground, folder)
    played.seconds = time.monotonic() - begun
    return played


@dataclass
class _Living:
    process: Any
    life: int
    stopped_until: tuple[float, int] | None = None  # a moment, and a number of requests


class _Play:
    """One plan, while it is played."""

    def __init__(self, plan: Plan, ground: Ground, network: Network, folder: Path, mutant: str, played: Played) -> None:
        self.plan, self.ground, self.network, self.mutant, self.played = plan, ground, network, mutant, played
        self.log, self.output = folder / "log", folder / "output"
        self.log.touch()
        self.output.touch()
        self.through = replace(ground.settings, endpoint=network.endpoint)
        self.living: dict[int, _Living] = {}
        self.over: set[int] = set()  # workers that came to the end of the search
        self.ever_stopped: set[int] = set()
        self.seen: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        # A look that fails is a look less: the server may be dead.
        self.bucket = Bucket(ground.settings, patience=0)

    def run(self) -> None:
        """Play it from its beginning to its end."""
        self._in_peace(_create, self.plan, self.ground.settings, self.output)
        self.network.disturb(self.plan.network)
        waiting, looked = list(self.plan.disturbances), 0.0
        for number in range(len(self.plan.workers)):
            self._begin(number, 0)
        while waiting:
            self._tend(begin_again=True)
            while waiting and waiting[0].at <= self.network.requests:
                self._disturb(waiting.pop(0))
            if time.monotonic() - looked > LOOK:
                self._look()
                looked = time.monotonic()
            if len(self.over) == len(self.plan.workers):
                break  # the search came to its end before
            time.sleep(TICK)
        self.network.calm()
        self._await_all()
        self._in_peace(works.finish, self.plan, self.ground.settings, self.log, self.mutant)
        self._look()
        self._judge()

    # ---- the workers ----

    def _begin(self, number: int, life: int) -> None:
        process = start(
            _with_output, self.output, works.live, self.plan, self.through, self.log, self.mutant, number, life
        )
        self.living[number] = _Living(process, life)
        self.played.counts["processes"] += 1

    def _tend(self, begin_again: bool) -> None:
        """Wake whoever has been stopped long enough, bury the dead, and begin them again."""
        for number, living in list(self.living.items()):
            if living.stopped_until is not None and self._is_past(*living.stopped_until):
                living.stopped_until = None
                _signal(living, signal.SIGCONT)
            if living.process.exitcode is None:
                continue
            del self.living[number]
            _signal(living, signal.SIGKILL)  # what is left of its group: a pod ends as a whole
            status = living.process.exitcode
            if status == 0:
                self.over.add(number)
                continue
            self.played.counts["deaths by signal" if status < 0 else "deaths by error"] += status != works.TOLD_TO_STOP
            if begin_again:
                self._begin(number, living.life + 1)

    def _is_past(self, moment: float, request: int) -> bool:
        """Whether others have had time to take over; where nobody else is awake, none is needed."""
        awake = any(living.stopped_until is None for living in self.living.values())
        return time.monotonic() >= moment and (self.network.requests >= request or not awake)

    def _await_all(self) -> None:
        def all_have_ended() -> bool:
            self._tend(begin_again=False)
            return not self.living

        if not _comes(all_have_ended, self.output):
            self.played.violations += [f"worker {number} hangs" for number in self.living]
            self.clear()

    def clear(self) -> None:
        """Let no worker go on."""
        for living in self.living.values():
            _signal(living, signal.SIGKILL)
            living.process.join()
        self.living = {}

    def _in_peace(self, work: Callable[..., None], *args: Any) -> None:
        self.played.violations += _in_peace(self.output, work, *args)

    # ---- what is done to them ----

    def _disturb(self, disturbance: Disturbance) -> None:
        what, counts = disturbance.what, self.played.counts
        living = self.living.get(disturbance.worker)
        if what == "kill server":
            self.ground.kill_store(disturbance.length)
        elif what == "fill disk":
            self.ground.fill_disk(disturbance.length)
        elif what == "suggest":
            self._suggest()
        elif living is None or living.process.exitcode is not None:
            return
        elif what == "kill":
            os.kill(living.process.pid, signal.SIGKILL)
        elif what == "kill all":
            _signal(living, signal.SIGKILL)
        elif what == "terminate":
            _signal(living, signal.SIGTERM)
        elif what == "stop" and living.stopped_until is None:
            _signal(living, signal.SIGSTOP)
            self.ever_stopped.add(living.process.pid)
            living.stopped_until = time.monotonic() + disturbance.length, self.network.requests + STOPPED
        counts[what] += 1

    def _suggest(self) -> None:
        if found := self._ledger():
            suggest(found, [Suggestion(tokens=(1, 1, 1), by="chaos"), Suggestion(tokens=(0, 1, 2), by="chaos")])

    # ---- what comes of it ----

    def _ledger(self) -> Ledger | None:
        return find_search(self.bucket, self.plan.spec.name)

    def _look(self) -> None:
        """Look at the store, and compare with what was seen before. Checkpoints are read first."""
        try:
            found = self._ledger()
            if found is None:
                return
            seen = self._read(found, "checkpoints/", "") | self._read(found, "", "checkpoints/")
        except StoreError:
            return
        self.played.violations += violations_between(self.seen, seen)
        self.seen = seen
        self.played.counts["looks"] += 1

    def _read(self, of: Ledger, folder: str, but: str) -> dict[str, bytes]:
        """Read what has changed since the last look; an etag is a hash of the content."""
        objects, root = {}, of.root
        try:
            listed = list(self.bucket._client.list_objects(self.bucket.settings.bucket, root + folder, recursive=True))
        except Exception as error:  # of minio or urllib3
            raise StoreError(str(error)) from None
        for item in listed:
            key = item.object_name.removeprefix(root)
            if but and key.startswith(but):
                continue
            if key in self.seen and item.etag and self.tags.get(key) == item.etag:
                objects[key] = self.seen[key]
            elif found := self.bucket.get(item.object_name):
                objects[key], self.tags[key] = found.data, item.etag
        return objects

    def _judge(self) -> None:
        found = find_search(Bucket(self.ground.settings), self.plan.spec.name)
        if found is None:
            self.played.violations.append("the search is gone")
            return
        objects = objects_of(found)
        lines = [line.split() for line in self.log.read_text().splitlines()]
        told = [(key.removeprefix(found.root), sha256) for word, key, sha256 in _with(lines, works.TOLD, 3)]
        readers = [int(pid) for _, pid in _with(lines, works.READING, 2)]
        tested = {int(pid) for _, pid in _with(lines, works.TESTED, 2)}
        excused = [pid for pid in readers if pid not in tested or pid in self.ever_stopped]
        self.played.violations += violations_at_end(objects, self.plan.spec, works.HISTORY_ROUNDS)
        self.played.violations += violations_between(self.seen, objects)
        self.played.violations += violations_of_promises(objects, told)
        self.played.violations += violations_of_the_seal(objects, len(excused))
        self.played.counts["children"] += sum(key.startswith("results/") for key in objects)
        self.played.counts["taken over"] += sum(
            b'"attempt":1,' not in d for k, d in objects.items() if k[:7] == "leases/"
        )


def _with(lines: list[list[str]], word: str, length: int) -> list[list[str]]:
    return [line for line in lines if line[0] == word and len(line) == length]


def _create(plan: Plan, settings: Any, output: Path) -> None:
    works.prepare(output.with_name("log"), 0.0)
    works.steps.open_search(Bucket(settings), plan.spec.name, plan.spec)


def _compare(plan: Plan, ground: Ground, folder: Path) -> list[str]:
    """Say how the search differs from an undisturbed one of the same spec."""
    twin = replace(plan, spec=renamed(plan.spec))
    found = _in_peace(folder / "output", works.finish, twin, ground.settings, folder / "log of the twin")
    searches = [find_search(Bucket(ground.settings), each.spec.name) for each in (plan, twin)]
    mine, undisturbed = (objects_of(found) if found else {} for found in searches)
    return found or violations_against(mine, outcome(undisturbed))


def _in_peace(output: Path, work: Callable[..., None], *args: Any) -> list[str]:
    """Do a work in a process that nobody disturbs. Returns what is wrong with its end."""
    process = start(_with_output, output, work, *args)
    if not _comes(lambda: process.exitcode is not None, output):
        process.kill()
        process.join()
    return [f"{work.__name__} in peace ended with {process.exitcode}; see {output}"] if process.exitcode else []


def _comes(condition: Callable[[], bool], output: Path) -> bool:
    """Wait until a condition holds; False: it does not, and for long nobody has said a word."""
    deadline, said = 0.0, -1
    while not condition():
        if (now := output.stat().st_size) != said:
            deadline, said = time.monotonic() + PATIENCE, now
        if time.monotonic() > deadline:
            return False
        time.sleep(TICK)
    return True


def _with_output(output: Path, work: Callable[..., None], *args: Any) -> None:
    """Do a work whose output goes to a file, and which ends with this play."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop_with_parent(os.getppid())
    file = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    work(*args)


def _signal(living: _Living, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(living.process.pid, number)
