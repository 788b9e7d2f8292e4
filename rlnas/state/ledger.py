"""The ledger: everything a search remembers, and its only writer.

Facts (plans, results, summaries, controller versions) are objects created once, and the first writer wins. The chain
of controller versions is the only commit point: a round's rewards count when a version that applied it exists.
Every method may be called again, from anywhere, at any time. docs/state.md has the table of objects.
"""

import hashlib
import itertools
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from rlnas.children import EpochRecipe
from rlnas.controller import SEARCHERS, Searcher, SearcherState, Trial
from rlnas.errors import SearchDeleted, StoreError, UserError
from rlnas.registry import resolve
from rlnas.seeds import derive_seed
from rlnas.spaces import DataShape
from rlnas.spec import SearchSpec, flat, parse_spec, with_field
from rlnas.state.bucket import Bucket
from rlnas.state.earlier import COPY, NOTHING, Earlier
from rlnas.state.records import (
    KEPT_SNAPSHOTS,
    LEADERBOARD_SIZE,
    AppliedChild,
    DataRecord,
    FinalRecord,
    History,
    Leader,
    Plan,
    Result,
    SearchRecord,
    Summary,
    Version,
    child_id,
    child_of,
    parse_child_id,
    standing,
    unreadable,
)
from rlnas.tensors import pack, read_document, unpack

SEARCHES = "searches/"
HISTORY_ROUNDS = 100
MODEL_CARD = "README.md"
"""The last file of an export to be written."""


@dataclass(frozen=True)
class Controller:
    """One version of the chain."""

    version: Version
    data: bytes

    @cached_property
    def state(self) -> SearcherState:
        """The searcher's state.

        Raises:
            StoreError: its tensors are damaged.
        """
        try:
            return SearcherState(unpack(self.data), self.version.memory)
        except ValueError as error:
            raise StoreError(f"controller {self.version.version} is damaged: {error}") from None


class Ledger:
    """One search's state.

    Args:
        bucket: the store.
        record: the search, see `rlnas.state.searches`.

    Attributes:
        seen: the newest version that this ledger has read or made; None: it has not looked.
    """

    def __init__(self, bucket: Bucket, record: SearchRecord) -> None:
        self.bucket = bucket
        self.record = record
        self.name: str = record.spec["name"]
        self.root = f"{SEARCHES}{self.name}/{record.incarnation}/"
        self.seen: Controller | None = None
        self._plan: Plan | None = None  # the last one that was read or made
        self._summary: Summary | None = None  # the last one that was read or made
        self._seconds: dict[int, float] = {}  # of the children of complete rounds that have been read for them

    @cached_property
    def spec(self) -> SearchSpec:
        """The spec, parsed."""
        return parse_spec(self.record.spec, f"search {self.name}", earlier=True)

    @property
    def rounds(self) -> int:
        """The rounds of the search: as many as its spec has, or fewer if it was ended before."""
        budget, ended = self.spec.loop.rounds, self.record.ended
        return budget if ended is None or ended.rounds is None else min(budget, ended.rounds)

    @property
    def children(self) -> int:
        """The children of all its rounds."""
        return self.rounds * self.spec.loop.children_per_round

    @property
    def finals_from(self) -> int:
        """The first number of the rounds that finalize winners; every number below is one of a round of the search."""
        return self.spec.loop.rounds if self.record.finals_from is None else self.record.finals_from

    def refresh(self) -> None:
        """Read `search.json` anew.

        Raises:
            SearchDeleted: the search is gone, or is another one by now.
        """
        self.take(self.expect_own(read_record(self.bucket, self.name)))

    def take(self, record: SearchRecord) -> None:
        """From now on, this search is as its record says."""
        if record.spec != self.record.spec:
            self.__dict__.pop("spec", None)
        self.record = record

    @cached_property
    def shape(self) -> DataShape:
        """The shape of the search's data."""
        return DataShape(**self.record.shape)

    @cached_property
    def searcher(self) -> Searcher:
        """The searcher that the spec names; from here on this process computes on one thread."""
        return searcher_of(self.spec, self.shape)

    @cached_property
    def earlier(self) -> Earlier:
        """What the search began with of an earlier one.

        Raises:
            StoreError: it is missing or damaged.
        """
        if self.record.warm_start is None:
            return NOTHING
        key = self.key(COPY)
        if (found := self.bucket.get(key)) is None:
            self.check_alive()
            raise StoreError(f"{key} is missing: search {self.name} is damaged")
        return Earlier.from_bytes(found.data, key)

    # ---- the chain of controllers ----

    def head(self) -> Controller:
        """Return the newest version, making version 0 if there is none."""
        return self.newest() or self._first_version()

    def version(self) -> Version:
        """Return what the newest version says; an empty one if there is none yet."""
        newest = self.newest()
        return newest.version if newest else Version()

    def newest(self) -> Controller | None:
        """Return the newest version: the last that a listing shows, from the one seen last or the hint on.

        Raises:
            StoreError: a version that was seen, or that the hint promises, is missing, so the search is damaged.
            SearchDeleted: the search is gone, or is another one by now.
        """
        seen = self.seen  # looked at once: threads may share a ledger
        number = seen.version.version if seen else self._hint("head.json")
        before = self._version_key(number - 1) if number else None
        found = list(self.bucket.list_all(self.key("controllers/"), start_after=before))
        if not (found or number or seen):
            return None
        if found and found[0] == self._version_key(number):
            number = int(child_of(found[-1]))
            if newest := self.controller(number):
                self.seen = newest
                return newest
        self.check_alive()
        raise StoreError(f"{self._version_key(number)} is missing: search {self.name} is damaged")

    def controller(self, number: int) -> Controller | None:
        """Return one version, or None if there is none yet.

        Raises:
            UserError: a newer version of rlnas wrote it.
            StoreError: what is there is damaged.
        """
        if (seen := self.seen) and seen.version.version == number:
            return seen
        key = self._version_key(number)
        found = self.bucket.get(key)
        if found is None:
            return None
        try:
            return Controller(Version.model_validate(read_document(found.data)), found.data)
        except ValueError as error:
            raise unreadable(error, key, " is damaged") from None

    def _first_version(self) -> Controller:
        """Create version 0, a pure function of the search: whoever needs it first makes it."""
        self.check_alive()
        state = self.searcher.initial(derive_seed(self.spec.seed, "controller"))
        version = Version(memory=dict(state.memory))
        data = pack({**state.tensors, **self.earlier.tensors}, version.model_dump(mode="json"))
        # Whoever comes second takes what is there: the next version holds its hash.
        first = Controller(version, data) if self.bucket.create(self._version_key(0), data) else self.controller(0)
        if first is None:
            self.check_alive()
            raise StoreError(f"{self._version_key(0)} is missing: search {self.name} is damaged")
        self.seen = first
        return first

    def commit(
        self, parent: Controller, summaries: Sequence[Summary], state: SearcherState, numbers: dict
    ) -> Controller | None:
        """Append a version that applies these rounds. This is the commit: it happens once, whoever does it.

        Returns:
            The new version, or None if another updater was first (then nothing happened).
        """
        before, done = parent.version, {*parent.version.extras, *(summary.round for summary in summaries)}
        low_mark = before.low_mark
        while low_mark in done:
            done.remove(low_mark)
            low_mark += 1
        children = [(child_id(s.round, i), child) for s in summaries for i, child in enumerate(s.children)]
        results = [child.result for _, child in children]
        leaders = list(before.leaders) + [
            Leader(child=name, reward=r.reward, tokens=child.tokens, metrics=r.metrics, stopped=r.stopped)
            for name, child in children
            if (r := child.result).status == "ok" and r.reward is not None
        ]
        leaders.sort(key=lambda leader: standing(leader.child, leader.reward, leader.stopped))
        whole = self.epochs
        spent = [r.stopped or whole for r in results if r.status == "ok" and r.history]  # who is told was not trained
        version = Version(
            version=before.version + 1,
            parent_sha256=hashlib.sha256(parent.data).hexdigest(),
            applied=tuple(summary.round for summary in summaries),
            low_mark=low_mark,
            extras=tuple(sorted(done)),
            children=before.children + len(children),
            failed=before.failed + sum(r.status != "ok" for r in results),
            suggested=before.suggested + sum(child.suggested for _, child in children),
            memory=dict(state.memory),
            numbers=numbers,
            leaders=tuple(leaders[:LEADERBOARD_SIZE]),
            epochs=before.epochs + sum(spent),
            epochs_saved=before.epochs_saved + len(spent) * whole - sum(spent),
            recent=self._recent(before, summaries, low_mark) if self.keeps_history else (),
        )
        data = pack(state.tensors, version.model_dump(mode="json"))
        if self.bucket.create(self._version_key(version.version), data) is None:
            return None
        self.bucket.put(self.key("head.json"), str(version.version).encode())
        self._tidy(before, version, [name for name, _ in children])
        self.seen = Controller(version, data)
        return self.seen

    @property
    def keeps_history(self) -> bool:
        """Whether what was applied is kept where it can be read at little cost, for the searcher or for the rungs."""
        return self.searcher.reads_history or bool(self.rungs)

    @property
    def epochs(self) -> int:
        """How many a child is trained for, if it is not stopped; 0: it is not trained in epochs."""
        return self.spec.child.epochs if isinstance(self.spec.child, EpochRecipe) else 0

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which children may be stopped."""
        return self.spec.child.rungs if isinstance(self.spec.child, EpochRecipe) else ()

    def _recent(self, before: Version, summaries: Sequence[Summary], low_mark: int) -> tuple[AppliedChild, ...]:
        """Return what the history has beyond its bundles, once these rounds are applied too."""
        bundled = low_mark // HISTORY_ROUNDS * HISTORY_ROUNDS
        known = [*before.recent, *(child for summary in summaries for child in summary.applied)]
        return tuple(sorted((child for child in known if child.round >= bundled), key=lambda child: child.round))

    def history(self, version: Version) -> list[Trial]:
        """Return every child of the search that a version has learned from, in the order of rounds.

        Only where `keeps_history`: one object for every hundred rounds; the rest is in the version itself.
        """
        known: list[AppliedChild] = []
        for k in range(version.low_mark // HISTORY_ROUNDS):
            key = self.history_key(k)
            if (found := self.bucket.get(key)) is None:  # whoever applied the rounds was killed before it did this
                self.bundle(k)
                found = self.bucket.get(key)
                assert found is not None
            known += (c for summary in History.from_bytes(found.data, key).summaries for c in summary.applied)
        return [child.as_trial() for child in (*known, *version.recent)]

    def _tidy(self, before: Version, after: Version, children: list[str]) -> None:
        """Bundle a hundred summaries that are all applied, and delete what applied children no longer need."""
        for k in range(before.low_mark // HISTORY_ROUNDS, after.low_mark // HISTORY_ROUNDS):
            self.bundle(k)
        kept = {leader.child for leader in after.leaders[:KEPT_SNAPSHOTS]}
        displaced = {leader.child for leader in before.leaders[:KEPT_SNAPSHOTS]} - kept
        self.bucket.delete(
            [self.checkpoint_key(child) for child in children]
            + [self.snapshot_key(child) for child in sorted(displaced.union(children) - kept)]
        )

    def bundle(self, k: int) -> None:
        """Put the summaries of a hundred rounds, all of them applied, into one object."""
        rounds = range(k * HISTORY_ROUNDS, (k + 1) * HISTORY_ROUNDS)
        summaries = [summary for r in rounds if (summary := self.summary(r)) is not None]
        self.bucket.create(self.history_key(k), History(summaries=tuple(summaries)).to_bytes())

    # ---- plans ----

    def first_free_round(self) -> int:
        """Return the first round that nobody has planned, or the budget. Rounds are planned in their order."""
        number, prefix = self.version().low_mark, self.key("plans/")
        planned = set(self.bucket.list_all(prefix, start_after=self._plan_key(number - 1) if number else None))
        while number < self.spec.loop.rounds and self._plan_key(number) in planned:
            number += 1
        return number

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

    # ---- results and summaries ----

    def result(self, child: str) -> Result | None:
        """Return how a child ended, or None if it has not."""
        key = self.key(f"results/{child}.json")
        found = self.bucket.get(key)
        return Result.from_bytes(found.data, key) if found else None

    def create_result(self, child: str, result: Result) -> bool:
        """Record how a child ended; False if that is recorded already."""
        return self.bucket.create(self.key(f"results/{child}.json"), result.to_bytes()) is not None

    def finished_children(self, round_number: int) -> set[str]:
        """Return the children of a round that have a result."""
        return self._names("results/", round_number)

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

    def summaries(self) -> list[Summary]:
        """Return every complete round of the search in order, reading a hundred at a time where they are bundled."""
        bundled: list[Summary] = []
        while found := self.bucket.get(key := self.history_key(len(bundled) // HISTORY_ROUNDS)):
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

    def model_key(self, winner: str, file: str = "") -> str:
        """Return where a file of an exported winner lies."""
        return self.key(f"models/{winner}/{file}")

    def model_files(self, winner: str) -> list[str]:
        """Return the names of the files of an exported winner; none unless its export is complete."""
        prefix = self.model_key(winner)
        files = [key.removeprefix(prefix) for key in self.bucket.list(prefix)]
        return files if MODEL_CARD in files else []

    # ---- the data ----

    def data(self) -> DataRecord | None:
        """Return what the data was when the search began; None if nobody has recorded it yet."""
        found = self.bucket.get(key := self.key("data.json"))
        return DataRecord.from_bytes(found.data, key) if found else None

    def create_data(self, record: DataRecord) -> DataRecord:
        """Record what the data is; return what is recorded, by whoever was first."""
        created = self.bucket.create(self.key("data.json"), record.to_bytes())
        return (None if created else self.data()) or record

    def spec_beside(self, other: "Ledger") -> SearchSpec | None:
        """Return this search's spec for comparing it with another's; None: their data is not the same.

        Where it is known to be the same, it counts as lying where the other's does.
        """
        mine, theirs = ((data := ledger.data()) and data.fingerprint for ledger in (self, other))
        if not (mine and theirs):
            return self.spec
        return self.spec.with_data_at(other.spec) if mine == theirs else None

    # ---- snapshots ----

    def snapshots(self, child: str) -> bytes | None:
        """Return the weights that a child's evaluation needs, or None."""
        found = self.bucket.get(self.snapshot_key(child))
        return found.data if found else None

    def create_snapshots(self, child: str, data: bytes) -> None:
        """Store a trained child's weights."""
        self.bucket.create(self.snapshot_key(child), data)

    # ---- the search itself ----

    def check_spec(self, spec: SearchSpec) -> None:
        """Raise `UserError` if a spec is not the search's own; every field that differs is named."""
        # Field by field, not by sha256: a search from before a field was there goes on without it.
        if fields := self.extended(spec).differences(self.spec):
            differing = "; ".join(fields)
            raise UserError(
                f"search {self.name} exists with another spec ({differing}); allowed: its own spec, or another name:"
                " in the spec, or by --name NAME"
            )

    def extended(self, spec: SearchSpec) -> SearchSpec:
        """Return a spec with what `extend` has made of the fields which it has as they were before."""
        document, values = spec.document, dict(flat(spec.model_dump(mode="json")))
        changes = [change for change in self.record.changes if change.field in values]
        for change in changes:
            if values[change.field] == change.before:
                values[change.field] = change.after
                document = with_field(document, change.field, change.after)
        return parse_spec(document, self.name) if changes else spec

    def check_shape(self, shape: DataShape) -> None:
        """Raise `UserError` if data of this shape is not the search's."""
        if shape != self.shape:
            raise UserError(f"search {self.name}: its data has changed: {asdict(shape)}, not {self.record.shape}")

    def check_alive(self) -> None:
        """Raise `SearchDeleted` unless the search still is the one this ledger was opened for."""
        self.expect_own(read_record(self.bucket, self.name))

    def expect_own(self, record: SearchRecord | None) -> SearchRecord:
        """Return what is recorded under this search's name by now, if that still is this search.

        Raises:
            SearchDeleted: it is gone, is going, or is another one.
        """
        if record is None or record.deleting or record.incarnation != self.record.incarnation:
            raise SearchDeleted(f"search {self.name} was deleted")
        return record

    # ---- keys ----

    def key(self, name: str) -> str:
        """Return the full key of an object of this search."""
        return self.root + name

    def checkpoint_key(self, child: str) -> str:
        """Return where a child's checkpoint lies."""
        return self.key(f"checkpoints/{child}.safetensors")

    def snapshot_key(self, child: str) -> str:
        """Return where a child's snapshots lie."""
        return self.key(f"snapshots/{child}.safetensors")

    def lease_key(self, child: str) -> str:
        """Return where a child's lease lies."""
        return self.key(f"leases/{child}.json")

    def history_key(self, k: int) -> str:
        """Return where the summaries of the k-th hundred of rounds lie."""
        return self.key(f"history/{k:06d}.json")

    def _hint(self, name: str) -> int:
        """Return the number that a hint holds; hints affect cost, never truth, so a damaged one counts as none."""
        found = self.bucket.get(self.key(name))
        try:
            return int(found.data) if found else 0
        except ValueError:
            return 0

    def _version_key(self, number: int) -> str:
        return self.key(f"controllers/{number:06d}.safetensors")

    def _plan_key(self, number: int) -> str:
        return self.key(f"plans/{number:06d}.json")

    def _final_key(self, number: int) -> str:
        return self.key(f"finals/{number:06d}.json")

    def _names(self, folder: str, round_number: int) -> set[str]:
        prefix = self.key(folder)
        keys = self.bucket.list_all(f"{prefix}{round_number:06d}-")
        return {child_of(key) for key in keys}


def searcher_of(spec: SearchSpec, shape: DataShape) -> Searcher:
    """Return the searcher that a spec names; from here on this process computes on one thread."""
    import torch

    torch.set_num_threads(1)  # the same sums on every machine
    kind = resolve(SEARCHERS, spec.controller.kind, "rlnas.searchers")
    searcher = kind(spec.space, spec.controller, shape)
    searcher.limit = spec.objective.limit
    return searcher


def record_key(name: str) -> str:
    """Return where the record of a search lies; by its name alone, since it says which incarnation there is."""
    return f"{SEARCHES}{name}/search.json"


def read_record(bucket: Bucket, name: str) -> SearchRecord | None:
    """Return the record of a search, also of one that is being deleted; None: there is none of that name.

    Raises:
        UserError: a newer version of rlnas wrote it.
        StoreError: it is damaged.
    """
    key = record_key(name)
    found = bucket.get(key)
    return SearchRecord.from_bytes(found.data, key) if found else None
