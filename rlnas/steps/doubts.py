"""What is allowed in a spec, but probably not meant: a person should see it before the budget is spent."""

import math
import random

from rlnas.controller.moves import draw
from rlnas.spaces import DataShape
from rlnas.spec import SearchSpec

DRAWS = 200  # random architectures that are looked at
OF_RUNGS = ("going_on", "rungs_by")  # fields of a recipe that has rungs
WEIGHED = 1000.0  # times that a reward is weighed up or down, from which on weighing is doubtful


def doubts_of(spec: SearchSpec, shape: DataShape) -> list[str]:
    """Return a line for each doubt.

    Args:
        spec: that is valid.
        shape: of its data.
    """
    searcher = spec.controller.doubt(spec.loop.children, begun=spec.warm_start is not None)
    return [*_of_objective(spec, shape), *([f"controller: {searcher}"] if searcher else []), *_of_rungs(spec)]


def _of_objective(spec: SearchSpec, shape: DataShape) -> list[str]:
    objective, found = spec.objective, []
    if not objective.measures:
        return []
    decisions, generator = spec.space.decisions(0), random.Random(0)
    sizes = [spec.space.features(draw(decisions, generator)[0], shape).sizes for _ in range(DRAWS)]
    known = {name: [of[name] for of in sizes if name in of] for name in objective.measures}
    for name, limit in objective.limit.items():
        if known[name] and min(known[name]) > limit:
            found.append(
                f"none of {DRAWS} random architectures is within objective.limit.{name} {limit:,.6g}: the smallest has"
                f" {min(known[name]):,.6g}"
            )
    for name, weight in objective.soft.items():
        powers = [abs(weight.exponent * math.log(size / weight.target)) for size in known[name]]
        if powers and max(powers) > math.log(WEIGHED):
            found.append(
                f"objective.soft.{name} weighs rewards by more than {WEIGHED:,.0f} times: random architectures have"
                f" {min(known[name]):,.6g} to {max(known[name]):,.6g}"
            )
    return found


def _of_rungs(spec: SearchSpec) -> list[str]:
    child, loop, final = spec.child, spec.loop, spec.final
    tried = {*final.grid, *final.retrain} if final else set()
    fields = [name for name in ("rungs", *OF_RUNGS) if name in tried]
    found = [f"finalize: {name} does nothing there: a winner is trained to the end" for name in fields]
    if getattr(child, "rungs", ()):
        first = max(loop.window, loop.replicas, loop.rounds_per_update)
        if loop.rounds <= first:
            found.append(f"child.rungs: no child is stopped: the first {first} rounds have no children to compare with")
        return found
    if loop.learn_from == "finished":
        found.append("loop.learn_from: finished: no child is stopped without child.rungs")
    known = type(child).model_fields
    idle = [name for name in OF_RUNGS if name in known and getattr(child, name) != known[name].default]
    return found + [f"child.{name} does nothing without child.rungs" for name in idle]
