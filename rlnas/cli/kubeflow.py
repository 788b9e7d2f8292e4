"""Commands about Kubeflow: `compile`, `submit`, `schedule ...`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from rlnas.cli.common import (
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
    searcher: Searcher = None,
    name: Name = None,
    seed: Seed = None,
    control: Control = None,
    workers: Workers = 0,
) -> None:
    """Start a run of a search on Kubeflow, or continue it there."""
    from rlnas.cluster import Cluster, endpoint_or_fail, requests_of

    spec = variant_of(read_spec(spec_file, searcher, name), seed, control)
    where = endpoint_or_fail(endpoint, namespace)
    with _package(spec.name, workers) as package:
        arguments = _arguments(package, settings, workers)
        arguments |= {"search_name": spec.name, "search_spec": spec.document}
        run = Cluster(where).submit(package, spec.name, arguments, service_account)
        requests = requests_of(package, arguments)
    console.print(f"run {run.name} of search {spec.name}: {run.url}", soft_wrap=True)
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
    workers: Workers = 0,
) -> None:
    """Continue a search, which is in the store, again and again until its budget is reached."""
    _schedule(search, cron, settings, max_concurrency, endpoint, namespace, service_account, workers, replace=False)


@schedule_app.command("replace")
def schedule_replace(
    search: SearchName,
    cron: Cron,
    settings: Settings,
    max_concurrency: MaxConcurrency = 1,
    endpoint: KfpEndpoint = None,
    namespace: KfpNamespace = None,
    service_account: ServiceAccount = SERVICE_ACCOUNT,
    workers: Workers = 0,
) -> None:
    """Put another schedule, with the pipeline as it is now, in the place of a search's schedules."""
    _schedule(search, cron, settings, max_concurrency, endpoint, namespace, service_account, workers, replace=True)


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

    stopped = Cluster(endpoint_or_fail(endpoint, namespace)).disable(search)
    console.print(f"search {search}: {len(stopped)} schedule{'s' if len(stopped) > 1 else ''} disabled")
    next_step(f"rlnas schedule replace {search} CRON", "starts it again")


@contextmanager
def _package(search: str, workers: int) -> Iterator[Path]:
    """Compile the pipeline of a search: that of workers, or the loop."""
    from pipelines.compile import compile_pipeline
    from rlnas.cluster import label_package

    with TemporaryDirectory(prefix="rlnas-") as folder:
        package = compile_pipeline("workers" if workers else "search", Path(folder))
        label_package(package, search)
        yield package


def _arguments(package: Path, settings: list[str], workers: int) -> dict[str, Any]:
    from rlnas.cluster import run_parameters

    return run_parameters(package, settings) | ({"worker_count": workers} if workers else {})


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
    workers: int,
    replace: bool,
) -> None:
    from rlnas.cluster import Cluster, endpoint_or_fail, requests_of
    from rlnas.spec import check_name

    check_name(search)
    where = endpoint_or_fail(endpoint, namespace)
    with _package(search, workers) as package:
        arguments = _arguments(package, settings, workers)
        made = Cluster(where).schedule(package, search, cron, max_concurrency, arguments, service_account, replace)
        requests = requests_of(package, arguments)
    console.print(f"search {search} is continued at {made.cron} (seconds first), {made.max_concurrency} run at once")
    _print_requests(requests)
    next_step(f"rlnas schedule disable {search}", "stops it; runs after the budget is reached end at once")
