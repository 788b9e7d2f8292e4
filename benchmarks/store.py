"""What a search asks of its store: requests a child, and the time to read a large leaderboard."""

import multiprocessing
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from rlnas import steps
from rlnas.report import read_status
from rlnas.spec import SearchSpec, parse_spec
from rlnas.state import Bucket, EmbeddedStore, StoreSettings, Summary, open_search
from rlnas.state.ledger import Ledger
from rlnas.state.records import AppliedChild, FinishedChild, History, Leader, Plan, Result, Version
from rlnas.tensors import pack

HISTORY_ROUNDS = Ledger.HISTORY_ROUNDS
CHILDREN_PER_ROUND, LARGE = 8, 12_800  # the paper's m, and the size of its search of convolutional networks
REQUESTS_GOAL, SECONDS_GOAL = 12, 2.0


def measure() -> list[dict[str, Any]]:
    """Return the requests a child, in a first round and over a whole search, and the seconds to read a leaderboard."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        rows = [f"{a}-{b}-{c},{a + b + c},{a}" for a, b, c in product(range(3), repeat=3)]
        table.write_text("\n".join(["architecture,validation,test", *rows]) + "\n")
        store = EmbeddedStore(Path(folder) / "store")
        try:
            settings = store.start()
            spec = _spec("small", table, 2 * CHILDREN_PER_ROUND)
            steps.open_search(Bucket(settings), spec.name, spec)
            requests = _requests(settings, spec)
            whole = _requests_of_a_search(settings, table)
            seconds = _leaderboard(settings, _spec("large", table, LARGE))
        finally:
            store.stop()
    return [
        _row("requests a child", requests / CHILDREN_PER_ROUND, "requests", REQUESTS_GOAL),
        _row(f"requests a child, over {LARGE:,} with their history", whole / LARGE, "requests", REQUESTS_GOAL),
        _row(f"leaderboard of {LARGE:,} children", seconds, "s", SECONDS_GOAL),
    ]


def _requests(settings: StoreSettings, spec: SearchSpec) -> int:
    """Count the requests of one round from sampling to update, its worker processes' included.

    Each step opens the search anew, as a task of its own does. The one-off requests of opening are not counted.
    """
    count = multiprocessing.get_context("fork").Value("q")  # forked workers share it
    persist = Bucket._persist

    def counted(self: Bucket, *args: Any) -> Any:
        answers = persist(self, *args)
        with count.get_lock():
            count.value += max(len(answers), 1)
        return answers

    Bucket._persist = counted  # type: ignore[method-assign, assignment]
    try:
        for batch in steps.sample_architecture(open_search(Bucket(settings), spec.name)):
            steps.train_child(open_search(Bucket(settings), spec.name), batch, "benchmark")
            steps.evaluate(open_search(Bucket(settings), spec.name), batch)
        steps.update_controller(open_search(Bucket(settings), spec.name))
    finally:
        Bucket._persist = persist  # type: ignore[method-assign]
    return count.value


def _requests_of_a_search(settings: StoreSettings, table: Path) -> float:
    """Count the requests of a whole search whose searcher reads the history, without running each of its rounds.

    What a round reads grows by one bundle with each hundred rounds that are behind it, and the last of a hundred makes
    one. So of the first and of the last hundred two rounds are run, one in the middle and the last, each on a search
    that lies in the store as it does at that moment. The middle one stands for all but the last, and the hundreds
    between are taken from the straight line, whose slope must be that one bundle.
    """
    hundreds = LARGE // CHILDREN_PER_ROUND // HISTORY_ROUNDS
    found = {}
    for hundred in (0, hundreds - 1):
        for after in (HISTORY_ROUNDS // 2, HISTORY_ROUNDS - 1):
            rounds = hundred * HISTORY_ROUNDS + after
            spec = _spec(f"after-{rounds}", table, LARGE, controller={"kind": "evolution"})
            ledger = steps.open_search(Bucket(settings), spec.name, spec)
            _fill(ledger, rounds, summaries_from=hundred * HISTORY_ROUNDS)
            found[hundred, after] = _requests(settings, spec)
            assert ledger.version().rounds == rounds + 1
    of_hundred = {}
    for hundred in (0, hundreds - 1):
        middle, last = (found[hundred, after] for after in (HISTORY_ROUNDS // 2, HISTORY_ROUNDS - 1))
        assert middle - found[0, HISTORY_ROUNDS // 2] == hundred, "one bundle more for each hundred"
        of_hundred[hundred] = (HISTORY_ROUNDS - 1) * middle + last
    return hundreds * sum(of_hundred.values()) / 2


def _leaderboard(settings: StoreSettings, spec: SearchSpec) -> float:
    """Write a search of made-up children as it lies in the store, and time the reading of its best."""
    bucket = Bucket(settings)
    _fill(steps.open_search(bucket, spec.name, spec), spec.loop.rounds)
    start = time.monotonic()
    status = read_status(open_search(Bucket(settings), spec.name))
    seconds = time.monotonic() - start
    assert status.children == LARGE
    assert len(status.leaders) == CHILDREN_PER_ROUND
    return seconds


def _fill(ledger: Ledger, rounds: int, summaries_from: int = 0) -> None:
    """Write a search after so many rounds; summaries of earlier ones than `summaries_from` only in bundles."""
    child = FinishedChild(tokens=(0, 1, 2), log_probability=-3.0, seed=0, result=Result(status="ok", reward=0.5))
    summaries = [
        Summary(round=r, policy_version=r, samples=r * CHILDREN_PER_ROUND, children=(child,) * CHILDREN_PER_ROUND)
        for r in range(rounds)
    ]
    leaders = tuple(
        Leader(child=f"{rounds - 1:06d}-{i:03d}", reward=0.5, tokens=child.tokens, metrics={})
        for i in range(CHILDREN_PER_ROUND)
    )
    bundled = rounds // HISTORY_ROUNDS * HISTORY_ROUNDS
    applied = AppliedChild(round=0, tokens=child.tokens, reward=0.5, scored=True, metrics={})
    version = Version(
        version=rounds,
        low_mark=rounds,
        children=rounds * CHILDREN_PER_ROUND,
        leaders=leaders,
        recent=tuple(
            applied.model_copy(update={"round": r}) for r in range(bundled, rounds) for _ in range(CHILDREN_PER_ROUND)
        ),
    )
    plan = Plan(round=rounds - 1, policy_version=rounds - 1, samples=0, children=())
    objects = {f"summaries/{summary.round:06d}.json": summary.to_bytes() for summary in summaries[summaries_from:]}
    for k in range(bundled // HISTORY_ROUNDS):
        bundle = History(summaries=tuple(summaries[k * HISTORY_ROUNDS : (k + 1) * HISTORY_ROUNDS]))
        objects[f"history/{k:06d}.json"] = bundle.to_bytes()
    objects[f"plans/{plan.round:06d}.json"] = plan.to_bytes()
    objects[f"controllers/{rounds:06d}.safetensors"] = pack({}, version.model_dump(mode="json"))
    objects |= dict.fromkeys(("head.json", "next.json"), str(rounds).encode())
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: ledger.bucket.put(ledger.key(name), objects[name]), objects))


def _spec(name: str, table: Path, children: int, **sections: Any) -> SearchSpec:
    return parse_spec(
        {
            "name": name,
            "space": {"kind": "tabular", "choices": [3, 3, 3]},
            "dataset": {"kind": "table", "path": str(table)},
            "loop": {"children": children, "children_per_round": CHILDREN_PER_ROUND},
        }
        | sections
    )


def _row(name: str, value: float, unit: str, goal: float) -> dict[str, Any]:
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "met": value <= goal}
