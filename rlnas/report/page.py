"""The report of a search as one HTML page that needs nothing else: no network, no script; light and dark.

It is a function of the ledger alone: written twice, it is the same page.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rlnas.report import charts
from rlnas.report.data import DRAWN, Choices, Leader, ReportData
from rlnas.report.drawing import drawing
from rlnas.report.numbers import compact, duration
from rlnas.report.svg import styled, to_svg, variables
from rlnas.report.verdict import verdict

TEMPLATE = Path(__file__).with_name("page.html")
KINDS_DRAWN = 24  # of decisions; a space with more shows the rest in the table alone
NUMBERS = {
    "entropy": ("Policy entropy", "nats an architecture"),
    "baseline": ("Baseline", "reward, mean of earlier ones"),
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
            verdict=verdict(data.name, data.controller, data.beside),
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
    environment.filters |= {"compact": compact, "duration": duration, "measure": _measure}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _measure(name: str) -> str:
    return {"flops": "FLOPs"}.get(name, name.replace("_", " "))


def _cards(data: ReportData) -> list[Card]:
    own = data.beside.own[0]
    failed = int((~own.ok).sum())
    best = data.leaders[0] if data.leaders else None
    cards = [Card("best reward", compact(best.reward) if best else "–", f"child {best.child}" if best else "none yet")]
    for control in data.beside.controls:
        found = [np.nanmax(track.scored) for track in control.tracks]
        count = len(control.tracks[0].rewards)
        seeds = f"mean of {len(found)} seeds" if len(found) > 1 else f"{count:,} children"
        cards.append(Card(f"control {control.kind}", compact(float(np.mean(found))), seeds))
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
    if data.beside.own[0].ok.any():
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
    for what, tracks in (("search", data.beside.own), *((c.kind, c.tracks) for c in data.beside.controls)):
        legend.append((what, what, f"mean of {len(tracks)} seeds" if len(tracks) > 1 else ""))
    return tuple(legend)


def _reward_legend(data: ReportData) -> tuple[tuple[str, str, str], ...]:
    track = data.beside.own[0]
    if len(track.ok) > charts.DOTS:
        return (("search", "median", "bands: middle half, 10th to 90th percentile"), ("bad", "failed", "share, below"))
    stopped = (("other", "stopped early", "reward at that epoch"),) if track.stopped.any() else ()
    return (("search", "child", ""), *stopped, ("ink", "moving mean", ""), ("bad", "failed", "below"))


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
