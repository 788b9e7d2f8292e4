"""Commands about Kubeflow: `compile`, `submit`, `schedule ...`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
import yaml

from rlnas.cli.common import (
    PATIENCE,
    AsJson,
    Control,
    KfpEndpoint,
    KfpNamespace,
    Name,
    Searcher,
    SearchName,
    Seed,
    SpecFile,
    TakesControl,
    Workers,
    app,
    console,
    next_step,
    print_json,
    print_table,
    read_spec,
    variant_of,
)
from rlnas.errors import StoreError, UserError, one_line
from rlnas.spec import SearchSpec, check_name
from rlnas.state import Bucket, StoreSettings, find_search

SERVICE_ACCOUNT = "rlnas"
schedule_app = typer.Typer(
    help="Searches that Kubeflow continues by itself.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(schedule_app, name="schedule")
ServiceAccount = Annotated[str, typer.Option(help="of the pods")]
Settings = Annotated[
    list[str],
    typer.Option("--set", help="a run parameter; again for more", default_factory=list, show_default=False),
]
Queue = Annotated[str | None, typer.Option(metavar="NAME", help="Kueue's LocalQueue, in which all pods wait")]
PriorityClass = Annotated[
    str | None, typer.Option(metavar="NAME", help="Kueue's WorkloadPriorityClass of all pods; with --queue")
]
MaxConcurrency = Annotated[int, typer.Option(min=1, max=10, help="runs at once")]
Cron = Annotated[str, typer.Argument(help="such as '*/30 * * * *': every half hour")]


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
    next_step(f"kfp run create -e rlnas -f {package} search_name=NAME", "starts a run of a search that is in the store")


@app.command(cls=TakesControl)
def submit(
    spec_file: SpecFile,
    settings: Settings,
    endpoint: KfpEndpoint = None,
    namespace: KfpNamespace = None,
    service_account: ServiceAccount = SERVICE_ACCOUNT,
    queue: Queue = None,
    priority_class: PriorityClass = None,
    searcher: Searcher = None,
    name: Name = None,
    seed: Seed = None,
    control: Control = None,
    workers: Workers = 0,
) -> None:
    """Start a run of a search on Kubeflow, or continue it there."""
    from rlnas.cluster import Cluster, endpoint_or_fail, requests_of, run_parameters

    spec = variant_of(read_spec(spec_file, searcher, name), seed, control)
    where = endpoint_or_fail(endpoint, namespace)
    with _package(spec.name, queue, priority_class, workers) as package:
        arguments = run_parameters(package, settings)
        arguments |= {"search_name": spec.name, "search_spec": spec.document}
        known, _ = _stored_spec(spec.name)  # it may have been extended
        arguments, size = _sized(package, known or spec, arguments, workers)
        run = Cluster(where).submit(package, spec.name, arguments, service_account)
        requests = requests_of(package, arguments)
    console.print(f"run {run.name} of search {spec.name}: {run.url}", soft_wrap=True)
    console.print(size, soft_wrap=True)
    _print_requests(requests)
    next_step(f"rlnas status {spec.name}", "shows how far it is; needs the store's address too")


@schedule_app.command("create")
def schedule_create(
    search: SearchName,
    cron: Cron,
    settings: Settings,
    max_concurrency: MaxConcurrency = 1,
    endpoint: KfpEndpoint = None,
    namespace: KfpNamespace = None,
    service_account: ServiceAccount = SERVICE_ACCOUNT,
    queue: Queue = None,
    priority_class: PriorityClass = None,
    workers: Workers = 0,
) -> None:
    """Continue a search, which is in the store, again and again until its budget is reached."""
    given = (search, cron, settings, max_concurrency, endpoint, namespace, service_account)
    _schedule(*given, queue, priority_class, workers, replace=False)


@schedule_app.command("replace")
def schedule_replace(
    search: SearchName,
    cron: Cron,
    settings: Settings,
    max_concurrency: MaxConcurrency = 1,
    endpoint: KfpEndpoint = None,
    namespace: KfpNamespace = None,
    service_account: ServiceAccount = SERVICE_ACCOUNT,
    queue: Queue = None,
    priority_class: PriorityClass = None,
    workers: Workers = 0,
) -> None:
    """Put another schedule, with the pipeline as it is now, in the place of a search's schedules."""
    given = (search, cron, settings, max_concurrency, endpoint, namespace, service_account)
    _schedule(*given, queue, priority_class, workers, replace=True)


@schedule_app.command("list")
def schedule_list(endpoint: KfpEndpoint = None, namespace: KfpNamespace = None, as_json: AsJson = False) -> None:
    """List the schedules of searches."""
    from rlnas.cluster import Cluster, endpoint_or_fail

    found = Cluster(endpoint_or_fail(endpoint, namespace)).schedules()
    if as_json:
        print_json([vars(schedule) for schedule in found])
        return
    if found:
        rows = [(s.search, s.cron, str(s.max_concurrency), "fires" if s.enabled else "disabled", s.id) for s in found]
        print_table(("search", "cron (seconds first)", "runs at once", "state", "id"), rows)
    else:
        console.print("no schedules")
    next_step("rlnas schedule create NAME CRON", "makes one")


@schedule_app.command("disable")
def schedule_disable(search: SearchName, endpoint: KfpEndpoint = None, namespace: KfpNamespace = None) -> None:
    """Stop the schedules of a search; a run that is under way goes on."""
    from rlnas.cluster import Cluster, endpoint_or_fail

    check_name(search)
    stopped = Cluster(endpoint_or_fail(endpoint, namespace)).disable(search)
    console.print(f"search {search}: {len(stopped)} schedule{'s' if len(stopped) > 1 else ''} disabled")
    next_step(f"rlnas schedule replace {search} CRON", "starts it again")


@contextmanager
def _package(search: str, queue: str | None, priority_class: str | None, workers: int) -> Iterator[Path]:
    """Compile the pipeline of a search, that of workers or the loop, with its labels and its queue's on all pods."""
    from pipelines.compile import compile_pipeline
    from rlnas.cluster import label_package, queue_labels

    labels = queue_labels(queue, priority_class)
    with TemporaryDirectory(prefix="rlnas-") as folder:
        package = compile_pipeline("workers" if workers else "search", Path(folder))
        label_package(package, search, labels)
        yield package


def _sized(
    package: Path, spec: SearchSpec | None, arguments: dict[str, Any], workers: int
) -> tuple[dict[str, Any], str]:
    """Refuse a run that is too large; return its parameters, with as many rounds as fit unless they say how many.

    Args:
        package: compiled.
        spec: of the search; None: nobody knows it, so only what fits into no run at all is refused.
        arguments: run parameters.
        workers: of the run; 0: it is the loop.

    Returns:
        The parameters, and how large the run is at most; empty if nobody knows.
    """
    from pipelines.rounds import PARAMETER, check_rounds, rounds_of_run
    from pipelines.size import size_of_workers

    documents = list(yaml.safe_load_all(package.read_text(encoding="utf-8")))
    if workers:
        if arguments.get("worker_count", workers) != workers:
            raise UserError(
                f"--set worker_count={arguments['worker_count']}: and --workers {workers}; allowed: one of them"
            )
        size = size_of_workers(documents, workers, arguments)
        return arguments | {"worker_count": workers}, f"a run has {workers} workers and at most {size}"
    if spec is None:
        check_rounds(documents, arguments)
        return arguments, ""
    rounds, size = rounds_of_run(documents, spec, arguments)
    how_many = f"{rounds} round{'s' if rounds != 1 else ''}" if rounds else "all rounds that are left"
    return arguments | {PARAMETER: rounds}, f"a run has {how_many} and at most {size}"


def _stored_spec(search: str) -> tuple[SearchSpec | None, str]:
    """Return the spec of a search in the store that the environment names, or None and why nobody knows it."""
    try:
        settings = StoreSettings.from_environment(os.environ)
        if settings is None:
            return None, "it needs the store's address in RLNAS_STORE_ENDPOINT"
        found = find_search(Bucket(settings, patience=PATIENCE), search)
        return (found.spec, "") if found else (None, f"search {search} is not in the store yet")
    except (StoreError, UserError) as error:
        return None, one_line(error)


def _print_requests(requests: list[str]) -> None:
    console.print("what a pod asks of its node (--set training_cpu=1 and the like ask for less):")
    for line in requests:
        console.print(f"  {line}", soft_wrap=True)


def _schedule(
    search: str,
    cron: str,
    settings: list[str],
    max_concurrency: int,
    endpoint: str | None,
    namespace: str | None,
    service_account: str,
    queue: str | None,
    priority_class: str | None,
    workers: int,
    replace: bool,
) -> None:
    from rlnas.cluster import Cluster, cron_of, endpoint_or_fail, requests_of, run_parameters

    check_name(search)
    times = cron_of(cron)
    where = endpoint_or_fail(endpoint, namespace)
    with _package(search, queue, priority_class, workers) as package:
        spec, unknown = (None, "") if workers else _stored_spec(search)  # workers are as many whatever the spec
        arguments, size = _sized(package, spec, run_parameters(package, settings), workers)
        made = Cluster(where).schedule(package, search, times, max_concurrency, arguments, service_account, replace)
        requests = requests_of(package, arguments)
    console.print(f"search {search} is continued at {made.cron} (seconds first), {made.max_concurrency} run at once")
    console.print(size or f"warning: how many rounds fit into a run is not known: {unknown}", soft_wrap=True)
    _print_requests(requests)
    next_step(f"rlnas schedule disable {search}", "stops it; runs after the budget is reached end at once")
