"""The report of a search as one HTML page that needs nothing else: no network, no script; light and dark.

It is a function of the ledger alone: written twice, it is the same page.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rlnas.report import charts
from rlnas.report.data import DRAWN, Choices, Leader, ReportData
from rlnas.report.drawing import drawing
from rlnas.report.statistics import MIN_CHILDREN
from rlnas.report.svg import styled, to_svg, variables

TEMPLATE = Path(__file__).with_name("page.html")
KINDS_DRAWN = 24  # of decisions; a space with more shows the rest in the table alone
NUMBERS = {
    "entropy": ("Policy entropy", "nats an architecture"),
    "baseline": ("Baseline", "reward, moving average"),
    "gradient_norm": ("Gradient norm", "of each update"),
}
"""Numbers of the controller that are explained; others are shown by their names."""


@dataclass(frozen=True)
class Card:
    """One of the numbers at the top."""

    label: str
    value: str
    remark: str


@dataclass(frozen=True)
class Panel:
    """A chart with its heading; `legend` holds `(CSS variable, what, remark)`."""

    title: str
    unit: str
    svg: str
    legend: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Sketch:
    """The drawing of one architecture."""

    leader: Leader
    svg: str
    width: int  # px, at its natural size


def render(data: ReportData) -> str:
    """Return the page."""
    with styled():
        return _template().render(
            data=data,
            light=variables(dark=False),
            dark=variables(dark=True),
            cards=_cards(data),
            verdict=verdict(data),
            panels=_panels(data) if data.children else [],
            choices=[_choice_panel(data, choices) for choices in data.choices[:KINDS_DRAWN]],
            metrics=list(dict.fromkeys(name for leader in data.leaders for name in leader.metrics)),
            sketches=_sketches(data),
            final_metrics=list(
                dict.fromkeys(n for record in data.finals for m in record.models for n in (*m.validation, *m.test))
            ),
        )


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"compact": compact, "duration": duration}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def verdict(data: ReportData) -> str:
    """Say in a sentence whether the search beats random, no more than the interval allows."""
    if data.own[0].name in [track.name for track in data.controls] or dict(data.facts)["controller"] == "random":
        return "This search is itself a random control."
    if not data.controls:
        return (
            "No random control to compare with yet: rlnas run SPEC --control runs one of equal budget,"
            f" {data.name}-control, or continues it."
        )
    found = data.difference
    if found is None:
        return f"No difference shown: fewer than {MIN_CHILDREN} children on a side."
    value, low, high = ("+" * (x >= 0) + compact(x).replace("-", "−") for x in (found.value, found.low, found.high))
    values = f"{value} reward, 95% interval {low} to {high}"
    if found.of == "seeds":
        what = f"the best child of each of {found.count} seeds, on average ({values})"
        scope = ""
    else:
        what = f"the mean of the best quarter of {found.count:,} children ({values})"
        scope = " This speaks of these searches; other seeds may differ."
    if found.low > 0:
        return f"Better than random by {what}.{scope}"
    if found.high < 0:
        return f"Worse than random by {what}.{scope}"
    return f"No difference shown from random: {what}.{scope}"


def _cards(data: ReportData) -> list[Card]:
    own, failed = data.own[0], int((~data.own[0].ok).sum())
    best = data.leaders[0] if data.leaders else None
    cards = [Card("best reward", compact(best.reward) if best else "–", f"child {best.child}" if best else "none yet")]
    if data.controls:
        found = [np.nanmax(track.scored) for track in data.controls]
        count = len(data.controls[0].rewards)
        seeds = f"mean of {len(found)} seeds" if len(found) > 1 else f"{count:,} children"
        cards.append(Card("random control", compact(float(np.mean(found))), seeds))
    if data.finals:
        record = ([record for record in data.finals if record.winner == data.best] or data.finals)[-1]
        whose = "the winner" if record.winner == data.best else f"child {record.winner}"
        cards += [
            Card(f"test {name}", compact(value), f"of {whose}, tested once")
            for name, value in record.models[0].test.items()
        ]
    share = f"{failed / data.children:.1%} of children" if data.children else "none yet"
    spent = float(data.seconds.sum())
    cards += [
        Card("children", f"{data.children:,}", f"of {data.budget:,}; {'complete' if data.complete else 'goes on'}"),
        Card("failed", f"{failed:,}", share),
        Card("training time", duration(spent), f"{duration(spent / max(1, len(own.ok)))} a child"),
    ]
    if "entropy" in data.numbers:
        entropy = data.numbers["entropy"][1]
        cards.append(Card("policy entropy", f"{entropy[-1]:.2f}", f"nats, from {entropy[0]:.2f} at first"))
    return cards


def _panels(data: ReportData) -> list[Panel]:
    panels = []
    if data.own[0].ok.any():
        panels.append(
            Panel("Best so far", "reward; band: 95% interval", charts.best_chart(data), _best_legend(data)),
        )
        panels.append(Panel("Reward by child", "", charts.reward_chart(data), _reward_legend(data)))
    staleness = data.numbers.get("staleness")
    for name in sorted(
        data.numbers.keys() - {"staleness"}, key=lambda n: (list(NUMBERS).index(n) if n in NUMBERS else 99, n)
    ):
        title, unit = NUMBERS.get(name, (name.replace("_", " ").capitalize(), ""))
        panels.append(Panel(title, unit, charts.number_chart(data, name, title)))
    if len(data.skip_rate):
        panels.append(Panel("Skip rate", "links chosen of those possible", charts.skip_chart(data)))
    if staleness is not None and staleness[1].any():
        unit = "versions from proposal to update"
        panels.append(Panel("Staleness", unit, charts.number_chart(data, "staleness", "Staleness")))
    return panels


def _best_legend(data: ReportData) -> tuple[tuple[str, str, str], ...]:
    legend = []
    for hue, what, tracks in (("search", "search", data.own), ("control", "random", data.controls)):
        if tracks:
            legend.append((hue, what, f"mean of {len(tracks)} seeds" if len(tracks) > 1 else ""))
    return tuple(legend)


def _reward_legend(data: ReportData) -> tuple[tuple[str, str, str], ...]:
    if len(data.own[0].ok) > charts.DOTS:
        return (("search", "median", "bands: middle half, 10th to 90th percentile"), ("bad", "failed", "share, below"))
    return (("search", "child", ""), ("ink", "moving mean", ""), ("bad", "failed", "below"))


def _choice_panel(data: ReportData, choices: Choices) -> Panel:
    known = choices.shares[~np.isnan(choices.shares[:, 0])]
    shown = charts.shown_options(choices)
    legend = [
        (f"ramp-{step}", choices.options[option], f"{known[0][option]:.0%} → {known[-1][option]:.0%}")
        for option, step in shown
    ]
    if more := len(choices.options) - len(shown):
        legend.append(("other", f"{more} others", ""))
    title = choices.kind.replace(".", ", ").replace("_", " ").capitalize()
    return Panel(title, "", charts.choice_chart(data, choices), tuple(legend))


def _sketches(data: ReportData) -> list[Sketch]:
    """Draw the best architectures, each once."""
    different = {leader.description: leader for leader in reversed(data.leaders) if leader.description.nodes}
    found = []
    for leader in list(reversed(different.values()))[:DRAWN]:
        figure = drawing(leader.description)
        width = round(figure.get_figwidth() * 72)
        found.append(Sketch(leader, to_svg(figure, f"architecture of child {leader.child}"), width))
    return found


def compact(value: float) -> str:
    """Write a number in few characters: 1234567 as 1.23M, 0.98 as 0.9800, 0.00123456 as 0.00123."""
    for limit, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            return f"{value / divisor:#.3g}".rstrip(".") + unit
    if abs(value) >= 10 or value == 0:
        return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
    return f"{value:.4f}" if abs(value) >= 0.1 else f"{value:#.3g}"


def duration(seconds: float) -> str:
    """Write a time in its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (unit, size), (smaller, part) in pairwise(units):
        if seconds >= size:
            whole, rest = divmod(round(seconds / part), size // part)
            return f"{whole} {unit} {rest} {smaller}"
    raise AssertionError("a minute or more has a unit")
