"""Workers at scale: requests a child while they are killed, whether the ledger keeps its promises, and pods a child.

512 tabular children are searched by 8 processes that work on one search in a real store, as the pods of a run do. For
every twenty children one of them is killed (SIGKILL, with the children that it trains), at random, and a new one takes
its place. Every process writes each of its requests into one file before it is sent, so those of the killed ones count
too. Then the objects alone must say that nothing was lost and that nothing counted twice.
"""

import hashlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from itertools import product
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import torch._dynamo  # noqa: F401 - so that no worker need import it
import yaml

from pipelines.compile import compile_pipeline
from pipelines.size import size_of_workers
from pipelines.workers import SECONDS_PER_RUN
from rlnas import steps
from rlnas.orphans import stop_with_parent
from rlnas.spec import SearchSpec, parse_spec
from rlnas.state import Bucket, EmbeddedStore, Ledger, child_id, open_search
from rlnas.state.answers import Pool
from rlnas.state.records import Plan, Version

CHILDREN, CHILDREN_PER_ROUND, WORKERS, CHILDREN_A_KILL = 512, 8, 8, 20
LARGE, CHILDREN_AN_HOUR = 12_800, 30  # of the paper; of one worker
REQUESTS_GOAL, PODS_GOAL = 12, 0.05
HOUR = 3600.0
_FORK = multiprocessing.get_context("fork")


def measure() -> list[dict[str, Any]]:
    """Return the requests a child of workers that are killed, and the pods a child of a search of the paper's size."""
    with tempfile.TemporaryDirectory() as folder:
        store, log = EmbeddedStore(Path(folder) / "store"), Path(folder) / "requests"
        try:
            settings = store.start()
            spec = make_spec(Path(folder), CHILDREN)
            ledger = steps.open_search(Bucket(settings), spec.name, spec)
            start = time.monotonic()
            kills = run_workers(ledger, WORKERS, CHILDREN_A_KILL, log)
            seconds = time.monotonic() - start
            check(ledger)
            by_method = requests(log)
        finally:
            store.stop()
        run = pods_of_a_run(Path(folder))
    each = ", ".join(f"{method} {count / CHILDREN:.1f}" for method, count in sorted(by_method.items()))
    runs = -(-LARGE // (WORKERS * CHILDREN_AN_HOUR * SECONDS_PER_RUN // 3600))
    return [
        {
            "name": f"requests a child, {CHILDREN} tabular children, {WORKERS} workers, {kills} kills, {seconds:.0f} s",
            "unit": f"requests: {each}",
        }
        | _verdict(by_method.total() / CHILDREN, REQUESTS_GOAL),
        {
            "name": f"pods a child, {LARGE:,} children, {WORKERS} workers of {CHILDREN_AN_HOUR} children an hour",
            "unit": f"pods: {runs} runs of {SECONDS_PER_RUN // 3600} hours and {run} pods",
        }
        | _verdict(runs * run / LARGE, PODS_GOAL),
    ]


def make_spec(folder: Path, children: int) -> SearchSpec:
    """Return a tabular search whose window has room for all workers; its table is written into the folder."""
    table = folder / "table.csv"
    rows = [f"{'-'.join(map(str, cell))},{sum(cell)},{cell[0]}" for cell in product(range(4), repeat=4)]
    table.write_text("\n".join(["architecture,validation,test", *rows]) + "\n", encoding="utf-8")
    document = {
        "name": "workers",
        "space": {"kind": "tabular", "choices": [4] * 4},
        "dataset": {"kind": "table", "path": str(table)},
        "loop": {
            "children": children,
            "children_per_round": CHILDREN_PER_ROUND,
            "children_per_batch": CHILDREN_PER_ROUND,
            "window": 2 * WORKERS,
        },
    }
    return parse_spec(document)


# ---- the workers ----


def run_workers(ledger: Ledger, workers: int, children_a_kill: int, log: Path) -> int:
    """Run a search by workers to its end. One is killed and replaced for so many children that have ended.

    Args:
        ledger: of the search.
        workers: how many side by side.
        children_a_kill: one kill for so many children, at a moment that is drawn.
        log: gets a line for each request of the workers.

    Returns:
        How many were killed.

    Raises:
        RuntimeError: a worker failed.
    """
    chance, children = random.Random(ledger.spec.seed), ledger.spec.loop.children
    firsts = range(0, children, children_a_kill)
    due = [first + chance.randrange(min(children_a_kill, children - first)) for first in firsts]
    running: dict[int, Any] = {}
    started = kills = 0
    try:
        while running or not started:
            while started < workers + kills:
                process = _FORK.Process(target=_work, args=(ledger, f"worker {started}", log))
                process.start()
                with suppress(PermissionError):
                    os.setpgid(process.pid or 0, 0)  # as the process itself does, whoever is first
                running[process.sentinel] = process
                started += 1
            for sentinel in wait(list(running), timeout=0.05):
                process = running.pop(cast(int, sentinel))
                process.join()
                if process.exitcode != 0:
                    raise RuntimeError(f"a worker ended with {process.exitcode}")
            if running and kills < len(due) and len(list(ledger.bucket.list_all(ledger.key("results/")))) >= due[kills]:
                _kill(running.pop(chance.choice(sorted(running))))
                kills += 1
    finally:
        for process in running.values():
            _kill(process)
    return kills


def _kill(process: Any) -> None:
    """Kill a worker as a pod is killed: with all its processes."""
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _work(ledger: Ledger, task: str, log: Path) -> None:
    os.setpgid(0, 0)
    if parent := multiprocessing.parent_process():
        stop_with_parent(parent.pid or 0)
    log_requests(log)
    own = open_search(Bucket(ledger.bucket.settings), ledger.name)  # connections are not shared between processes
    try:
        steps.work(own, task, HOUR, own.spec.loop.rounds)
    finally:
        sys.stdout.flush()


# ---- counting ----


def log_requests(log: Path) -> None:
    """From now on, in this process and in those that it begins, write a line before each request is sent.

    One line is one write at the end of the file, so that nothing is lost or mixed, whoever is killed.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    urlopen = Pool.urlopen

    def logged(self: Pool, method: str, url: str, *args: Any, **kw: Any) -> Any:
        os.write(descriptor, f"{kind_of(method, url)}\n".encode())
        return urlopen(self, method, url, *args, **kw)

    Pool.urlopen = logged  # type: ignore[method-assign]


def kind_of(method: str, url: str) -> str:
    """Say what a request asks for: its method (a GET of many keys is a LIST), and the folder of the search."""
    parts = urlsplit(url)
    query = dict(item.partition("=")[::2] for item in parts.query.split("&"))
    listed = "list-type" in query
    key = unquote(query.get("prefix", "")) if listed else unquote(parts.path).strip("/").partition("/")[2]
    folders = key.split("/")[3:]
    method = "LIST" if listed else "DELETE" if method == "POST" else method
    return f"{method} {folders[0] if folders else 'search'}"


def requests(log: Path) -> Counter[str]:
    """Count the requests of a log by method."""
    return Counter(line.split()[0] for line in log.read_text(encoding="utf-8").splitlines())


# ---- what the objects say ----


def check(ledger: Ledger) -> None:
    """Hold the objects of a search that is over against what was promised.

    Raises:
        AssertionError: the chain is broken, a round counts twice or not at all, the budget is not exact, or a result is
            not the one of its summary.
    """
    loop = ledger.spec.loop
    versions: list[Version] = []
    parent = b""
    while found := ledger.controller(len(versions)):
        if versions:
            assert found.version.parent_sha256 == hashlib.sha256(parent).hexdigest(), "the chain is broken"
        versions.append(found.version)
        parent = found.data
    applied = Counter(number for version in versions for number in version.applied)
    assert applied == Counter(range(loop.rounds)), "each round is in one update"
    assert versions[-1].children == loop.children, "the budget is exact"
    names = [child_id(number, i) for number in range(loop.rounds) for i in range(loop.children_per_round)]
    assert [_name(key) for key in ledger.bucket.list_all(ledger.key("results/"))] == names, "one result each"
    assert len(list(ledger.bucket.list_all(ledger.key("plans/")))) == loop.rounds, "no round is beyond the budget"
    for number in range(loop.rounds):
        summary, plan = ledger.summary(number), ledger.plan(number)
        assert isinstance(plan, Plan)
        assert summary is not None
        for i, (child, planned) in enumerate(zip(summary.children, plan.children, strict=True)):
            assert child.result == ledger.result(child_id(number, i)), "the summary has the result"
            assert (child.tokens, child.seed) == (planned.tokens, planned.seed), "and the child that was planned"


def _name(key: str) -> str:
    return Path(key).name.removesuffix(".json")


# ---- pods ----


def pods_of_a_run(folder: Path) -> int:
    """Compile the package of workers, and count the pods of a run as `rlnas submit` does, which refuses too many.

    Raises:
        UserError: the run is too large for Argo.
    """
    package = compile_pipeline("workers", folder)
    documents = list(yaml.safe_load_all(package.read_text(encoding="utf-8")))
    return size_of_workers(documents, WORKERS, {"search_name": "a", "worker_count": WORKERS}).pods


def _verdict(value: float, goal: float) -> dict[str, Any]:
    return {"value": round(value, 4), "goal": goal, "met": value <= goal}
