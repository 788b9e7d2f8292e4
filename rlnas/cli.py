"""The command line: thin; every command says what to do next. Exit status: 0, 1 failed, 2 wrong use."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlnas.errors import ExportError, RunFailed, SearchDeleted, StoreError, UserError, one_line
from rlnas.report import draw, read_child, read_status
from rlnas.report.artifacts import write_files
from rlnas.spec import SearchSpec, control_of, load_spec, with_seed
from rlnas.state import Bucket, EmbeddedStore, FinalRecord, Ledger, StoreSettings, Version, list_searches, open_search
from rlnas.state.settings import ENDPOINT

HOME = Path(".rlnas")
PATIENCE = 5.0  # seconds that a person waits for a store that does not answer
SERVICE_ACCOUNT = "rlnas"
app = typer.Typer(
    help="Neural architecture search with reinforcement learning, on Kubeflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
store_app = typer.Typer(
    help="The object store: the embedded one of this folder, and files put into it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(store_app, name="store")
schedule_app = typer.Typer(
    help="Searches that Kubeflow continues by itself.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(schedule_app, name="schedule")
# What it prints is text of others too: of pods, of plugins, of paths. None of it is markup.
console = Console(highlight=False, markup=False, emoji=False)

SearchName = Annotated[str, typer.Argument(help="name of the search")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
KfpEndpoint = Annotated[
    str | None, typer.Option("--endpoint", help="URL of Kubeflow Pipelines; KFP_ENDPOINT unless given", metavar="URL")
]
KfpNamespace = Annotated[
    str | None, typer.Option("--namespace", help="where pods run; KFP_NAMESPACE, or kubeflow, unless given")
]
ServiceAccount = Annotated[str, typer.Option(help="of the pods")]
Settings = Annotated[
    list[str],
    typer.Option("--set", help="a run parameter; again for more", default_factory=list, show_default=False),
]
Control = Annotated[
    bool, typer.Option("--control", help="sample at random instead, with an equal budget, as search NAME-control")
]
Seed = Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="another seed, as search NAME-sSEED")]
MaxConcurrency = Annotated[int, typer.Option(min=1, max=10, help="runs at once")]
Cron = Annotated[str, typer.Argument(help="such as '*/30 * * * *': every half hour")]


def main() -> None:
    """Run the command line, and turn errors into one line."""
    try:
        app()
    except (UserError, StoreError) as error:  # a run that the store fails midway is a RunFailed
        _fail(error, 2)
    except (RunFailed, SearchDeleted, ExportError) as error:
        _fail(error, 1)
    except OSError as error:  # a folder that cannot be made, a file that cannot be written, a full disk
        _fail(f"{error.filename or 'this machine'}: {error.strerror or error}", 2)


def _fail(error: object, status: int) -> NoReturn:
    print(f"rlnas: {one_line(error)}", file=sys.stderr)
    sys.exit(status)


@app.command()
def run(
    spec_file: Annotated[Path, typer.Argument(metavar="SPEC", help="YAML file, such as examples/digits.yaml")],
    rounds: Annotated[int, typer.Option(min=0, help="so many rounds, or up to loop.replicas - 1 more; 0: all")] = 0,
    seed: Seed = None,
    control: Control = False,
) -> None:
    """Run a search here, through kfp.local, or continue it."""
    from rlnas.local import run_search
    from rlnas.steps import find_final, read_model

    spec = _variant(spec_file, seed, control)
    bucket = Bucket(_store(begin=True), patience=PATIENCE)
    try:
        status = run_search(bucket, spec, rounds, HOME / "logs", console)
    except KeyboardInterrupt:
        _fail("stopped; nothing finished is lost, the same command continues", 130)
    ledger = open_search(bucket, spec.name)
    _print_leaders(ledger, ledger.version(), 10)
    if not status.complete:
        flags = f" --seed {seed}" * (seed is not None) + " --control" * control
        return _next(f"rlnas run {quote(str(spec_file))}{flags}", "continues the search")
    final = find_final(ledger) if ledger.spec.final and status.leaders else None
    if final and (record := final.record):
        _print_final(record)
        _save_model(read_model(ledger, record.winner), HOME / "models" / spec.name)
    if not status.leaders:
        _next(f"rlnas report {spec.name}", "tells of all failures")
    elif seed is not None or control:
        _next(f"rlnas report {load_spec(spec_file).name}", "compares searches of other seeds and random controls")
    else:
        _next(f"rlnas show {spec.name}", "shows the best architecture")


@app.command()
def finalize(
    search: SearchName,
    child: Annotated[str, typer.Argument(help="such as 000003-001; the best one unless given")] = "",
    reference: Annotated[
        list[str] | None,
        typer.Option(help="a model that goes the same way, to compare with; again for more; the spec's unless given"),
    ] = None,
) -> None:
    """Take a child to a model in use: tuned by the spec's grid, trained for the last time, tested once, exported."""
    from rlnas.local import run_finalize
    from rlnas.steps import read_model, winner_of

    ledger = open_search(_bucket(), search)
    child = winner_of(ledger, child)
    try:
        record = run_finalize(ledger, child, reference or (), HOME / "logs", console)
    except KeyboardInterrupt:
        _fail("stopped; nothing finished is lost, the same command continues", 130)
    _print_final(record)
    _save_model(read_model(ledger, record.winner), HOME / "models" / f"{search}-{child}")
    _next(f"rlnas show {search} {child}", "shows the architecture")


@app.command("export")
def export(
    search: SearchName,
    to: Annotated[Path, typer.Option("--to", help="folder for the files")],
    child: Annotated[str, typer.Argument(help="such as 000003-001; the best one unless given")] = "",
) -> None:
    """Save the files of a finalized child: ONNX, torch.export, weights, architecture, model card."""
    from rlnas.report import card_of
    from rlnas.steps import export_model, find_final, winner_of

    ledger = open_search(_bucket(), search)
    if ledger.spec.final is None:
        raise UserError(f"search {search}: nothing of it is finalized, so there is nothing to export; see its spec")
    child = winner_of(ledger, child)
    final = find_final(ledger, child)
    if final is None or (record := final.record) is None:
        raise UserError(f"child {child} of search {search} is not finalized; `rlnas finalize {search} {child}` does it")
    files = export_model(ledger, card_of, child)  # made now if the run was stopped before it did
    _save_model(files, to)
    if not files:
        raise UserError(
            f"child {child} of search {search} has no files: {record.models[0].reason or 'its export failed'}"
        )
    _next(f"rlnas show {search} {child}", "shows the architecture")


@app.command()
def register(
    search: SearchName,
    child: Annotated[str, typer.Argument(help="such as 000003-001; the best one unless given")] = "",
) -> None:
    """Tell Kubeflow's Model Registry at RLNAS_MODEL_REGISTRY of an exported child, as the end of a run does."""
    from rlnas.steps import register_model, winner_of
    from rlnas.steps.register_model import ADDRESS

    if not os.environ.get(ADDRESS, "").strip():
        raise UserError(f"{ADDRESS} is not set: where is the model registry?; allowed: an http(s) URL")
    ledger = open_search(_bucket(), search)
    child = winner_of(ledger, child)
    if not (line := register_model(ledger, child)):
        raise UserError(
            f"child {child} of search {search} is not exported; `rlnas export {search} {child} --to DIR` does it, if it"
            " is finalized"
        )
    console.print(line, soft_wrap=True)
    _next(f"rlnas show {search} {child}", "shows the architecture")


@app.command()
def validate(spec_file: Annotated[Path, typer.Argument(metavar="SPEC", help="YAML file")]) -> None:
    """Check a spec and its data; start no search, and the embedded store only if the data lie there."""
    from rlnas.datasets import open_local
    from rlnas.steps import check_spec
    from rlnas.steps.common import STORE_PREFIX, opener

    spec = load_spec(spec_file)
    shape = check_spec(
        spec, lambda path: opener(_bucket(begin=True))(path) if path.startswith(STORE_PREFIX) else open_local(path)
    )
    loop = spec.loop
    console.print(
        f"{spec_file} is valid: search {spec.name}, {loop.children} children in {loop.rounds} rounds,"
        f" {spec.space.kind} on {spec.dataset.kind} ({shape.modality}, {shape.classes} classes)"
    )
    _next(f"rlnas run {quote(str(spec_file))}", "runs it here")


@app.command("compile")
def compile_pipelines(
    folder: Annotated[Path, typer.Argument(help="where to write the packages")] = Path("build/pipelines"),
) -> None:
    """Compile the pipelines into packages for Kubeflow."""
    from pipelines.compile import compile_all

    paths = compile_all(folder)
    for path in paths:
        console.print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
    package = quote(str(paths[0]))
    _next(f"kfp run create -e rlnas -f {package} search_name=NAME", "starts a run of a search that is in the store")


@app.command()
def submit(
    spec_file: Annotated[Path, typer.Argument(metavar="SPEC", help="YAML file")],
    settings: Settings,
    endpoint: KfpEndpoint = None,
    namespace: KfpNamespace = None,
    service_account: ServiceAccount = SERVICE_ACCOUNT,
    seed: Seed = None,
    control: Control = False,
) -> None:
    """Start a run of a search on Kubeflow, or continue it there."""
    from rlnas.cluster import Cluster, endpoint_or_fail, run_parameters

    spec = _variant(spec_file, seed, control)
    where = endpoint_or_fail(endpoint, namespace)
    with _package(spec.name) as package:
        arguments = run_parameters(package, settings)
        arguments |= {"search_name": spec.name, "search_spec": spec.model_dump(mode="json")}
        run = Cluster(where).submit(package, spec.name, arguments, service_account)
    console.print(f"run {run.name} of search {spec.name}: {run.url}", soft_wrap=True)
    _next(f"rlnas status {spec.name}", "shows how far it is; needs the store's address too")


@schedule_app.command("create")
def schedule_create(
    search: SearchName,
    cron: Cron,
    settings: Settings,
    max_concurrency: MaxConcurrency = 1,
    endpoint: KfpEndpoint = None,
    namespace: KfpNamespace = None,
    service_account: ServiceAccount = SERVICE_ACCOUNT,
) -> None:
    """Continue a search, which is in the store, again and again until its budget is reached."""
    _schedule(search, cron, settings, max_concurrency, endpoint, namespace, service_account, replace=False)


@schedule_app.command("replace")
def schedule_replace(
    search: SearchName,
    cron: Cron,
    settings: Settings,
    max_concurrency: MaxConcurrency = 1,
    endpoint: KfpEndpoint = None,
    namespace: KfpNamespace = None,
    service_account: ServiceAccount = SERVICE_ACCOUNT,
) -> None:
    """Put another schedule, with the pipeline as it is now, in the place of a search's schedules."""
    _schedule(search, cron, settings, max_concurrency, endpoint, namespace, service_account, replace=True)


@schedule_app.command("list")
def schedule_list(endpoint: KfpEndpoint = None, namespace: KfpNamespace = None, as_json: AsJson = False) -> None:
    """List the schedules of searches."""
    from rlnas.cluster import Cluster, endpoint_or_fail

    found = Cluster(endpoint_or_fail(endpoint, namespace)).schedules()
    if as_json:
        _print_json([vars(schedule) for schedule in found])
        return
    table = Table("search", "cron (seconds first)", "runs at once", "state", "id")
    for s in found:
        table.add_row(s.search, s.cron, str(s.max_concurrency), "fires" if s.enabled else "disabled", s.id)
    console.print(table if found else "no schedules")
    _next("rlnas schedule create NAME CRON", "makes one")


@schedule_app.command("disable")
def schedule_disable(search: SearchName, endpoint: KfpEndpoint = None, namespace: KfpNamespace = None) -> None:
    """Stop the schedules of a search; a run that is under way goes on."""
    from rlnas.cluster import Cluster, endpoint_or_fail

    stopped = Cluster(endpoint_or_fail(endpoint, namespace)).disable(search)
    console.print(f"search {search}: {len(stopped)} schedule{'s' if len(stopped) > 1 else ''} disabled")
    _next(f"rlnas schedule replace {search} CRON", "starts it again")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the searches in the store."""
    bucket = _bucket()
    listed: list[dict[str, Any]] = []
    table = Table("search", "children", "failed", "rounds", "best reward", "state")
    for name in list_searches(bucket):
        try:
            s = read_status(open_search(bucket, name))
        except SearchDeleted:  # just now
            continue
        except (UserError, StoreError) as error:
            listed.append({"name": name, "unreadable": one_line(error)})
            table.add_row(name, "-", "-", "-", "-", f"unreadable: {one_line(error)}")
            continue
        listed.append(s.to_json())
        best = f"{s.leaders[0].reward:.4f}" if s.leaders else "-"
        state = "complete" if s.complete else "open"
        table.add_row(s.name, f"{s.children}/{s.budget}", str(s.failed), f"{s.round}/{s.rounds}", best, state)
    if as_json:
        _print_json(listed)
        return
    console.print(table if listed else "no search in the store")
    _next(*("rlnas leaderboard NAME", "shows the best of one") if listed else ("rlnas run SPEC", "starts one"))


@app.command()
def status(
    search: SearchName, endpoint: KfpEndpoint = None, namespace: KfpNamespace = None, as_json: AsJson = False
) -> None:
    """Show how far a search is, and its newest run where Kubeflow's endpoint is known."""
    from rlnas.cluster import Cluster, Endpoint

    where = Endpoint.from_environment(os.environ, endpoint, namespace)
    now = read_status(open_search(_bucket(), search))
    run, trouble = None, ""
    try:
        run = Cluster(where).run_of(search) if where else None
    except UserError as error:  # Kubeflow is down; how far the search is can be told all the same
        trouble = one_line(error)
    if as_json:
        about = {"run": vars(run) if run else None} | ({"run_error": trouble} if trouble else {})
        _print_json(now.to_json() | (about if where else {}))
        return
    table = Table(show_header=False)
    table.add_row("children", f"{now.children} of {now.budget} done, {now.running} running, {now.failed} failed")
    table.add_row("rounds", f"{now.round} of {now.rounds} applied, controller version {now.version}")
    for name, value in now.numbers.items():
        table.add_row(name.replace("_", " "), f"{value:.4f}")
    if now.leaders:
        table.add_row("best so far", f"{now.leaders[0].child}, reward {now.leaders[0].reward:.4f}")
    if run:
        table.add_row("run", f"{run.name}, {run.state.lower()}, since {run.created}, {run.url}")
        for words in run.words:
            table.add_row("", words)
    elif where:
        table.add_row("run", trouble or "none on Kubeflow")
    console.print(table)
    if now.complete:
        _next(f"rlnas leaderboard {search}", "shows its best architectures")
    else:
        _next(
            f"rlnas {'submit' if where else 'run'} SPEC", f"continues it {'there' if where else 'here'}; its own spec"
        )


@app.command()
def leaderboard(
    search: SearchName,
    top: Annotated[int, typer.Option(min=1, max=20, help="how many")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the best architectures of a search."""
    ledger = open_search(_bucket(), search)
    if as_json:
        leaders = ledger.version().leaders[:top]
        _print_json(
            [leader.model_dump(mode="json") | {"summary": _summary(ledger, leader.tokens)} for leader in leaders]
        )
        return
    version = ledger.version()
    _print_leaders(ledger, version, top)
    if version.leaders:
        _next(f"rlnas show {search}", "shows the best architecture")
    elif version.children:
        _next(f"rlnas report {search}", "tells of all failures")
    else:
        _next(f"rlnas status {search}", "shows how far it is")


@app.command()
def show(
    search: SearchName,
    child: Annotated[str | None, typer.Argument(help="such as 000003-001; the best one unless given")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="where to draw it: .svg or .png")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one architecture as a table, and draw it."""
    ledger = open_search(_bucket(), search)
    found = read_child(ledger, child)
    architecture = ledger.spec.space.decode(found.tokens)
    description = ledger.spec.space.describe(architecture, ledger.shape)
    if as_json:
        result = found.result.model_dump(mode="json") if found.result else None
        known = {"child": found.name, "policy_version": found.policy_version, "tokens": found.tokens}
        shown = {"architecture": architecture.model_dump(mode="json", exclude_defaults=True)}
        described = {"summary": description.summary, "remarks": description.remarks}
        _print_json(known | {"log_probability": found.log_probability, "result": result} | shown | described)
        return
    path = output or HOME / "drawings" / f"{search}-{found.name}.svg"
    if description.nodes:
        draw(description, f"{search} {found.name}", path)
    console.print(f"{search} {found.name}: {description.summary}")
    table = Table(*description.columns)
    for row in description.rows:
        table.add_row(*row)
    console.print(table)
    for remark in description.remarks:
        console.print(f"- {remark}")
    console.print(f"- {_fate(found.result)}")
    if description.nodes:
        console.print(f"drawn: {path}")
    _next(f"rlnas leaderboard {search}", "lists the others")


@app.command()
def report(
    search: SearchName,
    others: Annotated[
        list[str],
        typer.Argument(
            metavar="[OTHER]...",
            help="to compare it with: random controls, and the same search with other seeds;"
            " those named SEARCH-control, SEARCH-s2, SEARCH-s2-control are found by themselves",
            default_factory=list,
            show_default=False,
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="where to write it: .html")] = None,
) -> None:
    """Write a search's report: one HTML page that needs nothing else."""
    from rlnas.report.data import read_report
    from rlnas.report.page import render

    path = output or HOME / "reports" / f"{search}.html"
    if path.suffix not in (".html", ".htm"):
        raise UserError(f"{path}: a report is a page; allowed: .html")
    bucket = _bucket()
    ledger = open_search(bucket, search)
    data = read_report(ledger, [open_search(bucket, other) for other in others])
    _write(path, render(data).encode())
    console.print(f"report: {path} ({path.stat().st_size / 1000:.0f} kB): open it in a browser", soft_wrap=True)
    _next(
        *(f"rlnas show {search}", "shows the best architecture")
        if data.leaders
        else (f"rlnas status {search}", "shows how far it is")
    )


@app.command("export-table")
def export_table(
    search: SearchName, file: Annotated[Path, typer.Argument(help="where to write it: .csv or .parquet")]
) -> None:
    """Write a search's children as a table, one row each."""
    from rlnas.report.tables import export_table

    children = export_table(open_search(_bucket(), search), file)
    console.print(f"table: {file}, {children} children", soft_wrap=True)
    _next(f"rlnas report {search}", "shows them as a page")


@app.command()
def tensorboard(
    search: SearchName, folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to write the events")]
) -> None:
    """Write a search's controller and children as TensorBoard's events."""
    from rlnas.report.events import write_events

    values = write_events(open_search(_bucket(), search), folder)
    console.print(f"events: {folder}, {values} values", soft_wrap=True)
    _next(f"tensorboard --logdir {quote(str(folder))}", "shows them")


@app.command()
def delete(search: SearchName, yes: Annotated[bool, typer.Option("--yes", help="without asking")] = False) -> None:
    """Delete a search and all it remembers."""
    ledger = open_search(_bucket(), search, deleting=True)
    if not yes:
        typer.confirm(f"delete search {search} with all its children?", abort=True)
    ledger.delete()
    console.print(f"search {search} is deleted")
    _next("rlnas list", "shows what is left")


@store_app.command("start")
def store_start() -> None:
    """Start the embedded store; it goes on until it is stopped."""
    settings = EmbeddedStore(HOME).start()
    console.print(f"the store answers at {settings.endpoint}, its data in {HOME}")
    _next("rlnas store stop", "stops it")


@store_app.command("stop")
def store_stop() -> None:
    """Stop the embedded store; its data stay."""
    EmbeddedStore(HOME).stop()
    console.print("the store is stopped; its data stay")
    _next("rlnas store start", "starts it again; every other command does so by itself")


@store_app.command("status")
def store_status(as_json: AsJson = False) -> None:
    """Say whether the embedded store runs."""
    now = EmbeddedStore(HOME).status()
    if as_json:
        _print_json(vars(now))
        return
    console.print(f"running at {now.endpoint}, process {now.pid}" if now.running else "not running")
    console.print(f"{now.size / 1e6:.1f} MB in {HOME}")
    _next(*("rlnas store stop", "stops it") if now.running else ("rlnas store start", "starts it"))


@store_app.command("put")
def store_put(
    file: Annotated[Path, typer.Argument(help="to upload, such as mine.npz")],
    key: Annotated[str, typer.Argument(help="where it will lie, such as data/mine.npz")],
) -> None:
    """Upload a file, for a spec that says `store:KEY`; into the store of RLNAS_STORE_* where that is set."""
    from rlnas.steps.common import STORE_PREFIX, check_key

    check_key(key := key.removeprefix(STORE_PREFIX))
    data = file.read_bytes()
    _bucket(begin=True).put(key, data)
    console.print(f"{file} ({len(data) / 1e6:.1f} MB) lies in the store; a spec names it {STORE_PREFIX}{key}")
    _next("rlnas validate SPEC", "checks a spec and its data")


def _variant(spec_file: Path, seed: int | None, control: bool) -> SearchSpec:
    """Read a spec, with another seed or as a random control where asked for."""
    spec = load_spec(spec_file)
    if seed is not None:
        spec = with_seed(spec, seed)
    return control_of(spec) if control else spec


def _store(begin: bool = False) -> StoreSettings:
    """The store of the environment, or the embedded one of this folder, started if need be.

    Unless told to, none is begun where there never was one, since there is nothing in it to look at.
    """
    if settings := StoreSettings.from_environment(os.environ):
        return settings
    store = EmbeddedStore(HOME)
    if not begin and not store.exists:
        raise UserError(
            f"{HOME.absolute()} holds no store, so there is no search; allowed: the folder in which it was run, or"
            f" {ENDPOINT} and its keys"
        )
    return store.start()


def _bucket(begin: bool = False) -> Bucket:
    bucket = Bucket(_store(begin), patience=PATIENCE)
    bucket.ensure()
    return bucket


@contextmanager
def _package(search: str) -> Iterator[Path]:
    """Compile the pipeline of a search."""
    from pipelines.compile import compile_all
    from rlnas.cluster import label_package

    with TemporaryDirectory(prefix="rlnas-") as folder:
        package = compile_all(Path(folder))[0]
        label_package(package, search)
        yield package


def _schedule(
    search: str,
    cron: str,
    settings: list[str],
    max_concurrency: int,
    endpoint: str | None,
    namespace: str | None,
    service_account: str,
    replace: bool,
) -> None:
    from rlnas.cluster import Cluster, endpoint_or_fail, run_parameters
    from rlnas.spec import check_name

    check_name(search)
    where = endpoint_or_fail(endpoint, namespace)
    with _package(search) as package:
        arguments = run_parameters(package, settings)
        made = Cluster(where).schedule(package, search, cron, max_concurrency, arguments, service_account, replace)
    console.print(f"search {search} is continued at {made.cron} (seconds first), {made.max_concurrency} run at once")
    _next(f"rlnas schedule disable {search}", "stops it; runs after the budget is reached end at once")


def _summary(ledger: Ledger, tokens: tuple[int, ...]) -> str:
    space = ledger.spec.space
    return space.describe(space.decode(tokens), ledger.shape).summary


def _print_leaders(ledger: Ledger, now: Version, top: int) -> None:
    metrics = list(dict.fromkeys(name for leader in now.leaders[:top] for name in leader.metrics))
    table = Table(title=f"leaderboard of {ledger.name}")
    titles, rows = ["", "child", "reward", *metrics], []
    for place, leader in enumerate(now.leaders[:top], 1):
        values = [_compact(leader.metrics[name]) if name in leader.metrics else "-" for name in metrics]
        rows.append([str(place), leader.child, f"{leader.reward:.4f}", *values])
    taken = sum(3 + max(len(line[i]) for line in [titles, *rows]) for i in range(len(titles)))
    room = max(10, console.width - taken - 4)
    for title in (*titles, "architecture"):
        table.add_column(title, no_wrap=True)
    for row, leader in zip(rows, now.leaders, strict=False):
        summary = _summary(ledger, leader.tokens)
        table.add_row(*row, summary if len(summary) <= room else summary[: room - 1] + "…")
    console.print(table)
    if now.children and not now.leaders:
        first = ledger.summaries()[0].children[0]
        console.print(f"no child was scored; the first: {_fate(first.result)}")
    console.print(
        f"{now.children} of {ledger.spec.loop.children} children, {now.failed} failed; scores are of validation data"
    )


def _print_final(record: FinalRecord) -> None:
    """Print what validation and test data say of a finalized child and its reference models."""
    shown = dict.fromkeys(
        (part, name) for m in record.models for part in ("validation", "test") for name in vars(m)[part]
    )
    columns = [(part, name) for part, name in shown if name not in ("parameters", "flops", "hidden")]
    table = Table("model", *(f"{part} {name}" for part, name in columns), title=f"child {record.winner}, tested once")
    for model in record.models:
        numbers = [f"{vars(model)[part][name]:.4f}" if name in vars(model)[part] else "-" for part, name in columns]
        table.add_row(model.reference or "the winner", *(numbers if model.test else [model.reason]))
    console.print(table)


def _save_model(files: Mapping[str, bytes], folder: Path) -> None:
    """Save an exported model's files, if there are any."""
    write_files(files, folder)
    if files:
        console.print(f"exported: {', '.join(sorted(files))} in {folder}")


def _compact(value: float) -> str:
    for limit, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            return f"{value / divisor:.3g}{unit}"
    return f"{value:.4g}"


def _fate(result: Any) -> str:
    if result is None:
        return "not scored yet"
    if result.status == "ok":
        numbers = ", ".join(f"{name} {value:,.6g}" for name, value in result.metrics.items())
        return f"reward {result.reward:.4f} on validation data; {numbers}; trained in {result.seconds:.1f} s"
    return f"{result.status}: {result.reason}: {result.detail}"


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def _next(command: str, what: str) -> None:
    console.print(Text.assemble("next: ", (command, "bold"), f"  ({what})"), soft_wrap=True)


if __name__ == "__main__":
    main()
