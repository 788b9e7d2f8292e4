"""One schedule: a search, who works at it, and what befalls them, all drawn from a seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from random import Random
from typing import Any

from rlnas import steps
from rlnas.errors import SearchDeleted, StoreError, UserError
from rlnas.spec import SearchSpec, parse_spec
from rlnas.state import Ledger, open_search, pause, resume, stop
from rlnas.state.records import SearchRecord
from rlnas.state.search import record_key
from rlnas.steps.common import NOTHING_TO_DO, Batch
from simulation.parts import CHOICES
from simulation.patches import SimulatedBucket, inside, install
from simulation.promises import Broken, Watch, check
from simulation.world import Disturbance, Endless, Process, Storm, World

install()
NAME = "simulated"
LEASE = 40.0
"""Seconds; a child trains for a little longer."""
MILD = ("refused", "unavailable", "cut", "lost")
"""Disturbances of requests: they cost no attempt."""
MOST_CLOSING_RUNS = 6


@dataclass(frozen=True)
class Outcome:
    """What a schedule came to.

    Args:
        broken: the promise that was broken; empty: none was.
        chain: the controllers' bytes.
    """

    seed: int
    broken: str
    counts: dict[str, int]
    disturbances: tuple[Disturbance, ...]
    chain: tuple[bytes, ...] = ()
    log: tuple[str, ...] = field(default=(), repr=False)


class Draw:
    """The search and the actors of a schedule."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = Random(f"draw {seed}")
        self.synchronous = chance.random() < 0.5
        self.rounds = chance.choice((1, 2, 3, 4))
        per_round = chance.choice((1, 2, 2, 3, 3))
        window = 1 if self.synchronous else chance.choice((2, 3, 5))
        self.rungs = chance.random() < 0.3
        self.finalize = chance.random() < 0.25
        self.patient = chance.random() < 0.6  # no child is ever given up as lost
        self.mild = chance.random() < 0.1  # one run, whose requests are disturbed, and nothing else
        poison = not (self.patient or self.mild) and chance.random() < 0.4
        self.replicas = chance.randint(1, min(window, 2))
        self.more_rounds = chance.choice((1, 2)) if chance.random() < 0.12 else 0
        self.stopped = chance.random() < 0.1
        self.pauses = chance.randint(1, 2) if chance.random() < 0.15 and not self.mild else 0
        self.suggestions = 0 if chance.random() < 0.7 else chance.randint(1, 3)
        self.runs = 1 if self.mild else chance.choice((1, 2, 2, 3, 3))
        self.workers = [chance.randint(1, 3) if chance.random() < 0.4 else 0 for _ in range(self.runs)]
        self.closing_workers = seed % 3  # 0: closed by the loop
        fierce = 5.0 if self.mild else chance.choice((0.0, 0.3, 1.0, 1.0, 3.0))
        chances = {
            "kill": 0.004, "kill-node": 0.0007, "kill-in-flight": 0.003, "freeze": 0.003, "term": 0.001,
            "refused": 0.003, "unavailable": 0.003, "cut": 0.002,
            "kill-after": 0.004, "freeze-after": 0.003, "lost": 0.004, "again": 0.002,
        }  # fmt: skip
        if self.mild:
            chances = {kind: value for kind, value in chances.items() if kind in MILD}
        self.storm = Storm(
            until=chance.choice((150.0, 400.0, 900.0)) if fierce else 0.0,
            freeze=chance.choice((5.0, LEASE, LEASE, 2 * LEASE)),
            chances={kind: value * fierce * chance.choice((0, 1, 1, 2)) for kind, value in chances.items()},
        )
        document = (
            per_round,
            chance.choice((1, 2, per_round)),
            window,
            1 if self.synchronous else chance.randint(1, window),
            self.replicas,
            self.rungs,
            self.finalize,
            100 if self.patient else chance.choice((1, 2)),
            chance.choice(("tally", "tally", "history-tally")),
            chance.choice(("penalty", "neutral")),
            chance.choice(("all", "finished")),
            poison,
        )
        self.spec = _spec(self.rounds, *document)
        self.longest = _spec(self.rounds + self.more_rounds, *document)


@cache
def _spec(
    rounds: int, per_round: int, per_batch: int, window: int, per_update: int, replicas: int, rungs: bool,
    finalize: bool, attempts: int, searcher: str, lost: str, learn_from: str, poison: bool,
) -> SearchSpec:  # fmt: skip
    return parse_spec(
        {
            "name": NAME,
            "seed": 1,
            "space": {"kind": "tabular", "choices": list(CHOICES)},
            "dataset": {"kind": "formula"},
            "child": {"kind": "steady", "children_at_once": 2, "rungs": [1, 2] if rungs else [], "poison": poison},
            "controller": {"kind": searcher},
            "loop": {
                "children": rounds * per_round, "children_per_round": per_round, "children_per_batch": per_batch,
                "window": window, "rounds_per_update": per_update, "replicas": replicas, "learn_from": learn_from,
            },
            "failures": {"lease_seconds": LEASE, "attempts": attempts, "lost": lost},
            "finalize": {"grid": {"seconds": [5.0, 6.0]}, "data": "train"} if finalize else None,
        }
    )  # fmt: skip


def play(seed: int, only: frozenset[Disturbance] | None = None, log: bool = False, calm: bool = False) -> Outcome:
    """Run one schedule and see whether every promise was kept.

    Args:
        seed: decides everything.
        only: disturbances that there are, and no others; None: all.
        log: write down what happens.
        calm: one run of the loop alone, undisturbed: what synchronous searches must be equal to.
    """
    draw = Draw(seed)
    world = World(seed, Storm() if calm else draw.storm, only, [] if log else None)
    watch = Watch(world, LEASE, draw.rounds + draw.more_rounds)
    broken, chain = "", tuple[bytes, ...]()
    with inside(world):
        try:
            if calm:
                _Run(world, draw, 0, closing=True, reference=True).begin()
            else:
                _begin(world, draw)
            world.run()
            watch.raise_first()
            _close(world, draw, calm)
            watch.raise_first()
            # Tests of the winner that were cut short: by what befell them, or killed along with others of their node.
            cut = [
                d.process for d in world.disturbances if ".final" in d.process and d.kind.startswith(("freeze", "term"))
            ]
            cut += [name for name, process in world.processes.items() if ".final" in name and process.exitcode == -9]
            chain = check(objects_of(world), record_of(world), len(cut), draw.mild)
        except (Broken, Endless) as error:
            broken = f"{type(error).__name__}: {error}" if isinstance(error, Endless) else str(error)
    return Outcome(seed, broken, dict(world.counts), tuple(world.disturbances), chain, tuple(world.log or ()))


def verdict(seed: int, outcome: Outcome) -> str:
    """Return the promise that a schedule broke; empty: none."""
    draw = Draw(seed)
    if outcome.broken or not (draw.synchronous and draw.patient and not draw.suggestions):
        return outcome.broken
    return (
        ""
        if outcome.chain == reference(seed, len(outcome.chain))
        else "controllers differ from those of an undisturbed search"
    )


def objects_of(world: World) -> dict[str, bytes]:
    """Return what lies below the search's incarnation."""
    roots = {"/".join(key.split("/")[:3]) + "/" for key in world.store.objects if key.count("/") > 2}
    if len(roots) != 1:
        raise Broken(f"{len(roots)} incarnations")
    root = roots.pop()
    return {key.removeprefix(root): found.data for key, found in world.store.objects.items() if key.startswith(root)}


def record_of(world: World) -> SearchRecord:
    """Return the record of the search."""
    return SearchRecord.from_bytes(world.store.objects[record_key(NAME)].data, "search.json")


def reference(seed: int, versions: int) -> tuple[bytes, ...]:
    """Return the chain of a schedule's search, so many versions of it, where nothing disturbs it.

    It is a matter of the spec alone, so it is played in the first world that asks for it, and holds for all.
    """
    sha256 = Draw(seed).longest.sha256
    if sha256 not in _undisturbed:
        _undisturbed[sha256] = play(seed, calm=True).chain
    return _undisturbed[sha256][:versions]


_undisturbed: dict[str, tuple[bytes, ...]] = {}


def _begin(world: World, draw: Draw) -> None:
    for number in range(draw.runs):
        start = 0.0 if number == 0 else draw.chance.uniform(0, 120)
        world.at(start, _Run(world, draw, number).begin)
    verbs: list[tuple[str, Callable[[], Any]]] = []
    if draw.more_rounds:
        children = (draw.rounds + draw.more_rounds) * draw.spec.loop.children_per_round
        verbs.append(("extend", lambda: steps.extend(_ledger(), {"loop.children": children}, "person")))
    if draw.stopped:
        verbs.append(("stop", lambda: stop(_ledger(), "person")))
    for _ in range(draw.pauses):
        verbs += [("pause", lambda: pause(_ledger(), "person")), ("resume", lambda: resume(_ledger()))]
    for number, (name, verb) in enumerate(verbs):
        time = draw.chance.uniform(0, 60 * draw.rounds)
        world.at(time, partial(world.start, f"{name}{number}", verb))
    for number in range(draw.suggestions):
        world.at(draw.chance.uniform(0, 200), partial(world.start, f"suggest{number}", partial(_suggest, number)))


def _suggest(number: int) -> None:
    tokens = [number % choices for choices in CHOICES]
    steps.suggest(_ledger(), [tokens], f"person {number}")


def _ledger() -> Ledger:
    return open_search(SimulatedBucket(), NAME)


def _work(task: str, seconds: float) -> Any:
    ledger = _ledger()
    return steps.work(ledger, task, seconds, ledger.rounds)


def _close(world: World, draw: Draw, reference: bool) -> None:
    """When the storm is over and all have ended, undisturbed runs must bring the search to its end."""
    world.storm = Storm()
    world.start("resume", lambda: resume(_ledger()), driver=True)
    world.run()
    for number in range(MOST_CLOSING_RUNS):
        run = _Run(world, draw, 100 + number, closing=True, reference=reference)
        run.begin()
        world.run()
        if run.complete or world.stopped:
            return
    raise Broken(f"the search does not end: {run.why}")


class _Run:
    """A run of the pipeline: tasks that are pods, one after another and side by side."""

    def __init__(self, world: World, draw: Draw, number: int, closing: bool = False, reference: bool = False) -> None:
        self.world, self.draw, self.closing, self.reference = world, draw, closing, reference
        self.name = f"run{number}"
        if closing:
            self.workers = 0 if reference else draw.closing_workers
        else:
            self.workers = draw.workers[number]
        self.chance = Random(f"{world.seed}/{self.name}")
        self.complete = False
        self.why = "it did not begin"

    def begin(self) -> None:
        """Begin it, in the world."""
        self.world.start(self.name, self._live, driver=True)

    def _live(self) -> None:
        spec = self.draw.longest if self.reference else self.draw.spec
        if not self._task("open", lambda: steps.open_search(SimulatedBucket(), NAME, spec)):
            return
        if self.workers:
            self._together([(f"work{i}", self._worker(i)) for i in range(self.workers)])
        else:
            loops = range(1 if self.closing else self.draw.replicas)
            self._together([], [partial(self._loop, slot) for slot in loops])
        if not self._task("finish", lambda: steps.finish(_ledger())):
            return
        version, rounds = self.last.value, Ledger(SimulatedBucket(), record_of(self.world)).rounds
        if self.draw.finalize and version.rounds >= rounds and version.leaders:
            if not self._task("final", lambda: steps.final_test(_ledger())):
                return
            self.complete = self.last.value is not None
            self.why = "the winner is not tested"
        else:
            self.complete = version.rounds >= rounds
            self.why = f"{version.rounds} of {rounds} rounds"

    def _worker(self, number: int) -> Callable[[], Any]:
        seconds = 100_000.0 if self.closing else self.chance.choice((100.0, 100_000.0))
        task = f"{self.name}/work{number}"
        return lambda: _work(task, seconds)

    def _loop(self, slot: int) -> None:
        turns = (self.draw.rounds + self.draw.more_rounds) * 2 + 4 if self.closing else self.chance.choice((2, 5, 9))
        idle = 0
        for turn in range(turns):
            where = f"{slot}.{turn}"
            if not self._task(f"sample.{where}", lambda: steps.sample_architecture(_ledger(), slot)):
                return
            batches: list[Batch] = self.last.value
            idle = idle + 1 if batches == [NOTHING_TO_DO] else 0
            if self.closing and idle > 1:  # the first may wait for an update
                return
            if not self.closing and self.chance.random() < 0.05 and self.draw.chance.random() < 0.5:
                batches = [Batch(self.chance.randrange(self.draw.rounds), (0,))]  # Kubeflow's cache answers
            trained = self._together(
                [
                    (f"train.{where}.{i}", self._train(batch, f"{self.name}.{where}.{i}"))
                    for i, batch in enumerate(batches)
                ]
            )
            if not trained and self.chance.random() < 0.5:
                return
            for i, batch in enumerate(batches):
                if not self._task(f"evaluate.{where}.{i}", partial(self._evaluate, batch)):
                    return
            if not self._task(f"update.{where}", lambda: steps.update_controller(_ledger())):
                return

    def _train(self, batch: Batch, task: str) -> Callable[[], Any]:
        return lambda: steps.train_child(_ledger(), batch, task)

    def _evaluate(self, batch: Batch) -> Any:
        return steps.evaluate(_ledger(), batch)

    def _task(self, name: str, function: Callable[[], Any]) -> bool:
        return self._together([(name, function)])

    def _together(self, tasks: list[tuple[str, Callable[[], Any]]], parts: Sequence[Callable[[], Any]] = ()) -> bool:
        """Run tasks side by side, each again once or twice if it fails; return whether all have succeeded."""
        running = {name: (function, 0, self._pod(name, function)) for name, function in tasks}
        drivers = [self.world.start(f"{self.name}.part{i}", part, driver=True) for i, part in enumerate(parts)]
        good = True
        while running:
            self.world.wait([process for _, _, process in running.values()])
            for name, (function, tries, process) in list(running.items()):
                if not process.ended:
                    continue
                del running[name]
                self.last = process
                if process.exitcode == 0:
                    continue
                self._look_at(process)
                if isinstance(process.error, UserError | SearchDeleted):
                    self.why, good = f"{name}: {process.error}", False
                elif tries < (9 if self.closing else 2) and self.chance.random() < (1.0 if self.closing else 0.7):
                    running[name] = (function, tries + 1, self._pod(f"{name}~{tries + 1}", function))
                else:
                    self.why, good = f"{name} failed: {process.error or process.exitcode}", False
        for driver in drivers:
            self.world.wait([driver])
        return good

    def _pod(self, name: str, function: Callable[[], Any]) -> Process:
        if not (self.closing or self.draw.mild) and self.chance.random() < 0.03:  # delivered twice
            self.world.start(f"{self.name}.{name}.twice", function)
        node = f"node{self.chance.randrange(3)}" if self.chance.random() < 0.5 else ""
        return self.world.start(f"{self.name}.{name}", function, host=node)

    def _look_at(self, process: Process) -> None:
        """A process may be killed, or the store may be silent; what nobody foresaw is a fault."""
        error = process.error
        if error is not None and not isinstance(error, StoreError | UserError | SearchDeleted):
            raise Broken(f"{process.name}: {type(error).__name__}: {error}") from error
