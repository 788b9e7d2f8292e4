"""Draw an architecture from its description: boxes where the space put them, arrows, skips as arcs."""

from pathlib import Path

from rlnas.errors import UserError
from rlnas.spaces import Description, Node

_COLOURS = ("#cfe3f5", "#d8ecd0", "#fbe3c5", "#ead7ee", "#f7d6d6", "#d5eeee", "#eeeccb", "#e3e3e3")
_INCH_A_ROW, _INCH_A_COLUMN = 0.62, 1.6
_HALF_BOX = 0.2  # of a row


def draw(description: Description, title: str, path: Path) -> None:
    """Write the drawing of an architecture as SVG or PNG, by the path's ending.

    Raises:
        UserError: another ending, or a folder that cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch

    if path.suffix not in (".svg", ".png"):
        raise UserError(f"{path}: cannot draw {path.suffix or 'without an ending'}; allowed: .svg, .png")
    nodes = {node.name: node for node in description.nodes}
    across = [node.x for node in nodes.values()] or [0.0]
    down = [node.y for node in nodes.values()] or [0.0]
    left, right = min(across) - 1.2, max(across) + 1.2
    size = ((right - left) * _INCH_A_COLUMN, (max(down) - min(down) + 2) * _INCH_A_ROW)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(left, right)
    axes.set_ylim(max(down) + 0.8, min(down) - 1.2)
    axes.axis("off")
    axes.text((left + right) / 2, min(down) - 0.8, title, ha="center", va="center", fontsize=10, weight="bold")
    groups = {group: i for i, group in enumerate(dict.fromkeys(node.group for node in nodes.values()))}
    for node in nodes.values():
        box = {
            "boxstyle": "round,pad=0.35",
            "facecolor": _COLOURS[groups[node.group] % len(_COLOURS)],
            "edgecolor": "#555",
        }
        axes.text(node.x, node.y, node.label, ha="center", va="center", fontsize=8, bbox=box, zorder=2)
    for number, (source, target) in enumerate(description.edges):
        start, end, bend = _route(nodes[source], nodes[target], number)
        arrow = FancyArrowPatch(
            start,
            end,
            shrinkA=0,
            shrinkB=0,
            arrowstyle="-|>",
            mutation_scale=9,
            color="#444",
            linewidth=0.9,
            connectionstyle=f"arc3,rad={bend}",
            zorder=1,
        )
        axes.add_patch(arrow)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a date, and with a fixed salt for its ids, the same architecture gives the same file.
        with rc_context({"svg.hashsalt": "rlnas"}):
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def _route(source: Node, target: Node, number: int) -> tuple[tuple[float, float], tuple[float, float], float]:
    """From the foot of a box to the head of the next; a skip in one column goes in an arc, on either side in turn."""
    down = 1 if target.y > source.y else -1
    if source.x != target.x or abs(target.y - source.y) <= 1:
        return (source.x, source.y + down * _HALF_BOX), (target.x, target.y - down * _HALF_BOX), 0.0
    side = 1 if number % 2 else -1
    start = (source.x + side * _half_width(source), source.y)
    return start, (target.x + side * _half_width(target), target.y), side * -0.45


def _half_width(node: Node) -> float:
    return (0.033 * len(node.label) + 0.05) / _INCH_A_COLUMN
