"""Plans: what is searched, who works on it, and what is done to them; all drawn from a seed."""

import random
from dataclasses import dataclass, field
from typing import Any

from proxy import FAULTS
from searches import make_spec

from chaos.trainer import register
from rlnas.spec import SearchSpec

LATE = 0.4
"""Seconds by which the proxy is late where it is."""

REQUESTS = 15
"""To the store, for a child; with waiting there are more."""


@dataclass(frozen=True)
class Worker:
    """One of the processes that work on the search.

    Args:
        kind: `loop` or `worker`.
        apart: its children are trained in processes of their own, which die with it or are left behind.
        elsewhere: it says that it runs on a host of its own, so nobody sees that it is dead.
        dies: for each of its first lives the write before (negative: after) which it kills itself; 0: none.
    """

    kind: str
    apart: bool
    elsewhere: bool
    dies: tuple[int, ...]


@dataclass(frozen=True)
class Disturbance:
    """Something that is done at a moment.

    Args:
        at: requests from the start, of all workers: so a slow machine is disturbed as much as a fast one.
        what: `kill`, `kill all`, `stop`, `terminate` (a worker), `suggest`, `kill server`, `fill disk`.
        worker: its number.
        length: seconds that it lasts at least, if it does.
    """

    at: int
    what: str
    worker: int = 0
    length: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A search and its disturbances.

    Args:
        seed: that it was drawn from.
        spec: of the search.
        workers: at once.
        pause: seconds that a step of a training takes.
        disturbances: in the order of time.
        network: the part of requests that suffers each of the proxy's faults.
    """

    seed: int
    spec: SearchSpec
    workers: tuple[Worker, ...]
    pause: float
    disturbances: tuple[Disturbance, ...]
    network: dict[str, float] = field(default_factory=dict)

    @property
    def is_reproducible(self) -> bool:
        """Whether the search comes to the same bytes, whatever is done to it."""
        return self.spec.loop.window == 1

    def __str__(self) -> str:
        loop = self.spec.loop
        kinds = "+".join(worker.kind for worker in self.workers)
        return (
            f"{loop.rounds}x{loop.children_per_round} window {loop.window} update {loop.rounds_per_update}"
            f" {self.spec.controller.kind} {kinds}"
        )


def draw(seed: int, with_full_disk: bool = True) -> Plan:
    """Draw a plan; equal seeds give equal ones.

    Args:
        seed: of the plan.
        with_full_disk: the store may lie on a disk that can be filled.
    """
    register()
    chance = random.Random(seed)
    spec = _spec(chance).model_copy(update={"name": f"chaos-{seed}", "seed": chance.randrange(2**31)})
    workers = tuple(_worker(chance) for _ in range(chance.choice((1, 2, 2, 3, 3, 4))))
    length = REQUESTS * spec.loop.children
    disturbances = [_disturbance(chance, length, workers, spec) for _ in range(chance.randint(3, 8))]
    if spec.loop.window > 1 and chance.random() < 0.4:
        disturbances.append(Disturbance(chance.randrange(length), "suggest"))
    if chance.random() < 0.3:
        disturbances.append(Disturbance(chance.randrange(length), "kill server", length=chance.uniform(0, 2)))
    if chance.random() < 0.08 and with_full_disk:
        disturbances.append(Disturbance(chance.randrange(length), "fill disk", length=chance.uniform(1, 3)))
    network = {}
    if chance.random() < 0.7:
        network = {fault: chance.choice((0.0, 0.01, 0.03, 0.08)) for fault in FAULTS}
    pause = chance.choice((0.02, 0.05, 0.1, 0.2))
    in_order = tuple(sorted(disturbances, key=lambda disturbance: disturbance.at))
    return Plan(seed, spec, workers, pause, in_order, network)


def _spec(chance: random.Random) -> SearchSpec:
    window = chance.choice((1, 1, 2, 3, 4))
    children_per_round = chance.randint(1, 3)
    evolves = chance.random() < 0.3
    controller: dict[str, Any] = {"kind": "evolution", "population": 3} if evolves else {}
    child: dict[str, Any] = {"kind": "slow", "epochs": chance.randint(2, 4)}
    if chance.random() < 0.3:
        child["rungs"] = [1]
    sections: dict[str, Any] = {}
    if chance.random() < 0.4:
        sections["finalize"] = {"grid": {"learning_rate": [0.1, 0.2]}, "data": "train", "references": ["same"]}
    return make_spec(
        child=child,
        controller=controller,
        loop={
            "children": children_per_round * chance.randint(3, 7),
            "children_per_round": children_per_round,
            "children_per_batch": chance.randint(1, children_per_round),
            "window": window,
            "rounds_per_update": chance.randint(1, min(window, 2)),
        },
        failures={
            "lease_seconds": chance.choice((1, 1, 2, 3)),
            # At window 1 nothing may depend on luck.
            "attempts": 100 if window == 1 else chance.choice((2, 100)),
        },
        **sections,
    )


def _worker(chance: random.Random) -> Worker:
    dies = tuple(chance.choice((0, 0, 1, -1)) * chance.randint(1, 30) for _ in range(3))
    return Worker(
        kind=chance.choice(("loop", "worker")),
        apart=chance.random() < 0.3,
        elsewhere=chance.random() < 0.5,
        dies=dies,
    )


def _disturbance(chance: random.Random, length: int, workers: tuple[Worker, ...], spec: SearchSpec) -> Disturbance:
    what = chance.choice(("kill", "kill all", "stop", "stop", "stop", "terminate"))
    lasts = spec.failures.lease_seconds * chance.uniform(1.2, 2.5) if what == "stop" else 0.0
    return Disturbance(chance.randrange(length), what, chance.randrange(len(workers)), lasts)
