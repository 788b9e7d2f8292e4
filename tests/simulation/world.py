"""A world for the product's own code: processes, a clock and an object store that a seed decides about.

A process is a greenlet. It gives control away at every request to the store, at every look at the clock and in every
sleep; the world lets whoever is due go on. Every disturbance (a kill, a lost answer, ...) is a pure function of the
seed, the process's name and the number of its step. So a schedule replays exactly, and one disturbance can be left out
without changing the others: that is how a failing schedule is made short.
"""

import hashlib
import heapq
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any, NamedTuple, NoReturn

from greenlet import getcurrent, greenlet

from rlnas.state.answers import Answer
from simulation.store import Store

MASK = 2**64 - 1
CHANCE = 0x9E3779B97F4A7C15
"""Makes numbers of steps look like drawn ones; who comes first of those that are due at the same time is drawn so."""
SILENCE = Answer(0, "the connection was cut")
WRITES_WEIGH = 4.0
"""How much more often than other requests a write is disturbed."""
LONGEST = 60_000
"""Steps of one schedule after which it counts as endless."""


class Killed(BaseException):
    """Unwinds a process that is dead; whatever it still tries does not happen."""


class Endless(Exception):
    """A schedule that does not come to its end."""


class Disturbance(NamedTuple):
    """What happens to a process at one of its steps."""

    process: str
    step: int
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} at step {self.step} of {self.process}"


@dataclass(frozen=True)
class Storm:
    """How often a step of a process is disturbed, and until when.

    Args:
        until: simulated seconds.
        freeze: seconds that a frozen process stands still, up to three times as long.
        chances: by kind of disturbance, see `World.request`.
    """

    until: float = 0.0
    freeze: float = 60.0
    chances: dict[str, float] = field(default_factory=dict)

    @cached_property
    def together(self) -> dict[Sequence[str], float]:
        """How often any of several disturbances happens, for those that happen at one place."""
        return {kinds: sum(self.chances.get(kind, 0.0) for kind in kinds) for kinds in (BEFORE, AFTER, ALONE)}


CALM = Storm()
BEFORE = ("kill", "kill-node", "kill-in-flight", "freeze", "term", "refused", "unavailable", "cut")
"""Disturbances before a request reaches the store."""
AFTER = ("kill-after", "freeze-after", "lost", "again")
"""Disturbances after the store has done what it was asked."""
ALONE = ("kill", "freeze", "term")
"""Disturbances at a look at the clock, and in a sleep."""


class Process:
    """A process of a pod.

    Args:
        world: where it lives.
        name: the same in every replay.
        pod: the name of the process that leads its pod: what befalls one of them befalls all.
        host: where its process id means one process.
    """

    def __init__(self, world: "World", name: str, function: Callable[[], Any], pod: str, host: str) -> None:
        self.world, self.name, self.pod, self.host = world, name, pod, host
        self.pid = world.next_pid()
        self.number = int.from_bytes(hashlib.sha256(f"{world.seed}/{name}".encode()).digest()[:8], "big")
        self.began = world.now
        self.steps = 0
        self.ended = False
        self.dead = False
        self.exitcode: int | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.handlers: dict[int, Any] = {}
        self.looked: dict[str, float] = {}  # when it read an object last
        self.told_to_stop = False
        self.woken = 0  # of its wake-ups only the last one counts
        self.offset = self.number % 10_000
        self.driver = False  # drives others, and is spared
        self.greenlet = greenlet(lambda: self._live(function), world.hub)

    def _live(self, function: Callable[[], Any]) -> None:
        try:
            self.value = function()
            self.exitcode = 0
        except Killed:
            self.exitcode = -int(signal.SIGKILL)
        except SystemExit as error:
            self.exitcode = error.code if isinstance(error.code, int) else 1
        except Exception as error:
            self.exitcode, self.error = 1, error
        self.world.end(self)

    def draw(self, step: int, what: int) -> float:
        """Return a number in [0, 1) that depends on the seed, the process, the step, and on what it is for."""
        x = (self.number + step * CHANCE + what * 0xD1B54A32D192ED03) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        return (x ^ (x >> 31)) / 2**64


class World:
    """One schedule.

    Args:
        seed: decides everything.
        storm: how often processes are disturbed.
        only: disturbances that there are, and no others; None: all. How a schedule is made short.
        log: what happened goes here, a line each; None: nobody wants to know.
    """

    def __init__(
        self,
        seed: int,
        storm: Storm = CALM,
        only: frozenset[Disturbance] | None = None,
        log: list[str] | None = None,
    ) -> None:
        self.seed, self.storm, self.only, self.log = seed, storm, only, log
        self.now = 0.0
        self.store = Store()
        self.counts: Counter[str] = Counter()
        self.disturbances: list[Disturbance] = []
        self.random = Random(seed)
        self.processes: dict[str, Process] = {}
        self.by_pid: dict[int, Process] = {}
        self._pods: dict[str, list[Process]] = {}  # those that live
        self._queue: list[tuple[float, int, Process | None, int, Callable[[], Any] | None]] = []
        self._number = 0
        self._pids = 1000
        self._waiting: dict[str, Process] = {}  # for any of the others to end
        self._frozen: dict[str, float] = {}  # pods, until when
        self.hub = getcurrent()
        self.running: Process | None = None
        self.longest = LONGEST
        self._left = 0  # steps, until this schedule counts as endless
        self.stopped = False
        """Whether enough was seen."""

    # --- processes ---

    @property
    def me(self) -> Process:
        """The process that runs now."""
        assert self.running is not None
        return self.running

    def next_pid(self) -> int:
        """Return a process id that no other process has."""
        self._pids += 1
        return self._pids

    def start(
        self, name: str, function: Callable[[], Any], pod: str = "", host: str = "", driver: bool = False
    ) -> Process:
        """Begin a process; it goes on when its turn comes."""
        while name in self.processes:
            name += "'"
        process = Process(self, name, function, pod or name, host or pod or name)
        process.driver = driver
        self.processes[name] = self.by_pid[process.pid] = process
        self._pods.setdefault(process.pod, []).append(process)
        self._due(process, 0.0)
        return process

    def at(self, time: float, what: Callable[[], Any]) -> None:
        """Let something happen at a time, outside all processes."""
        self._push(time, None, 0, what)

    def run(self) -> None:
        """Let everything happen, until nothing is left that could.

        Raises:
            Endless: there is no end to it.
        """
        self._left = self.longest
        while self._left:
            self._left -= 1
            if not self._queue or self.stopped:
                return
            time, _, process, woken, what = heapq.heappop(self._queue)
            self.now = max(self.now, time)
            if process is None:
                assert what is not None
                what()
            elif not process.ended and woken == process.woken:
                if (until := self._frozen.get(process.pod, 0.0)) > self.now:
                    self._due(process, until - self.now)
                else:
                    self._go_on(process)
        raise Endless(f"{self.longest:,} steps, {self.now:,.0f} s")

    def end(self, process: Process) -> None:
        """A process has ended: those that it leads end with it, and those that wait for it go on."""
        process.ended = True
        self.note(process, f"ended with {process.exitcode}")
        living = self._pods[process.pod]
        living.remove(process)
        if not living:
            del self._pods[process.pod]
        if process.pod == process.name:
            for other in list(living):
                self.kill(other)
        for waiting in list(self._waiting.values()):
            self._due(waiting, 0.0)

    def kill(self, process: Process) -> None:
        """End a process at once; if it leads a pod, all of the pod."""
        if process.ended or process.dead:
            return
        process.dead = True
        if process is self.running:
            return  # it ends as soon as it tries anything
        if process.greenlet:  # begun: the hub unwinds it
            process.woken += 1
            self._push(self.now, None, 0, lambda: self._go_on(process, Killed()))
        else:
            process.exitcode = -int(signal.SIGKILL)
            self.end(process)

    def _go_on(self, process: Process, error: BaseException | None = None) -> None:
        if process.ended:
            return
        self.running = process
        try:
            process.greenlet.throw(error) if error else process.greenlet.switch()
        finally:
            self.running = None

    def tell_to_stop(self, process: Process) -> None:
        """SIGTERM: its handler runs when it goes on; without one it ends."""
        process.told_to_stop = True
        if not process.ended:
            self._due(process, 0.0)

    # --- what a process may do ---

    def pause(self, seconds: float | None, alone: bool = True) -> None:
        """Let others go on for a while (None: until somebody wakes it); something may befall this process meanwhile."""
        process = self.running
        assert process is not None
        if process.dead:
            raise Killed
        if alone:
            process.steps += 1
            if self.now < self.storm.until and (kind := self._fate(process, ALONE, 0)):
                self._befall(process, kind)
        if seconds is None or not self._stays(process, self.now + seconds):
            self.hub.switch()
        if process.dead:
            raise Killed
        if process.told_to_stop:
            process.told_to_stop = False
            self.note(process, "is told to stop")
            handler = process.handlers.get(signal.SIGTERM)
            if callable(handler):
                handler(int(signal.SIGTERM), None)
            elif handler != signal.SIG_IGN:
                process.dead = True
                raise Killed

    def clock(self) -> float:
        """Monotonic seconds of the process's own host."""
        process = self.me
        self.pause(0.0)
        return self.now + process.offset

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.pause(seconds)
        while self.now < end:  # a signal does not end a sleep
            self.pause(end - self.now, alone=False)

    def wait(self, processes: Sequence[Process], timeout: float | None = None) -> list[Process]:
        """Wait until one of several processes has ended; return all that have."""
        me, end = self.me, None if timeout is None else self.now + timeout
        while not (ended := [process for process in processes if process.ended]):
            if end is not None and self.now >= end:
                break
            self._waiting[me.name] = me
            try:
                self.pause(None if end is None else end - self.now, alone=False)
            finally:
                self._waiting.pop(me.name, None)
        return ended

    def request(self, method: str, key: str, apply: Callable[[], Answer]) -> Answer:
        """Send a request and return what comes back.

        Disturbances on the way there: the process is killed (its pod, its node) before the request leaves, or while it
        travels, so that it arrives all the same; it freezes; it is told to stop; the store answers 409 or 503, or the
        connection is cut. On the way back: killed, frozen; the answer is lost; the request is delivered twice.
        """
        process = self.me
        if process.dead:
            raise Killed
        process.steps += 1
        self.counts[method] += 1
        step, weight = process.steps, WRITES_WEIGH if method == "PUT" else 1.0
        kind = self._fate(process, BEFORE, 0, weight)
        if kind == "kill-in-flight":
            self.at(self.now + process.draw(step, 3) ** 4 * self.storm.freeze * 3, lambda: self._late(key, apply))
        if kind:
            self._befall(process, kind)
        self.pause(process.draw(step, 1) ** 8 * 2.0 + 0.001, alone=False)
        if kind == "refused":
            return Answer(409, "OperationAborted")
        if kind == "unavailable":
            return Answer(503, "SlowDown")
        if kind == "cut":
            return SILENCE
        answer = apply()
        if method == "GET":
            process.looked[key] = self.now
        if self.log is not None:
            self.note(process, f"{method} {key}: {answer.status} {answer.code}")
        if kind := self._fate(process, AFTER, 2, weight):
            if kind == "again":
                self.at(self.now + process.draw(step, 3) * 5, lambda: self._late(key, apply))
            self._befall(process, kind)
            self.pause(process.draw(step, 4) ** 8 * 2.0, alone=False)
            if kind == "lost":
                return SILENCE
        return answer

    def note(self, process: Process | None, words: str) -> None:
        """Write down what happened."""
        if self.log is not None:
            self.log.append(f"{self.now:9.2f} {process.name if process else '-'}: {words}")

    # --- what may befall a process ---

    def _fate(self, process: Process, kinds: Sequence[str], what: int, weight: float = 1.0) -> str:
        """Return what befalls a process at this step; empty: nothing."""
        if process.driver or self.now >= self.storm.until:
            return ""
        x = process.draw(process.steps, what * 10 + 5)
        if x >= weight * self.storm.together[kinds]:
            return ""
        for kind in kinds:
            x -= weight * self.storm.chances.get(kind, 0.0)
            if x < 0:
                found = Disturbance(process.name, process.steps, kind)
                if self.only is not None and found not in self.only:
                    return ""
                self.disturbances.append(found)
                self.counts[kind] += 1
                self.note(process, f"*** {kind}")
                return kind
        return ""

    def _befall(self, process: Process, kind: str) -> None:
        if kind.startswith("freeze"):
            length = self.storm.freeze * (0.1 + 3 * process.draw(process.steps, 6))
            self._frozen[process.pod] = self.now + length
        elif kind == "term":
            leader = self.processes[process.pod]
            self.tell_to_stop(leader)
            self.at(self.now + 30, lambda: self.kill(leader))  # the grace of a pod
        elif kind == "kill-node":
            for pod in list(self._pods.values()):
                for other in list(pod):
                    same_node = other.host == process.host or other.draw(process.steps, 7) < 0.5
                    if same_node and not other.driver and other is not process:
                        self.kill(other)
            self._die(process)
        elif kind.startswith("kill"):
            if process.draw(process.steps, 8) < 0.5 and process.name != process.pod:
                self._die(process)  # this process alone: the kernel was short of memory
            leader = self.processes[process.pod]
            for other in list(self._pods.get(process.pod, ())):
                if other is not process:
                    self.kill(other)
            self.kill(leader)
            self._die(process)

    def _die(self, process: Process) -> NoReturn:
        process.dead = True
        raise Killed

    def _late(self, key: str, apply: Callable[[], Answer]) -> None:
        answer = apply()
        self.note(None, f"arrives late: {key}: {answer.status} {answer.code}")

    def _stays(self, process: Process, time: float) -> bool:
        """A process that runs is due again at a time: it goes on at once if nobody else comes before it.

        All is as if it had left control to the world and were the next whose turn comes.
        """
        process.woken += 1
        self._number += 1
        order, queue = (self._number * CHANCE ^ self.seed) & MASK, self._queue
        comes_first = not queue or (time, order) < queue[0]
        if comes_first and self._left and not self.stopped and self._frozen.get(process.pod, 0.0) <= time:
            self._left -= 1
            if time > self.now:
                self.now = time
            return True
        heapq.heappush(queue, (time, order, process, process.woken, None))
        return False

    def _due(self, process: Process, seconds: float) -> None:
        process.woken += 1
        self._push(self.now + seconds, process, process.woken, None)

    def _push(self, time: float, process: Process | None, woken: int, what: Callable[[], Any] | None) -> None:
        self._number += 1
        heapq.heappush(self._queue, (time, (self._number * CHANCE ^ self.seed) & MASK, process, woken, what))
