"""Figures of matplotlib as SVG that lives in a page: its text is text in the page's font, its colours are the page's.

matplotlib, because it is well kept, already here for drawings, and draws what is needed as plain SVG without a script.
(Charting libraries for pages come with megabytes of script; small SVG libraries lay out neither ticks nor text.)
What it cannot do is follow a page's dark mode: so every colour it is given is one of `PALETTE`, and becomes a variable.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from rlnas.report.drawing import BOX_COLOURS

PALETTE = {
    "paper": ("#fefefe", "#15181c"),
    "ink": ("#1d2329", "#e4e8ec"),
    "muted": ("#5b6670", "#9aa6b2"),
    "line": ("#dfe4e8", "#2d343b"),
    "search": ("#1f64ad", "#6fb3f7"),
    "random": ("#b4690e", "#e2a54a"),
    "largest": ("#8a4a9e", "#c79ad6"),
    "bad": ("#b7302a", "#f08a82"),
    "other": ("#b9c0c6", "#566069"),
}
"""Name -> colour in light and in dark mode; controls have their names."""

RAMP = ("#e6cf9c", "#bfd0a0", "#93c7a4", "#68b5ad", "#4a9ab5", "#3f7db2", "#4661a6", "#4a4590")
RAMP_DARK = ("#8a7440", "#7c8f52", "#5a9468", "#43998f", "#4aa3c0", "#6aa2d8", "#8b9be0", "#a99bea")
"""Options of a decision, from the first to the last."""

BOXES_DARK = ("#2c4258", "#34492c", "#553f22", "#48354d", "#573434", "#2c4a4a", "#4a4826", "#3d4146")

_VARIABLES = (
    {light: name for name, (light, _) in PALETTE.items()}
    | {light: f"ramp-{i}" for i, light in enumerate(RAMP)}
    | {light: f"box-{i}" for i, light in enumerate(BOX_COLOURS)}
)


def variables(dark: bool) -> str:
    """Return the palette as CSS variables."""
    values = {name: colours[dark] for name, colours in PALETTE.items()}
    values |= {f"ramp-{i}": colour for i, colour in enumerate(RAMP_DARK if dark else RAMP)}
    values |= {f"box-{i}": colour for i, colour in enumerate(BOXES_DARK if dark else BOX_COLOURS)}
    return "".join(f"--{name}:{value};" for name, value in values.items())


def colour(name: str) -> str:
    """Return a colour of the palette for matplotlib."""
    return PALETTE[name][0]


@contextmanager
def styled() -> Iterator[None]:
    """Make figures within look like the page."""
    from matplotlib import rc_context

    with rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "rlnas",
            "font.size": 11,
            "text.parse_math": False,
            "text.color": colour("ink"),
            "axes.edgecolor": colour("line"),
            "axes.labelcolor": colour("muted"),
            "axes.labelsize": 11,
            "axes.formatter.useoffset": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "grid.color": colour("line"),
            "grid.linewidth": 1,
            "xtick.color": colour("line"),
            "ytick.color": colour("line"),
            "xtick.labelcolor": colour("muted"),
            "ytick.labelcolor": colour("muted"),
            "ytick.major.size": 0,
            "lines.linewidth": 1.8,
            "lines.markersize": 4,
            "lines.solid_joinstyle": "round",
            "path.simplify_threshold": 0.3,
        }
    ):
        yield


def to_svg(figure: Any, label: str) -> str:
    """Return a figure as an `<svg>` element for a page.

    Args:
        figure: of matplotlib, made within `styled`.
        label: what it shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", dpi=72, transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    text = re.sub(r"<svg[^>]*>", f'<svg {box[0]} role="img" aria-label="{escape(label)}">', text, count=1)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: _variable(found[0]), text)
    return re.sub(r">\s+<", "><", re.sub(r"\s+", " ", text))


def _variable(colour: str) -> str:
    return f"var(--{_VARIABLES[colour]})" if colour in _VARIABLES else colour
