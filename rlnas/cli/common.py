"""What the commands share: the app, options, the store, and how things are printed."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from rlnas.cli.ending import HOME
from rlnas.errors import UserError
from rlnas.report.artifacts import write_files
from rlnas.spec import SearchSpec, load_spec
from rlnas.state import Bucket, FinalRecord, Ledger, Version, store_of
from rlnas.variants import CONTROLS, control_of, with_name, with_searcher, with_seed

LEAST_ROOM = 16  # of the terminal's columns, for the last of a table that is too wide
PATIENCE = 5.0  # seconds that a person waits for a store that does not answer
app = typer.Typer(
    help="Neural architecture search with reinforcement learning, on Kubeflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# What it prints is text of others too: of pods, of plugins, of paths. None of it is markup.
console = Console(highlight=False, markup=False, emoji=False)

SearchName = Annotated[str, typer.Argument(help="name of the search")]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="YAML file, such as examples/digits.yaml")]
BestUnlessGiven = Annotated[str, typer.Argument(help="such as 000003-001; the best one unless given")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
KfpEndpoint = Annotated[
    str | None, typer.Option("--endpoint", help="URL of Kubeflow Pipelines; KFP_ENDPOINT unless given", metavar="URL")
]
KfpNamespace = Annotated[
    str | None, typer.Option("--namespace", help="where pods run; KFP_NAMESPACE, or kubeflow, unless given")
]
Workers = Annotated[
    int, typer.Option(min=0, help="so many tasks that do all steps; 0: the loop, with a task for each step")
]
Control = Annotated[
    str | None,
    typer.Option(
        "--control",
        metavar=f"[{'|'.join(CONTROLS)}]",
        help="run a control of equal budget instead: sample at random, as search NAME-control, or take the largest of"
        " random architectures, as NAME-largest; random unless given",
    ),
]
Searcher = Annotated[
    str | None, typer.Option(metavar="KIND", help="another searcher than the spec's, such as guided, by its defaults")
]
Name = Annotated[str | None, typer.Option(help="another name of the search than the spec's")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="another seed, as search NAME-sSEED")]


class TakesControl(TyperCommand):
    """A command whose `--control` may stand alone: then it means the first control. Typer knows no such options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first, pairs = next(iter(CONTROLS)), zip_longest(args, args[1:], fillvalue="")
        # What follows is a kind if it is a word: specs are files, and files have endings.
        return super().parse_args(
            ctx, [f"{a}={first}" if a == "--control" and not following.isalpha() else a for a, following in pairs]
        )


def read_spec(spec_file: Path, searcher: str | None, name: str | None) -> SearchSpec:
    """Read a spec, with another searcher and under another name where asked for."""
    spec = load_spec(spec_file)
    if searcher is not None:
        spec, left_out = with_searcher(spec, searcher)
        if left_out:
            words = f"warning: {', '.join(left_out)} of the spec left out: searcher {searcher} has no such setting"
            console.print(words, soft_wrap=True)
    return spec if name is None else with_name(spec, name)


def variant_of(spec: SearchSpec, seed: int | None, control: str | None) -> SearchSpec:
    """Return a spec with another seed, or as a control, where asked for."""
    if seed is not None:
        spec = with_seed(spec, seed)
    return spec if control is None else control_of(spec, control)


def connect(begin: bool = False) -> Bucket:
    """Return the store's bucket, which need not be there yet; see `store_of`."""
    return Bucket(store_of(os.environ, HOME, begin), patience=PATIENCE)


def open_bucket(begin: bool = False) -> Bucket:
    """Return the store's bucket, made if need be."""
    bucket = connect(begin)
    bucket.ensure()
    return bucket


def save_model(files: Mapping[str, bytes], folder: Path) -> None:
    """Save an exported model's files, if there are any."""
    write_files(files, folder)
    if files:
        console.print(f"exported: {', '.join(sorted(files))} in {folder}")


def compact(value: float) -> str:
    for limit, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            return f"{value / divisor:.3g}{unit}"
    return f"{value:.4g}"


def in_bytes(size: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def fate_of(result: Any, bars: Mapping[int, float | None] | None = None) -> str:
    """Say how a child ended; `bars`: of its plan, what it had to reach at its rungs."""
    if result is None:
        return "not scored yet"
    if result.status == "ok":
        numbers = ", ".join(f"{name} {value:,.6g}" for name, value in result.metrics.items())
        trained = f"trained in {result.seconds:.1f} s"
        trained += f" on {result.trained_on}" if result.trained_on else ""
        if result.stopped:
            trained += f", stopped after epoch {result.stopped}"
            if bars:
                trained += f": {result.rungs[result.stopped]:.4g} there, {bars[result.stopped]:.4g} needed"
        return f"reward {result.reward:.4f} on validation data; {numbers}; {trained}"
    reason = "" if result.reason == result.status else f"{result.reason}: "
    return f"{result.status}: {reason}{result.detail}"


def summary_of(ledger: Ledger, tokens: tuple[int, ...]) -> str:
    space = ledger.spec.space
    return space.describe(space.decode(tokens), ledger.shape).summary


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", shorten: bool = False) -> None:
    """Print a table, of which only the last column may be broken; where the others have no room, a line for each value.

    Args:
        columns: their titles.
        rows: as many values each, or fewer.
        title: above it.
        shorten: cut the last column off at one line instead.
    """
    widths = [max(map(cell_len, column)) for column in zip_longest(columns, *rows, fillvalue="")]
    if _room(widths[:-1]) < min(widths[-1], LEAST_ROOM):
        _print_stacked(columns, rows, title, shorten)
    else:
        _print(Table(title=title or None), columns, widths, rows, shorten)


def print_pairs(rows: Sequence[tuple[str, str]], shorten: bool = False) -> None:
    """Print names and values, a line each; a value that is too long goes on below, or is cut off."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    _print(Table(show_header=False), ("", ""), widths, rows, shorten)


def _print_stacked(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str, shorten: bool) -> None:
    if title:
        console.print(title)
    for row in rows:
        print_pairs([pair for pair in zip(columns, row, strict=False) if pair[1]], shorten)


def _print(
    table: Table, columns: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[str]], shorten: bool
) -> None:
    for column, width in zip(columns[:-1], widths, strict=False):
        table.add_column(column, no_wrap=True, width=width)
    room = max(1, min(widths[-1], _room(widths[:-1])))
    table.add_column(columns[-1], no_wrap=shorten, width=room, overflow="ellipsis" if shorten else "fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _room(widths: Sequence[int]) -> int:
    """What a table's frame and columns of these widths leave for one more."""
    return console.width - sum(width + 3 for width in widths) - 4


def print_leaders(ledger: Ledger, now: Version, top: int) -> None:
    metrics = list(dict.fromkeys(name for leader in now.leaders[:top] for name in leader.metrics))
    rows = []
    for place, leader in enumerate(now.leaders[:top], 1):
        values = [compact(leader.metrics[name]) if name in leader.metrics else "-" for name in metrics]
        epochs = [str(leader.stopped or ledger.epochs)] if ledger.rungs else []
        summary = summary_of(ledger, leader.tokens)
        rows.append([str(place), leader.child, f"{leader.reward:.4f}", *epochs, *values, summary])
    columns = ("", "child", "reward", *(("epochs",) if ledger.rungs else ()), *metrics, "architecture")
    print_table(columns, rows, title=f"leaderboard of {ledger.name}", shorten=True)
    if now.children and not now.leaders:
        first = ledger.summaries()[0].children[0]
        console.print(f"no child was scored; the first: {fate_of(first.result)}")
    console.print(f"{now.children} of {ledger.children} children, {now.failed} failed; scores are of validation data")


def print_final(record: FinalRecord) -> None:
    """Print what validation and test data say of a finalized child and its reference models."""
    shown = dict.fromkeys(
        (part, name) for m in record.models for part in ("validation", "test") for name in vars(m)[part]
    )
    columns = [(part, name) for part, name in shown if name not in ("parameters", "flops", "hidden")]
    titles, rows = ["model", *(f"{part} {name}" for part, name in columns)], []
    for model in record.models:
        numbers = [f"{vars(model)[part][name]:.4f}" if name in vars(model)[part] else "-" for part, name in columns]
        rows.append([model.reference or "the winner", *(numbers if model.test else [model.reason])])
    print_table(titles, rows, title=f"child {record.winner}, tested once")


@contextmanager
def told_on_standard_error() -> Iterator[None]:
    """Leave standard output to what a command makes."""
    console.stderr = True
    try:
        yield
    finally:
        console.stderr = False


def write_file(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def next_step(command: str, what: str) -> None:
    console.print(Text.assemble("next: ", (command, "bold"), f"  ({what})"), soft_wrap=True)
