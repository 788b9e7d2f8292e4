"""Draw the pictures of the README: `python docs/make_pictures.py REPORT`, or `make docs`.

`loop.svg` is drawn from the pipeline as it is compiled. `report.svg` shows parts of a report that `rlnas report` wrote:
its charts are SVG already, and are put side by side. Both follow the reader's light or dark mode.
"""

import re
import sys
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pipelines.search import search_pipeline
from rlnas.report.svg import variables

FOLDER = Path(__file__).parent
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
STYLE = f"""
svg {{ {variables(dark=False)} font-family: {FONT}; }}
@media (prefers-color-scheme: dark) {{ svg {{ {variables(dark=True)} }} }}
text {{ fill: var(--ink); font-size: 13px; }}
.paper {{ fill: var(--paper); }}
.title {{ font-size: 20px; font-weight: 600; }}
.name {{ font-weight: 600; }}
.value {{ font-size: 22px; font-weight: 600; }}
.muted {{ fill: var(--muted); font-size: 12px; }}
.box {{ fill: var(--paper); stroke: var(--other); }}
.loop {{ fill: var(--other); fill-opacity: 0.12; stroke: var(--other); stroke-dasharray: 4 3; }}
.arrow {{ fill: none; stroke: var(--muted); stroke-width: 1.4; }}
.again {{ fill: none; stroke: var(--search); stroke-width: 1.6; }}
"""
DOES = {
    "prepare-data": "downloads the dataset if the spec says so",
    "open-search": "creates the search, or takes it up again",
    "plan-rounds": "how many rounds this run does",
    "sample-architecture": "the controller proposes a round of architectures",
    "train-child": "trains a batch of them on training data",
    "evaluate": "scores them on validation data: the rewards",
    "update-controller": "REINFORCE: the controller learns from the rewards",
    "finish": "is the budget of children reached?",
    "final-test": "tests the winner on test data, once",
    "export-model": "ONNX, torch.export, weights, model card",
}
BLOCKS = {
    "open-search": "each replica, side by side (one unless the spec says more)",
    "plan-rounds": "each round, one after another; when the budget is reached, two more train the winner",
    "sample-architecture": "each batch, side by side",
    "finish": "if there is a winner",
}
"""What a loop or condition is about, by the task whose output it goes through."""
WIDE, HIGH, GAP, AIR, HEAD = 160, 80, 24, 12, 26  # px: of a box, between boxes, within a block, for its heading


@dataclass(frozen=True)
class Shape:
    """A box, or a block with others in a row.

    Args:
        svg: drawn from the upper left corner.
        width, height: px.
        middle: from the top to the line on which the boxes of a row are lined up, px.
    """

    svg: str
    width: float
    height: float
    middle: float


def loop() -> str:
    """Return the picture of the pipeline: its tasks as boxes, its loops and conditions as blocks around them."""
    before, round_and_round, after = map(_in_a_row, _rows(search_pipeline.pipeline_spec.root.dag))
    width = max(before.width, round_and_round.width, after.width) + 2 * AIR
    top, bottom = AIR + before.height + GAP, AIR + before.height + GAP + round_and_round.height
    into, out, finish = AIR + before.width - WIDE / 2, AIR + WIDE / 2, bottom + GAP + after.middle - HIGH / 2
    bar = bottom + GAP + after.height + GAP
    parts = [
        _at(AIR, AIR, before.svg),
        _arrow(into, top - GAP, into, top),
        _at(AIR, top, round_and_round.svg),
        _arrow(out, bottom, out, finish),
        _at(AIR, bottom + GAP, after.svg),
        f'<rect class="box" x="{AIR}" y="{bar}" width="{width - 2 * AIR}" height="52" rx="8"/>',
        _text(AIR + 12, bar + 22, "object store (S3)", "name"),
        _text(
            AIR + 12,
            bar + 41,
            "All tasks read and write here: spec, plans, checkpoints, rewards, versions of the controller, the model."
            " After a kill, work goes on from here.",
            "muted",
        ),
    ]
    return _document(width, bar + 52 + AIR, "the tasks of a search, in the order in which Kubeflow runs them", parts)


def report(page: str) -> str:
    """Return the head of a report's page with its first charts, a decision and the best architecture."""
    title = _first(r"<h1>(.*?)</h1>", page)
    facts = re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", page)
    cards = re.findall(r'<dt>([^<]*)</dt><dd class="value">(.*?)</dd><dd class="remark">(.*?)</dd>', page)
    figures = {
        _first(r"<h3>(.*?)</h3>", figure): figure for figure in re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    }
    width, air, gap = 900.0, 20.0, 20.0
    parts = [_text(air, 40, title, "title"), _text(air, 64, "   ".join(map(" ".join, facts)), "muted")]
    # Without the training time: all else is the same on every machine.
    shown = [card for card in cards if not re.search("parameters|flops|failed|time", card[0])][:4]
    wide = (width - 2 * air - 12 * (len(shown) - 1)) / len(shown)
    for number, (label, value, remark) in enumerate(shown):
        x = air + number * (wide + 12)
        parts += [
            f'<rect class="box" x="{x:g}" y="84" width="{wide:g}" height="82" rx="8"/>',
            _text(x + 12, 104, label, "muted"),
            _text(x + 12, 131, value, "value"),
            _text(x + 12, 154, remark, "muted"),
        ]
    column = (width - 2 * air - gap) / 2
    best = next(figure for name, figure in figures.items() if re.fullmatch(r"\d{6}-\d{3}", name))
    decisions = page.partition('<section id="decisions">')[2]
    chosen = _first(r"(<figure>.*?</figure>)", decisions)
    left, right, low = air, air + column + gap, 462.0
    parts += [
        _panel(figures["Best so far"], left, 190, column),
        _panel(figures["Reward by child"], right, 190, column),
        _panel(chosen, left, low, column),
        _text(right, low + 12, "Best architecture", "name"),
        _chart(best, right, low + 24, column, 250),
    ]
    return _document(width, low + 290, f"report: {title}", parts)


def _panel(figure: str, x: float, y: float, width: float) -> str:
    """A chart with its heading and legend, as the page has it."""
    title, unit = _first(r"<h3>(.*?)</h3>", figure), _first(r'<span class="unit">(.*?)</span>', figure)
    legend = re.findall(r'--c:var\(--([\w-]+)\)"><b>(.*?)</b> (.*?)</li>', figure)
    parts = [_text(x, y + 12, title, "name"), _text(x + 8 * len(title) + 10, y + 12, unit, "muted")]
    at = x
    for hue, what, remark in legend:
        words = f"{what} {remark}".strip()
        parts.append(f'<rect x="{at:g}" y="{y + 22:g}" width="9" height="9" rx="2" style="fill: var(--{hue})"/>')
        parts.append(_text(at + 14, y + 31, words, "muted"))
        at += 30 + 6.8 * len(words)
    return "".join(parts) + _chart(figure, x, y + 38, width, width * 200 / 420)


def _chart(figure: str, x: float, y: float, width: float, height: float) -> str:
    """The SVG of a figure, as large as the place allows."""
    svg = _first(r"(<svg.*</svg>)", figure)
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" preserveAspectRatio="xMidYMin meet"'
    return svg.replace("<svg ", f"<svg {place} ", 1)


def _rows(dag: Any) -> list[list[Shape]]:
    """The tasks of the whole pipeline: what comes before its loop, the loop, what comes after."""
    shapes = _shapes(dag)
    at = next(number for number, (_, block) in enumerate(shapes) if block)
    drawn = [shape for shape, _ in shapes]
    return [drawn[:at], [drawn[at]], drawn[at + 1 :]]


def _shapes(dag: Any) -> list[tuple[Shape, bool]]:
    """Draw the tasks of a DAG in the order in which they run; with each, whether it holds others."""
    found, done = [], set()
    while len(done) < len(dag.tasks):
        ready = [name for name, task in dag.tasks.items() if name not in done and _needs(task) <= done]
        for name in sorted(ready, key=lambda name: list(DOES).index(name) if name in DOES else len(DOES)):
            done.add(name)
            component = search_pipeline.pipeline_spec.components[dag.tasks[name].component_ref.name]
            if component.HasField("dag"):
                inner = _in_a_row([shape for shape, _ in _shapes(component.dag)])
                about = next(
                    source for source in _needs(dag.tasks[name]) | {_source(dag.tasks[name])} if source in BLOCKS
                )
                found.append((_block(BLOCKS[about], inner, again=about == "plan-rounds"), True))
            else:
                found.append((_box(name, DOES[name]), False))
    return found


def _needs(task: Any) -> set[str]:
    produced = {value.task_output_parameter.producer_task for value in task.inputs.parameters.values()}
    return (set(task.dependent_tasks) | produced) - {""}


def _source(task: Any) -> str:
    """The task whose output a loop goes through."""
    return task.parameter_iterator.items.input_parameter.removeprefix("pipelinechannel--").removesuffix("-Output")


def _in_a_row(shapes: list[Shape]) -> Shape:
    middle = max(shape.middle for shape in shapes)
    parts, x = [], 0.0
    for number, shape in enumerate(shapes):
        if number:
            parts.append(_arrow(x - GAP, middle, x, middle))
        parts.append(_at(x, middle - shape.middle, shape.svg))
        x += shape.width + GAP
    height = middle + max(shape.height - shape.middle for shape in shapes)
    return Shape("".join(parts), x - GAP, height, middle)


def _box(name: str, does: str) -> Shape:
    lines = [_text(9, 39 + 15 * number, line, "muted") for number, line in enumerate(textwrap.wrap(does, 23))]
    rectangle = f'<rect class="box" width="{WIDE}" height="{HIGH}" rx="8"/>'
    return Shape(rectangle + _text(9, 20, name, "name") + "".join(lines), WIDE, HIGH, HIGH / 2)


def _block(about: str, inner: Shape, again: bool) -> Shape:
    foot = GAP if again else AIR
    width, height = inner.width + 2 * AIR, HEAD + inner.height + foot
    parts = [
        f'<rect class="loop" width="{width:g}" height="{height:g}" rx="10"/>',
        _text(AIR, 18, about, "muted"),
        _at(AIR, HEAD, inner.svg),
    ]
    if again:  # from the last task back to the first
        low, first, last = HEAD + inner.middle + HIGH / 2, AIR + WIDE / 2, AIR + inner.width - WIDE / 2
        bottom = height - 10
        way = f"M {last:g} {low:g} V {bottom:g} H {first:g} V {low + 1:g}"
        parts.append(f'<path class="again" marker-end="url(#learnt)" d="{way}"/>')
    return Shape("".join(parts), width, height, HEAD + inner.middle)


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path class="arrow" marker-end="url(#end)" d="M {x:g} {y:g} L {to_x:g} {to_y:g}"/>'


def _at(x: float, y: float, svg: str) -> str:
    return f'<g transform="translate({x:g} {y:g})">{svg}</g>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" class="{kind}" xml:space="preserve">{text if "&" in text else escape(text)}</text>'
    )


def _document(width: float, height: float, label: str, parts: list[str]) -> str:
    marker = '<marker id="{}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    ends = "".join(
        f'{marker.format(name)}<path d="M 0 0 L 8 4 L 0 8 z" style="fill: var(--{hue})"/></marker>'
        for name, hue in (("end", "muted"), ("learnt", "search"))
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img"'
    paper = f'<rect class="paper" width="{width:g}" height="{height:g}"/>'
    body = "\n".join([f"<style>{STYLE}</style><defs>{ends}</defs>{paper}", *parts])
    return f'{head} aria-label="{escape(label)}">\n{body}\n</svg>\n'


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.DOTALL)
    assert found is not None, f"the page has no {pattern}"
    return found[1]


if __name__ == "__main__":
    (FOLDER / "loop.svg").write_text(loop(), "utf-8")
    (FOLDER / "report.svg").write_text(report(Path(sys.argv[1]).read_text("utf-8")), "utf-8")
