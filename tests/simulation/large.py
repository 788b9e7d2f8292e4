"""A large search: 12,800 children by 64 workers, with one kill for every twenty children."""

from collections import Counter
from random import Random

import simulation
from rlnas import steps
from rlnas.spec import SearchSpec, parse_spec
from rlnas.state import open_search
from simulation import patches
from simulation.parts import CHOICES
from simulation.patches import SimulatedBucket, inside, module
from simulation.promises import Broken, Watch, check
from simulation.schedules import LEASE, NAME, objects_of, record_of
from simulation.world import Process, World

CHILDREN, WORKERS, ROUND = 12_800, 64, 8
CHILDREN_A_KILL = 20


def _spec() -> SearchSpec:
    return parse_spec(
        {
            "name": NAME,
            "space": {"kind": "tabular", "choices": list(CHOICES)},
            "dataset": {"kind": "formula"},
            "child": {"kind": "steady", "children_at_once": 2, "epochs": 1},
            "controller": {"kind": "tally"},
            "loop": {"children": CHILDREN, "children_per_round": ROUND, "window": 2 * WORKERS},
            "failures": {"lease_seconds": LEASE, "attempts": 100},
            "finalize": None,
        }
    )


class _Fleet:
    """Workers; one that is killed is replaced."""

    def __init__(self, world: World, spec: SearchSpec) -> None:
        self._world, self._spec = world, spec
        self._chance = Random("fleet")
        self._number = 0
        self._workers: list[Process] = []
        self._results = 0
        self.kills = 0
        world.store.watchers.append(self._look)

    def live(self) -> None:
        """Work at the search until it is complete; a driver."""
        self._workers = [self._begin() for _ in range(WORKERS)]
        while self._workers:
            self._world.wait(self._workers)
            ended = [worker for worker in self._workers if worker.ended]
            self._workers = [worker for worker in self._workers if not worker.ended]
            for worker in ended:
                if worker.error:
                    raise Broken(f"{worker.name}: {worker.error}")
                self._workers += [self._begin()] if worker.exitcode else []
        self._world.start("finish", lambda: steps.finish(open_search(SimulatedBucket(), NAME)))

    def _begin(self) -> Process:
        self._number += 1
        name, until = f"worker{self._number}", self._spec.loop.rounds
        return self._world.start(name, lambda: steps.work(open_search(SimulatedBucket(), NAME), name, 1e9, until))

    def _look(self, key: str, before: bytes | None, after: bytes | None) -> None:
        """Kill one of the workers for every so many results."""
        if "/results/" in key and before is None:
            self._results += 1
            living = [worker for worker in self._workers if not worker.ended]
            if self._results % CHILDREN_A_KILL == 0 and living:
                self.kills += 1
                self._world.kill(self._chance.choice(living))


def large() -> int:
    """Run the search and print what it took; return 0 if every promise was kept."""
    start, spec, world = simulation.REAL_MONOTONIC(), _spec(), World(1)
    module("state.bucket").PAGE = patches.PAGE = 1000  # as stores have it
    world.longest = 10**9
    watch, fleet = Watch(world, LEASE, spec.loop.rounds), _Fleet(world, spec)
    with inside(world):
        world.start("open", lambda: steps.open_search(SimulatedBucket(), NAME, spec), driver=True)
        world.run()
        world.start("fleet", fleet.live, driver=True)
        world.run()
        watch.raise_first()
        check(objects_of(world), record_of(world))
    methods = Counter({method: world.counts[method] for method in ("GET", "PUT", "LIST", "DELETE")})
    each = ", ".join(f"{method} {count / CHILDREN:.1f}" for method, count in methods.items())
    print(
        f"{CHILDREN:,} children by {WORKERS} workers, {fleet.kills} killed: budget exact, every reward in one update;"
        f" {methods.total() / CHILDREN:.1f} requests a child ({each});"
        f" {simulation.REAL_MONOTONIC() - start:.0f} s here, {world.now / 3600:.1f} h simulated"
    )
    return 0
