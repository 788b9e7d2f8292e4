"""Commands that look at searches and change nothing."""

import os
from pathlib import Path
from shlex import quote
from threading import Event
from typing import Annotated, Any

import typer

from rlnas.cli.common import (
    AsJson,
    KfpEndpoint,
    KfpNamespace,
    SearchName,
    app,
    compact,
    console,
    fate_of,
    in_bytes,
    next_step,
    open_bucket,
    print_json,
    print_leaders,
    print_pairs,
    print_table,
    summary_of,
    write_file,
)
from rlnas.cli.ending import HOME
from rlnas.errors import SearchDeleted, StoreError, UserError, one_line
from rlnas.report import draw, fronts, read_child, read_status, read_trainings
from rlnas.state import Ledger, find_search, list_searches, open_search, size_of

MOST_TRAININGS = 8  # that `status` names


@app.command("list")
def list_all(
    sizes: Annotated[
        bool, typer.Option("--sizes", help="count their objects, too: a request to the store for every 1,000")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the searches in the store."""
    bucket = open_bucket()
    listed: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    for name in list_searches(bucket):
        objects, size = size_of(bucket, name) if sizes else (0, 0)
        counted, room = ({"objects": objects, "bytes": size}, [f"{objects:,}", in_bytes(size)]) if sizes else ({}, [])
        try:
            s = read_status(open_search(bucket, name))
        except SearchDeleted:  # just now
            continue
        except (UserError, StoreError) as error:
            listed.append({"name": name, "unreadable": one_line(error)} | counted)
            rows.append([name, "-", "-", "-", "-", *room, f"unreadable: {one_line(error)}"])
            continue
        listed.append(s.to_json() | counted)
        best = f"{s.leaders[0].reward:.4f}" if s.leaders else "-"
        state = "complete" if s.complete else "paused" if s.paused else "open"
        rows.append([s.name, f"{s.children}/{s.budget}", str(s.failed), f"{s.round}/{s.rounds}", best, *room, state])
    if as_json:
        print_json(listed)
        return
    if listed:
        columns = ("objects", "size") if sizes else ()
        print_table(("search", "children", "failed", "rounds", "best reward", *columns, "state"), rows)
    else:
        console.print("no search in the store")
    next_step(*("rlnas leaderboard NAME", "shows the best of one") if listed else ("rlnas run SPEC", "starts one"))


@app.command()
def status(
    search: SearchName, endpoint: KfpEndpoint = None, namespace: KfpNamespace = None, as_json: AsJson = False
) -> None:
    """Show how far a search is, and its newest run where Kubeflow's endpoint is known."""
    from rlnas.cli.standing import standing
    from rlnas.cluster import Cluster, Endpoint
    from rlnas.local import runs_here

    where = Endpoint.from_environment(os.environ, endpoint, namespace)
    bucket, run, trouble = open_bucket(), None, ""
    try:
        run = Cluster(where).run_of(search) if where else None
    except UserError as error:  # Kubeflow is down; how far the search is can be told all the same
        trouble = one_line(error)
    # A run that has just been submitted, or cannot begin, has not made the search yet.
    ledger = find_search(bucket, search) if run else open_search(bucket, search)
    now = read_status(ledger) if ledger else None
    trainings = read_trainings(ledger, MOST_TRAININGS) if ledger and now and now.running else []
    stand = standing(search, now, run.state if run else None, runs_here(bucket.settings, search), where is not None)
    if as_json:
        about: dict[str, Any] = {"trainings": [training.to_json() for training in trainings]}
        if where:
            about |= {"run": vars(run) if run else None} | ({"run_error": trouble} if trouble else {})
        print_json((now.to_json() if now else {"name": search}) | vars(stand) | about)
        return
    rows = [("state", stand.what)]
    if now:
        rows += [
            ("controller", f"{now.controller}: {now.label}" if now.label else now.controller),
            *([("begins with", str(now.warm_start))] if now.warm_start else []),
            ("children", f"{now.children} of {now.budget} done, {now.running} running, {now.failed} failed"),
            *(("training", str(training)) for training in trainings),
            *([("epochs", words)] if (words := now.epochs_in_words) else []),
            ("rounds", f"{now.round} of {now.rounds} applied, controller version {now.version}"),
        ]
        rows += [("changed", str(change)) for change in now.changes]
        rows += [(name.replace("_", " "), f"{value:.4f}") for name, value in now.numbers.items()]
        if now.leaders:
            rows.append(("best so far", f"{now.leaders[0].child}, reward {now.leaders[0].reward:.4f}"))
    if run:
        rows.append(("run", f"{run.name}, {run.state.lower()}, since {run.created}, {run.url}"))
        rows += [("", words) for words in run.words]
    elif where:
        rows.append(("run", trouble or "none on Kubeflow"))
    print_pairs(rows)
    next_step(stand.command, stand.does)


@app.command()
def leaderboard(
    search: SearchName,
    top: Annotated[int | None, typer.Option(min=1, max=20, help="how many; 20 unless given")] = None,
    pareto: Annotated[bool, typer.Option("--pareto", help="the best at each size instead")] = False,
    size: Annotated[
        str | None,
        typer.Option(help="what --pareto takes for the size; the objective's, or parameters, unless given"),
    ] = None,
    by: Annotated[bool, typer.Option("--proposers", help="who proposed what, and how good it was, instead")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the best architectures of a search."""
    ledger = open_search(open_bucket(), search)
    if pareto and by:
        raise UserError("--pareto and --proposers are two views; allowed: one of them")
    if top and (pareto or by):
        raise UserError("--top is of the best alone; allowed: without --pareto and --proposers")
    if size and not pareto:
        raise UserError("--size is what --pareto takes for the size; allowed: with --pareto")
    if pareto:
        return _print_front(ledger, size or fronts.size_of(ledger.spec), as_json)
    if by:
        return _print_proposers(ledger, as_json)
    top = top or 20
    if as_json:
        leaders = ledger.version().leaders[:top]
        print_json(
            [leader.model_dump(mode="json") | {"summary": summary_of(ledger, leader.tokens)} for leader in leaders]
        )
        return
    version = ledger.version()
    print_leaders(ledger, version, top)
    if version.suggested:
        _print_proposers(ledger)
    if version.leaders:
        next_step(f"rlnas show {search}", "shows the best architecture")
    elif version.children:
        next_step(f"rlnas report {search}", "tells of all failures")
    else:
        next_step(f"rlnas status {search}", "shows how far it is")


def _print_proposers(ledger: Ledger, as_json: bool = False) -> None:
    found = fronts.proposers(ledger.summaries())
    if as_json:
        return print_json([vars(proposer) for proposer in found])
    rows = []
    for p in found:
        values = ("-" if value is None else f"{value:.4f}" for value in (p.best, p.mean))
        rows.append((str(p.count), str(p.scored), *values, p.name + ", who suggested them" * p.suggested))
    if rows:
        print_table(("children", "scored", "best", "mean", "proposed by"), rows)
    else:
        console.print(f"no child of search {ledger.name} is applied yet")


def _print_front(ledger: Ledger, size: str, as_json: bool) -> None:
    summaries = ledger.summaries()
    front = fronts.pareto(summaries, size, ledger.spec.objective)
    if as_json:
        return print_json([vars(child) | {"summary": summary_of(ledger, child.tokens)} for child in front])
    if front:
        rows = [(compact(c.size), f"{c.score:.4f}", c.child, summary_of(ledger, c.tokens)) for c in front]
        columns = (size, "score", "child", "architecture")
        print_table(columns, rows, title=f"best of {ledger.name} at each size", shorten=True)
    else:
        known = {name for summary in summaries for child in summary.children for name in child.result.metrics}
        has = f"; known of its children: {', '.join(sorted(known))}" if known else ""
        console.print(f"no child of search {ledger.name} has a reward and {size}{has}")
    next_step(f"rlnas show {ledger.name} CHILD", "shows one of them")


@app.command()
def show(
    search: SearchName,
    child: Annotated[str | None, typer.Argument(help="such as 000003-001; the best one unless given")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="where to draw it: .svg or .png")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one architecture as a table, and draw it."""
    ledger = open_search(open_bucket(), search)
    found = read_child(ledger, child)
    architecture = ledger.spec.space.decode(found.tokens)
    description = ledger.spec.space.describe(architecture, ledger.shape)
    if as_json:
        result = found.result.model_dump(mode="json") if found.result else None
        known = {"child": found.name, "policy_version": found.policy_version, "tokens": found.tokens}
        shown = {"architecture": architecture.model_dump(mode="json", exclude_defaults=True)}
        described = {"summary": description.summary, "remarks": description.remarks}
        known |= {"by": found.by, "suggested": found.suggested}
        print_json(known | {"log_probability": found.log_probability, "result": result} | shown | described)
        return
    if output and not description.nodes:
        raise UserError(f"--output: there is nothing to draw of a {ledger.spec.space.kind} architecture; leave it out")
    path = output or HOME / "drawings" / f"{search}-{found.name}.svg"
    if description.nodes:
        draw(description, f"{search} {found.name}", path)
    console.print(f"{search} {found.name}: {description.summary}")
    print_table(description.columns, description.rows)
    for remark in description.remarks:
        console.print(f"- {remark}")
    if found.by:
        console.print(f"- proposed by {found.by}{', who suggested it' * found.suggested}")
    console.print(f"- {fate_of(found.result, found.bars)}")
    if description.nodes:
        console.print(f"drawn: {path}")
    next_step(f"rlnas leaderboard {search}", "lists the others")


@app.command()
def report(
    search: SearchName,
    others: Annotated[
        list[str],
        typer.Argument(
            metavar="[OTHER]...",
            help="to compare it with: controls, and the same search with other seeds; those named SEARCH-control,"
            " SEARCH-largest, SEARCH-s2, SEARCH-s2-control are found by themselves",
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
    bucket = open_bucket()
    ledger = open_search(bucket, search)
    data = read_report(ledger, [open_search(bucket, other) for other in others])
    write_file(path, render(data).encode())
    console.print(f"report: {path} ({path.stat().st_size / 1000:.0f} kB): open it in a browser", soft_wrap=True)
    next_step(
        *(f"rlnas show {search}", "shows the best architecture")
        if data.leaders
        else (f"rlnas status {search}", "shows how far it is")
    )


@app.command("export-table")
def export_table(
    search: SearchName,
    file: Annotated[Path | None, typer.Argument(help="where to write it: .csv or .parquet")] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow's tracking server, which gets one run for each child")
    ] = None,
) -> None:
    """Write a search's children as a table, one row each; or log them to MLflow, one run each."""
    from rlnas.report.mlflow_runs import log_runs
    from rlnas.report.tables import export_table

    if file is None and mlflow is None:
        raise UserError("nothing to write; allowed: a file, --mlflow URI, or both")
    ledger = open_search(open_bucket(), search)
    if file is not None:
        console.print(f"table: {file}, {export_table(ledger, file)} children", soft_wrap=True)
    if mlflow is not None:
        logged, known = log_runs(ledger, mlflow)
        console.print(
            f"MLflow: {logged} children logged to experiment {search}, {known} were there already", soft_wrap=True
        )
    next_step(f"rlnas report {search}", "shows them as a page")


@app.command()
def tensorboard(
    search: SearchName, folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to write the events")]
) -> None:
    """Write a search's controller and children as TensorBoard's events."""
    from rlnas.report.events import write_events

    values = write_events(open_search(open_bucket(), search), folder)
    console.print(f"events: {folder}, {values} values", soft_wrap=True)
    next_step(f"tensorboard --logdir {quote(str(folder))}", "shows them")


@app.command()
def metrics(
    search: SearchName,
    listen: Annotated[
        str, typer.Option(metavar="[HOST]:PORT", help="where Prometheus asks; :9090 for all addresses of this machine")
    ] = "localhost:9090",
) -> None:
    """Serve a search's numbers to Prometheus, until it is stopped."""
    from rlnas.report.metrics import serving

    bucket = open_bucket()
    open_search(bucket, search)  # a wrong name is told now
    with serving(bucket, search, listen) as address:
        console.print(f"metrics of search {search}: {address}; Ctrl-C stops", soft_wrap=True)
        next_step(f"curl {address}", "shows them")
        Event().wait()
