"""The ledger: everything a search remembers, and its only writer.

Facts (plans, results, summaries, controller versions) are objects created once, and the first writer wins. The chain
of controller versions is the only commit point: a round's rewards count when a version that applied it exists.
Every method may be called again, from anywhere, at any time. docs/state.md has the table of objects.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rlnas.controller import SearcherState, Trial
from rlnas.errors import StoreError
from rlnas.seeds import derive_seed
from rlnas.state.bucket import Bucket
from rlnas.state.facts import Facts
from rlnas.state.records import (
    KEPT_SNAPSHOTS,
    LEADERBOARD_SIZE,
    AppliedChild,
    History,
    Leader,
    SearchRecord,
    Summary,
    Version,
    child_id,
    child_of,
    standing,
    unreadable,
)
from rlnas.tensors import pack, read_document, unpack


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


class Ledger(Facts):
    """One search's state: its facts, and the chain of controllers that have learned from them.

    Args:
        bucket: the store.
        record: the search, see `rlnas.state.searches`.

    Attributes:
        seen: the newest version that this ledger has read or made; None: it has not looked.
    """

    def __init__(self, bucket: Bucket, record: SearchRecord) -> None:
        super().__init__(bucket, record)
        self.seen: Controller | None = None

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

    # ---- the commit ----

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

    def _recent(self, before: Version, summaries: Sequence[Summary], low_mark: int) -> tuple[AppliedChild, ...]:
        """Return what the history has beyond its bundles, once these rounds are applied too."""
        bundled = low_mark // self.HISTORY_ROUNDS * self.HISTORY_ROUNDS
        known = [*before.recent, *(child for summary in summaries for child in summary.applied)]
        return tuple(sorted((child for child in known if child.round >= bundled), key=lambda child: child.round))

    def _tidy(self, before: Version, after: Version, children: list[str]) -> None:
        """Bundle a hundred summaries that are all applied, and delete what applied children no longer need."""
        for k in range(before.low_mark // self.HISTORY_ROUNDS, after.low_mark // self.HISTORY_ROUNDS):
            self.bundle(k)
        kept = {leader.child for leader in after.leaders[:KEPT_SNAPSHOTS]}
        displaced = {leader.child for leader in before.leaders[:KEPT_SNAPSHOTS]} - kept
        self.bucket.delete(
            [self.checkpoint_key(child) for child in children]
            + [self.snapshot_key(child) for child in sorted(displaced.union(children) - kept)]
        )

    # ---- what rests on the newest version ----

    def history(self, version: Version) -> list[Trial]:
        """Return every child of the search that a version has learned from, in the order of rounds.

        Only where `keeps_history`: one object for every hundred rounds; the rest is in the version itself.
        """
        known: list[AppliedChild] = []
        for k in range(version.low_mark // self.HISTORY_ROUNDS):
            key = self.history_key(k)
            if (found := self.bucket.get(key)) is None:  # whoever applied the rounds was killed before it did this
                self.bundle(k)
                found = self.bucket.get(key)
                assert found is not None
            known += (c for summary in History.from_bytes(found.data, key).summaries for c in summary.applied)
        return [child.as_trial() for child in (*known, *version.recent)]

    def first_free_round(self) -> int:
        """Return the first round that nobody has planned, or the budget. Rounds are planned in their order."""
        number, prefix = self.version().low_mark, self.key("plans/")
        planned = set(self.bucket.list_all(prefix, start_after=self._plan_key(number - 1) if number else None))
        while number < self.spec.loop.rounds and self._plan_key(number) in planned:
            number += 1
        return number
