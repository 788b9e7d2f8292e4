"""Draw an architecture from its description: boxes where the space put them, arrows, skips as arcs."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from rlnas.errors import UserError
from rlnas.spaces import Description, Node

BOX_COLOURS = ("#cfe3f5", "#d8ecd0", "#fbe3c5", "#ead7ee", "#f7d6d6", "#d5eeee", "#eeeccb", "#e3e3e3")
Point = tuple[float, float]
INK, ARROW, EDGE = "#1d2329", "#5b6670", "#b9c0c6"  # of text, of arrows, around boxes
# In inches, for text of 8 points.
_ROW, _LETTER, _LINE, _PADDING, _GAP, _MARGIN = 0.54, 0.068, 0.14, 0.065, 0.16, 0.1


def draw(description: Description, title: str, path: Path) -> None:
    """Write the drawing of an architecture as SVG or PNG, by the path's ending.

    Raises:
        UserError: another ending, or a folder that cannot be written.
    """
    from matplotlib import rc_context

    if path.suffix not in (".svg", ".png"):
        raise UserError(f"{path}: cannot draw {path.suffix or 'without an ending'}; allowed: .svg, .png")
    figure = drawing(description, title)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a date, with a fixed salt for its ids, and whatever the caller set for its own plots, the same
        # architecture gives the same file.
        with rc_context({"svg.hashsalt": "rlnas", "svg.fonttype": "path"}):
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def drawing(description: Description, title: str = "") -> Any:
    """Return the drawing of an architecture as a figure of matplotlib, as large as its boxes need."""
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path as Line

    nodes = {node.name: node for node in description.nodes}
    column = _column(description.nodes)
    at = {name: (node.x * column, node.y * _ROW) for name, node in nodes.items()}
    half = {name: _half(node.label) for name, node in nodes.items()}
    lines = [
        _route(at[source], half[source], at[target], half[target], _arc(at, source, target, number))
        for number, (source, target) in enumerate(description.edges)
    ]
    reach = [x + side * half[name][0] for name, (x, _) in at.items() for side in (-1, 1)]
    reach += [(line[0][0] + 3 * line[1][0]) / 4 for line in lines if len(line) == 4]  # where an arc is widest
    low, high = min(reach, default=0.0), max(reach, default=0.0)
    air = max((high - low) / 2, _LETTER * len(title) / 1.6) + _MARGIN
    left, right = (low + high) / 2 - air, (low + high) / 2 + air
    top = min((y - half[name][1] for name, (_, y) in at.items()), default=0.0) - _MARGIN - (0.35 if title else 0.0)
    bottom = max((y + half[name][1] for name, (_, y) in at.items()), default=0.0) + _MARGIN
    figure = Figure(figsize=(right - left, bottom - top))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.axis("off")
    if title:
        axes.text((left + right) / 2, top + 0.2, title, ha="center", va="center", fontsize=10, weight="bold", color=INK)
    groups = list(dict.fromkeys(node.group for node in description.nodes))
    for name, node in nodes.items():
        (x, y), (wide, high) = at[name], half[name]
        box = FancyBboxPatch(
            (x - wide, y - high),
            2 * wide,
            2 * high,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=BOX_COLOURS[groups.index(node.group) % len(BOX_COLOURS)],
            edgecolor=EDGE,
            linewidth=0.8,
            zorder=2,
        )
        axes.add_patch(box)
        axes.text(x, y, node.label, ha="center", va="center", fontsize=8, color=INK, zorder=3)
    for line in lines:
        codes = [Line.MOVETO] + [Line.LINETO if len(line) == 2 else Line.CURVE4] * (len(line) - 1)
        arrow = FancyArrowPatch(
            path=Line(line, codes), arrowstyle="-|>", mutation_scale=7, color=ARROW, linewidth=0.8, zorder=1
        )
        axes.add_patch(arrow)
    return figure


def _column(nodes: Sequence[Node]) -> float:
    """Inches a unit of x, so that boxes of a row do not touch."""
    pairs = [(a, b) for a, b in combinations(nodes, 2) if abs(a.y - b.y) < 1 and a.x != b.x]
    return max([(_half(a.label)[0] + _half(b.label)[0] + _GAP) / abs(a.x - b.x) for a, b in pairs], default=1.0)


def _half(label: str) -> Point:
    """Half of a box's width and height."""
    lines = label.split("\n")
    return _LETTER * max(map(len, lines)) / 2 + _PADDING, _LINE * len(lines) / 2 + _PADDING


def _arc(at: dict[str, Point], source: str, target: str, number: int) -> int:
    """Whether an arrow must go around boxes of its column, and on which side: each in turn; 0: it need not."""
    (x, y), (to_x, to_y) = at[source], at[target]
    between = any(other_x == x == to_x and min(y, to_y) < other_y < max(y, to_y) for other_x, other_y in at.values())
    return (1 if number % 2 else -1) if between else 0


def _route(source: Point, source_half: Point, target: Point, target_half: Point, arc: int) -> list[Point]:
    """From the foot of a box to the head of the next, from side to side in a row, or in an arc.

    Returns:
        Two points of a straight line, or four of a Bézier curve.
    """
    (x, y), (to_x, to_y) = source, target
    if arc:
        out = x + arc * (max(source_half[0], target_half[0]) + 0.1 + 0.16 * abs(to_y - y) / _ROW)
        return [(x + arc * source_half[0], y), (out, y), (out, to_y), (x + arc * target_half[0], to_y)]
    if y == to_y:
        side = 1 if to_x > x else -1
        return [(x + side * source_half[0], y), (to_x - side * target_half[0], y)]
    down = 1 if to_y > y else -1
    return [(x, y + down * source_half[1]), (to_x, to_y - down * target_half[1])]
