"""The facts of a search: objects that are created once, and the first writer wins."""

import itertools
import secrets
from typing import ClassVar

from rlnas.spec import SearchSpec
from rlnas.state.bucket import Bucket
from rlnas.state.records import (
    DataRecord,
    FinalRecord,
    History,
    Plan,
    Result,
    SearchRecord,
    Summary,
    Version,
    child_of,
    parse_child_id,
)
from rlnas.state.search import Search

MODEL_CARD = "README.md"
"""The last file of an export to be written."""


class Facts(Search):
    """What is known of a search's rounds and children, whatever the controller has learned of it."""

    HISTORY_ROUNDS: ClassVar[int] = 100
    """So many complete rounds are put together into one object."""

    def __init__(self, bucket: Bucket, record: SearchRecord) -> None:
        super().__init__(bucket, record)
        self._plan: Plan | None = None  # the last one that was read or made
        self._summary: Summary | None = None  # the last one that was read or made
        self._seconds: dict[int, float] = {}  # of the children of complete rounds that have been read for them

    # ---- the data ----

    def data(self) -> DataRecord | None:
        """Return what the data was when the search began; None if nobody has recorded it yet."""
        found = self.bucket.get(key := self.key("data.json"))
        return DataRecord.from_bytes(found.data, key) if found else None

    def create_data(self, record: DataRecord) -> DataRecord:
        """Record what the data is; return what is recorded, by whoever was first."""
        created = self.bucket.create(self.key("data.json"), record.to_bytes())
        return (None if created else self.data()) or record

    def spec_beside(self, other: "Facts") -> SearchSpec | None:
        """Return this search's spec for comparing it with another's; None: their data is not the same.

        Where it is known to be the same, it counts as lying where the other's does.
        """
        mine, theirs = ((data := search.data()) and data.fingerprint for search in (self, other))
        if not (mine and theirs):
            return self.spec
        return self.spec.with_data_at(other.spec) if mine == theirs else None

    # ---- plans ----

    def plan(self, round_number: int) -> Plan | None:
        """Return a round's plan, or None."""
        plan = self._plan
        if plan is None or plan.round != round_number:
            key = self._plan_key(round_number)
            found = self.bucket.get(key)
            plan = self._plan = Plan.from_bytes(found.data, key) if found else None
        return plan

    def create_plan(self, plan: Plan) -> bool:
        """Plan a round; False if it is planned already."""
        created = self.bucket.create(self._plan_key(plan.round), plan.to_bytes())
        if created:
            self._plan = plan
        if created and plan.round < self.finals_from:
            self.bucket.put(self.key("next.json"), str(plan.round + 1).encode())
        return created is not None

    def next_round(self) -> int:
        """Return a hint: no round below it is free, except by accident."""
        return self._hint("next.json")

    # ---- children ----

    def claimed_children(self, round_number: int) -> set[str]:
        """Return the children of a round that somebody has begun to train."""
        return self._names("leases/", round_number)

    def claimed_from(self, round_number: int) -> list[str]:
        """Return the children of a round, and of all after it, that somebody has begun to train, in order."""
        prefix = self.key("leases/")
        keys = self.bucket.list_all(prefix, start_after=f"{prefix}{round_number:06d}")
        return [child_of(key) for key in keys]

    def trained_children(self, round_number: int) -> set[str]:
        """Return the children of a round that have snapshots."""
        return self._names("snapshots/", round_number)

    def snapshots(self, child: str) -> bytes | None:
        """Return the weights that a child's evaluation needs, or None."""
        found = self.bucket.get(self.snapshot_key(child))
        return found.data if found else None

    def create_snapshots(self, child: str, data: bytes) -> None:
        """Store a trained child's weights."""
        self.bucket.create(self.snapshot_key(child), data)

    def finished_children(self, round_number: int) -> set[str]:
        """Return the children of a round that have a result."""
        return self._names("results/", round_number)

    def result(self, child: str) -> Result | None:
        """Return how a child ended, or None if it has not."""
        key = self.key(f"results/{child}.json")
        found = self.bucket.get(key)
        return Result.from_bytes(found.data, key) if found else None

    def create_result(self, child: str, result: Result) -> bool:
        """Record how a child ended; False if that is recorded already."""
        return self.bucket.create(self.key(f"results/{child}.json"), result.to_bytes()) is not None

    def under_way(self, version: Version) -> tuple[set[str], set[str]]:
        """Return, by three listings, the children of rounds not yet applied that have a result, and that are trained.

        Args:
            version: the newest.
        """
        window = range(version.low_mark, min(self.rounds, version.low_mark + self.spec.loop.window))
        if not window:
            return set(), set()

        def names(folder: str) -> set[str]:
            prefix, found = self.key(folder), set()
            for key in self.bucket.list_all(prefix, start_after=f"{prefix}{window.start:06d}"):
                child = child_of(key)
                number, _ = parse_child_id(child)
                if number not in window:
                    break
                if number not in version.extras:
                    found.add(child)
            return found

        finished = names("results/")
        return finished, names("leases/") - names("snapshots/") - finished

    # ---- complete rounds ----

    def summary(self, round_number: int) -> Summary | None:
        """Return a complete round, or None."""
        summary = self._summary
        if summary is None or summary.round != round_number:
            key = self.key(f"summaries/{round_number:06d}.json")
            found = self.bucket.get(key)
            summary = self._summary = Summary.from_bytes(found.data, key) if found else None
        return summary

    def create_summary(self, summary: Summary) -> None:
        """Record that a round is complete. Whoever is first, the content is the same."""
        if self.bucket.create(self.key(f"summaries/{summary.round:06d}.json"), summary.to_bytes()):
            self._summary = summary

    def complete_rounds(self, low_mark: int) -> list[int]:
        """Return the rounds from `low_mark` on that have summaries, up to 1,000 of them."""
        prefix = self.key("summaries/")
        keys = self.bucket.list(prefix, start_after=f"{prefix}{low_mark - 1:06d}.json" if low_mark else None)
        return [int(key.removeprefix(prefix).removesuffix(".json")) for key in keys]

    def bundle(self, k: int) -> None:
        """Put the summaries of a hundred rounds, all of them applied, into one object."""
        rounds = range(k * self.HISTORY_ROUNDS, (k + 1) * self.HISTORY_ROUNDS)
        summaries = [summary for r in rounds if (summary := self.summary(r)) is not None]
        self.bucket.create(self.history_key(k), History(summaries=tuple(summaries)).to_bytes())

    def summaries(self) -> list[Summary]:
        """Return every complete round of the search in order, reading a hundred at a time where they are bundled."""
        bundled: list[Summary] = []
        while found := self.bucket.get(key := self.history_key(len(bundled) // self.HISTORY_ROUNDS)):
            bundled += History.from_bytes(found.data, key).summaries
        rest, start = [], len(bundled)
        while page := [r for r in self.complete_rounds(start) if r < self.rounds]:
            rest += [summary for r in page if (summary := self.summary(r)) is not None]
            start = page[-1] + 1
        return bundled + rest

    def child_seconds(self) -> float:
        """Return the seconds that the children of complete rounds took in all; this ledger reads each round once."""
        known = self._seconds
        first = next(number for number in itertools.count() if number not in known)
        fresh = [r for r in self.complete_rounds(first) if r < self.rounds and r not in known] if known else ()
        for summary in map(self.summary, fresh) if known else self.summaries():
            if summary is not None:
                known[summary.round] = sum(child.seconds for child in summary.children)
        return sum(known.values())

    # ---- what comes after the budget ----

    def final(self, number: int) -> FinalRecord | None:
        """Return what test data said of a finalized winner, or None."""
        key = self._final_key(number)
        found = self.bucket.get(key)
        return FinalRecord.from_bytes(found.data, key) if found else None

    def create_final(self, number: int, record: FinalRecord) -> None:
        """Record the one test of a winner."""
        self.bucket.create(self._final_key(number), record.to_bytes())

    def record_test_reading(self) -> None:
        """Leave a trace of test data being read; called before it is."""
        self.bucket.put(self.key(f"test-readings/{secrets.token_hex(8)}"), b"")

    def test_readings(self) -> int:
        """Return how often test data has been read in this search."""
        return len(self.bucket.list(self.key("test-readings/")))

    def model_files(self, winner: str) -> list[str]:
        """Return the names of the files of an exported winner; none unless its export is complete."""
        prefix = self.model_key(winner)
        files = [key.removeprefix(prefix) for key in self.bucket.list(prefix)]
        return files if MODEL_CARD in files else []
