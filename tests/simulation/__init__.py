"""The product's own steps in a world that a seed decides about: `python -m simulation`.

Importing this package replaces the clock of its whole process, so it runs as a program of its own.
"""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.world import World

REAL_MONOTONIC, REAL_SLEEP, REAL_TIME = time.monotonic, time.sleep, time.time
EPOCH = 1_800_000_000.0
"""What clocks on the wall say when a world begins."""


class _Now:
    """The world whose processes run now, if one does."""

    world: "World | None" = None


def _monotonic() -> float:
    world = _Now.world
    return REAL_MONOTONIC() if world is None or world.running is None else world.clock()


def _sleep(seconds: Any) -> None:
    world = _Now.world
    REAL_SLEEP(seconds) if world is None or world.running is None else world.sleep(seconds)


def _time() -> float:
    world = _Now.world
    return REAL_TIME() if world is None or world.running is None else EPOCH + world.clock()


def enter(world: "World | None") -> None:
    """Let clocks, from now on, be those of a world."""
    _Now.world = world


# Before the product is imported, whose functions take the clock as a default.
time.monotonic, time.sleep, time.time = _monotonic, _sleep, _time
