"""The verdict on a search in a few sentences: is it better than its controls, no more than the intervals allow."""

from rlnas.report.compared import Comparison, ControlTracks
from rlnas.report.numbers import compact
from rlnas.report.statistics import MIN_CHILDREN, Difference
from rlnas.variants import CONTROLS


def verdict(name: str, controller: str, beside: Comparison) -> str:
    """Say whether a search beats its controls, and which of them are still to be run.

    Args:
        name: of the search.
        controller: the kind of its searcher.
        beside: what it is compared with.
    """
    if controller in CONTROLS:
        return f"This search is itself a control: {controller}."
    said = [_said(control) for control in beside.controls]
    better = {control.kind for control in beside.controls if _is_better(control.difference)}
    if "random" in better:
        said += [
            f"As far as this shows, it has found {CONTROLS[control.kind].found}."
            for control in beside.controls
            if control.difference and control.kind not in better
        ]
    if any(control.difference and control.difference.of == "children" for control in beside.controls):
        said.append("This speaks of these searches; other seeds may differ.")
    said += [
        f"Not yet compared with {kind}: rlnas run SPEC --control {kind} runs that with an equal budget, as"
        f" {name}-{CONTROLS[kind].suffix}, or continues it."
        for kind in beside.open
    ]
    return " ".join(said)


def _is_better(found: Difference | None) -> bool:
    return found is not None and found.low > 0


def _said(control: ControlTracks) -> str:
    found, kind = control.difference, control.kind
    if found is None:
        return f"Not distinguishable from {kind}: fewer than {MIN_CHILDREN} children on a side."
    value, low, high = ("+" * (x >= 0) + compact(x).replace("-", "−") for x in (found.value, found.low, found.high))
    values = f"{value} reward, 95% interval {low} to {high}"
    if found.of == "seeds":
        what = f"the best child of each of {found.count} seeds, on average ({values})"
    else:
        what = f"the mean of the best quarter of {found.count:,} children ({values})"
    if found.low > 0:
        return f"Better than {kind} by {what}."
    if found.high < 0:
        return f"Worse than {kind} by {what}."
    return f"Not distinguishable from {kind}: {what}."
