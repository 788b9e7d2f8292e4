"""A search's numbers for Prometheus: read from the ledger when they are asked for."""

import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from rlnas.errors import SearchDeleted, StoreError, UserError, one_line, unforeseen_line
from rlnas.state import Bucket, Ledger, Summary, open_search, parse_child_id

LABELS = ("search",)


@dataclass
class _Applied:
    """What complete rounds of one search add up to. Rounds never change, so each is read once."""

    root: str
    rounds: set[int] = field(default_factory=set)
    children: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    _next: int = 0  # all rounds below are read

    def read_on(self, ledger: Ledger) -> None:
        """Read the rounds that are complete by now: in bundles the first time, then one by one."""
        for summary in ledger.summaries() if not self.rounds else self._new(ledger):
            self.rounds.add(summary.round)
            self.children.update(child.result.status for child in summary.children)
            self.seconds += sum(child.seconds for child in summary.children)
        while self._next in self.rounds:
            self._next += 1

    def _new(self, ledger: Ledger) -> Iterator[Summary]:
        for number in ledger.complete_rounds(self._next):
            if number < ledger.rounds and number not in self.rounds and (found := ledger.summary(number)):
                yield found


class SearchCollector(Collector):
    """A search as metrics, all with the label `search`.

    Every question opens the search anew: it may have been deleted, and made anew. Whatever goes wrong, the answer is
    `rlnas_up 0`, and a line on standard error says why.

    Args:
        bucket: the store.
        name: of the search; it need not be there.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        self._lock = threading.Lock()
        self._applied: _Applied | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        with self._lock:  # two may ask at once
            found = self._read_or_complain()
            up = GaugeMetricFamily("rlnas_up", "Whether the search could be read: 1 or 0.", labels=LABELS)
            up.add_metric([self._name], float(bool(found)))
            requests = CounterMetricFamily(
                "rlnas_store_requests",
                "Requests that this server of metrics has sent to the store; those of tasks are not counted.",
                labels=(*LABELS, "method"),
            )
            for method, count in sorted(self._bucket.requests.items()):
                requests.add_metric([self._name, method], count)
        yield from (up, requests, *found)

    def _read_or_complain(self) -> list[Metric]:
        try:
            return self._read()
        except (StoreError, UserError, SearchDeleted) as error:
            words = one_line(error)
        except Exception as error:  # the traceback of a server's thread could hold a signed address
            words = unforeseen_line(error)
        print(f"rlnas: search {self._name} cannot be read: {words}", file=sys.stderr, flush=True)
        return []

    def _read(self) -> list[Metric]:
        ledger = open_search(self._bucket, self._name)
        if self._applied is None or self._applied.root != ledger.root:
            self._applied = _Applied(ledger.root)
        applied, version = self._applied, ledger.version()
        finished, running = ledger.under_way(version)
        applied.read_on(ledger)  # after the children under way: what is complete by now is not counted twice

        def not_complete(children: set[str]) -> int:
            return sum(parse_child_id(child)[0] not in applied.rounds for child in children)

        states = {state: applied.children[state] for state in ("ok", "failed", "lost")}
        states |= {"finished": not_complete(finished), "running": not_complete(running)}
        states["open"] = max(0, ledger.children - sum(states.values()))
        children = GaugeMetricFamily(
            "rlnas_children",
            "Children by state, all together the budget. ok, failed, lost: of complete rounds. finished: they have a"
            " result, their round is not complete. running: a task holds them. open: all others.",
            labels=(*LABELS, "state"),
        )
        for state, count in states.items():
            children.add_metric([self._name, state], count)
        seconds = SummaryMetricFamily(
            "rlnas_child_seconds",
            "Seconds that children of complete rounds took, the short trials that chose them included.",
            labels=LABELS,
        )
        seconds.add_metric([self._name], applied.children.total(), applied.seconds)
        best = GaugeMetricFamily("rlnas_best_reward", "Best reward of all applied children.", labels=LABELS)
        if version.leaders:
            best.add_metric([self._name], version.leaders[0].reward)
        staleness = GaugeMetricFamily(
            "rlnas_staleness",
            "By how many versions of the controller the proposals of its last update were behind; 0: none.",
            labels=LABELS,
        )
        if "staleness" in version.numbers:
            staleness.add_metric([self._name], version.numbers["staleness"])
        return [children, seconds, best, staleness]


@contextmanager
def serving(bucket: Bucket, name: str, listen: str) -> Iterator[str]:
    """Serve a search's metrics from a thread of this process.

    Args:
        bucket: the store.
        name: of the search.
        listen: `HOST:PORT`, or `:PORT` for all addresses of this machine; port 0: any that is free.

    Yields:
        The address that Prometheus asks.

    Raises:
        UserError: nobody can listen there.
    """
    parts = re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[\w.-]*):(\d{1,5})", listen)
    if parts is None or int(parts[2]) > 65535:
        raise UserError(f"--listen: {listen!r} is no address; allowed: HOST:PORT, or :PORT for all addresses")
    registry = CollectorRegistry()
    registry.register(SearchCollector(bucket, name))
    everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
    try:
        server, thread = start_http_server(int(parts[2]), parts[1].strip("[]") or everywhere, registry)
    except OSError as error:
        words = error.strerror or str(error)
        raise UserError(f"--listen: cannot listen at {listen}: {words}; allowed: another HOST:PORT") from None
    try:
        yield f"http://{parts[1] or 'localhost'}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
