"""The charts of a report, each as an SVG of one width: a phone shows them one below another, a desk side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlnas.report.compared import Track
from rlnas.report.data import Choices, ReportData
from rlnas.report.statistics import Floats, best_so_far, best_so_far_interval, mean_interval
from rlnas.report.svg import RAMP, colour, to_svg

WIDTH, HEIGHT, LOW = 420, 200, 150  # px
POINTS = 200  # of a curve, at most
DOTS = 1500  # more children than this are shown by their quantiles
OPTIONS = len(RAMP)  # more options than this are shown as one


def best_chart(data: ReportData) -> str:
    """Draw the best reward so far with its 95% interval, against its controls where there are any."""
    figure, axes = _axes(HEIGHT)
    shown = [*((control.kind, control.tracks) for control in data.beside.controls), ("search", data.beside.own)]
    drawn = [_best(axes, tracks, colour(name)) for name, tracks in shown]
    # Where it matters: the first few children are often far below. Of seeds that differ in length, the first may have
    # failed in one while the other has no more.
    if known := [curve[~np.isnan(curve)] for curve in drawn if not np.isnan(curve).all()]:
        axes.set_ylim(*_around(min(np.quantile(curve, 0.1) for curve in known), max(map(np.max, known))))
    _label_x(axes, max(len(track.rewards) for _, tracks in shown for track in tracks))
    return to_svg(figure, "best reward so far by children trained")


def _best(axes: Any, tracks: Sequence[Track], hue: str) -> Floats:
    count = min(len(track.rewards) for track in tracks)
    at = np.unique(np.linspace(1, count, min(count, POINTS)).round().astype(int))
    curves = np.array([best_so_far(track.scored[:count])[at - 1] for track in tracks])
    if len(tracks) > 1:
        low, high = mean_interval(curves)
    else:
        low, high = best_so_far_interval(tracks[0].scored[:count], at.tolist())
    axes.fill_between(at, low, high, color=hue, alpha=0.16, linewidth=0, step="post")
    axes.plot(at, curves.mean(0), color=hue, drawstyle="steps-post")
    return curves.mean(0)


def reward_chart(data: ReportData) -> str:
    """Draw the reward of every child, or quantiles where there are many; failures in a strip below."""
    from matplotlib.figure import Figure

    track = data.beside.own[0]
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
    axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(9, 1))
    _place(figure, HEIGHT)
    figure.subplots_adjust(hspace=0.08)
    at, rewards = np.arange(1, len(track.ok) + 1), track.scored
    if len(at) <= DOTS:
        size = 5 if len(at) < 300 else 2.4
        for which, hue in ((track.stopped, "other"), (~track.stopped, "search")):
            axes.plot(at[which], rewards[which], "o", color=colour(hue), markersize=size, alpha=0.6, mew=0)
        _mean_line(axes, at, rewards)
        strip.vlines(at[~track.ok], 0, 1, color=colour("bad"), linewidth=max(1, min(4, 250 / len(at))))
        strip.set_ylim(0, 1)
    else:
        bins = np.array_split(np.arange(len(at)), 100)
        middle = [at[b].mean() for b in bins]
        q = np.array([_quantiles(rewards[b]) for b in bins]).T
        axes.fill_between(middle, q[0], q[4], color=colour("search"), alpha=0.14, linewidth=0)
        axes.fill_between(middle, q[1], q[3], color=colour("search"), alpha=0.26, linewidth=0)
        axes.plot(middle, q[2], color=colour("search"))
        strip.bar(middle, [1 - track.ok[b].mean() for b in bins], width=len(at) / 100, color=colour("bad"))
        strip.set_ylim(0, max(0.05, *(1 - track.ok[b].mean() for b in bins)))
    axes.tick_params(bottom=False)
    axes.spines["bottom"].set_visible(False)
    strip.set_yticks([])
    strip.grid(False)
    _label_x(strip, len(at))
    return to_svg(figure, "reward of each child in the order of proposal, failures marked below")


def _quantiles(rewards: Floats) -> Floats:
    known = rewards[~np.isnan(rewards)]
    return np.quantile(known, [0.1, 0.25, 0.5, 0.75, 0.9]) if len(known) else np.full(5, np.nan)


def _mean_line(axes: Any, at: np.ndarray, rewards: Floats) -> None:
    """A moving mean over an eighth of the children."""
    known = ~np.isnan(rewards)
    window = max(4, len(at) // 8)
    if known.sum() > 2 * window:
        mean = np.convolve(rewards[known], np.ones(window) / window, "valid")
        axes.plot(np.convolve(at[known], np.ones(window) / window, "valid"), mean, color=colour("ink"), linewidth=1.4)


def number_chart(data: ReportData, name: str, label: str) -> str:
    """Draw one of the numbers of the controller's versions."""
    figure, axes = _axes(HEIGHT)
    at, values = data.numbers[name]
    axes.plot(at, values, color=colour("search"), marker=_marker(at))
    axes.set_ylim(*_around(0.0 if name == "staleness" else values.min(), values.max()))
    _label_x(axes, data.children)
    return to_svg(figure, label)


def skip_chart(data: ReportData) -> str:
    """Draw how many of the possible links between layers were chosen."""
    figure, axes = _axes(HEIGHT)
    axes.plot(data.bins, 100 * data.skip_rate, color=colour("search"), marker=_marker(data.bins))
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.yaxis.set_major_formatter("{x:.0f}%")
    _label_x(axes, data.children)
    return to_svg(figure, "links between layers that were chosen, of those possible")


def choice_chart(data: ReportData, choices: Choices) -> str:
    """Draw the shares of a decision's options over the children, one upon another."""
    figure, axes = _axes(LOW)
    shown = shown_options(choices)
    stacked = [choices.shares[:, option] for option, _ in shown]
    hues = [RAMP[step] for _, step in shown]
    rest = 1 - np.sum(stacked, axis=0)
    if len(shown) < len(choices.options):
        stacked, hues = [*stacked, rest], [*hues, colour("other")]
    edges = np.concatenate([[0], data.bins])
    tops = 100 * np.cumsum(np.nan_to_num(stacked), axis=0)
    below = np.zeros(len(data.bins))
    for top, hue in zip(tops, hues, strict=True):
        axes.stairs(top, edges, baseline=below, fill=True, color=hue, linewidth=0)
        below = top
    axes.grid(False)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.yaxis.set_major_formatter("{x:.0f}%")
    _label_x(axes, data.children, air=0)
    return to_svg(figure, f"what was chosen for {choices.kind}, by children")


def shown_options(choices: Choices) -> list[tuple[int, int]]:
    """Return the options that a chart shows by themselves, in order: `(option, number of its colour)`."""
    count = len(choices.options)
    last = choices.shares[~np.isnan(choices.shares[:, 0])][-1]
    chosen = sorted(np.argsort(-last, kind="stable")[:OPTIONS].tolist())
    steps = np.linspace(0, OPTIONS - 1, min(count, OPTIONS)).round().astype(int)
    return list(zip(chosen, steps.tolist(), strict=True))


def _axes(height: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72))
    axes = figure.add_subplot()
    _place(figure, height)
    return figure, axes


def _place(figure: Any, height: int) -> None:
    """The same margins for all, so that plots are aligned over one another."""
    figure.subplots_adjust(left=50 / WIDTH, right=1 - 14 / WIDTH, bottom=40 / height, top=1 - 8 / height)


def _label_x(axes: Any, children: int, air: float = 0.015) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(-air * children, (1 + air) * children)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("children", labelpad=3)


def _marker(at: Floats) -> str | None:
    """Mark single points where there are few."""
    return "o" if len(at) < 20 else None


def _around(low: float, high: float) -> tuple[float, float]:
    """Limits with some air, so much that a trifle does not fill the chart."""
    air = max(0.08 * (high - low), 0.01 * abs(high)) or 1.0
    return low - air, high + air
