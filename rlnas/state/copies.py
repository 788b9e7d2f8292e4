"""A copy of a search in another store: one version of its controller, and all that this rests on.

A search may go on while it is copied. So the copy is cut at the version that was the newest when it began: of rounds
not applied in it, only those are copied that this version or one before it has planned. What refers to other objects is
listed before what it refers to, and facts stay: so what a copied object refers to is copied, too. `search.json` is
written last; until then there is no search, and the same call goes on.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import md5

from rlnas.errors import StoreError, UserError
from rlnas.state.bucket import Bucket, Entry
from rlnas.state.earlier import COPY
from rlnas.state.finals import finals
from rlnas.state.ledger import Controller, Ledger
from rlnas.state.records import Lease, Version, child_of, parse_child_id
from rlnas.state.search import read_record, record_key

THREADS = 8
BATCH = 256  # objects; a copy that is interrupted ends with the one that it is at
OF_ROUNDS = ("summaries", "results", "snapshots", "checkpoints", "leases", "plans")
REFERRING = ("serving", "models", "finals", "test-readings", "history", *OF_ROUNDS[:-1])
REFERRED_TO = ("plans", "suggestions", "controllers", "data.json", COPY)
FIRST = ("controllers", "plans")
CHANGING = ("leases", "checkpoints", "models", "serving")  # the newer one counts, also where a half copy has another
PASSING = ("checkpoints", "snapshots")  # they may be deleted while they are copied: then nobody needs them


@dataclass(frozen=True)
class Copied:
    """What a copy came to: whether the search was there already, and how many objects and bytes were written."""

    there: bool = False
    objects: int = 0
    size: int = 0


@dataclass(frozen=True)
class Cut:
    """Which objects of a search belong to a version.

    Args:
        number: of the version; -1: there is none yet.
        version: what it says.
        next_round: the first round of the search that is free in the copy.
        winners: that are being finalized, or are tested.
        final_rounds: in which they are.
    """

    number: int
    version: Version
    next_round: int
    winners: tuple[str, ...] = ()
    final_rounds: tuple[int, ...] = ()

    def holds(self, name: str) -> bool:
        """Whether an object, by its key below the incarnation, belongs to it."""
        folder, _, rest = name.partition("/")
        if folder in ("models", "serving"):
            return rest.partition("/")[0] in self.winners
        if folder not in ("controllers", "history", "finals", *OF_ROUNDS):
            return True
        number = int(re.split(r"\D", rest)[0])
        if folder == "controllers":
            return number <= self.number
        if folder == "history":  # a later one may hold rounds that the copy has not
            return number < self.version.low_mark // Ledger.HISTORY_ROUNDS
        if folder == "finals":
            return number < len(self.winners)
        return self.holds_round(number)

    def holds_round(self, number: int) -> bool:
        """Whether a round belongs to it."""
        return number < self.next_round or number in self.version.extras or number in self.final_rounds


def copy_search(ledger: Ledger, to: Bucket, tell: Callable[[int, int], None] = lambda done, total: None) -> Copied:
    """Copy a search to another store, or go on with a copy that was begun.

    Args:
        ledger: of the search.
        to: the other store's bucket.
        tell: called now and then with the number of objects that are there by now, and of all.

    Raises:
        UserError: there is another search of that name.
        StoreError: an object there differs from the one here, or one of the stores failed.
        SearchDeleted: the search was deleted meanwhile.
    """
    if _is_there(ledger, to):
        return Copied(there=True)
    to.put(ledger.key("next.json"), b"0")  # a sign of life: what nobody has touched for long is garbage
    head, copy = ledger.newest(), _Copy(ledger, to)
    record = ledger.expect_own(read_record(ledger.bucket, ledger.name))  # not older than the version
    cut, entries = _listed(Ledger(ledger.bucket, record), head)
    copy.ended = {child_of(entry.key) for entry in entries if _folder(ledger, entry.key) == "results"}
    # Plans first: where the other store has gone another way, it is seen before results come to plans not theirs.
    first = [entry for entry in entries if _folder(ledger, entry.key) in FIRST]
    for part in (first, [entry for entry in entries if _folder(ledger, entry.key) not in FIRST]):
        copy.all(part, lambda done: tell(done, len(entries)))
    copy.verify()
    if cut.number > 0:
        to.put(ledger.key("head.json"), str(cut.number).encode())
    to.put(ledger.key("next.json"), str(cut.next_round).encode())
    ledger.check_alive()
    if to.create(record_key(ledger.name), record.to_bytes()) is None and not _is_there(ledger, to):
        return copy_search(ledger, to, tell)  # one that was there for a moment
    return Copied(objects=copy.objects, size=copy.size)


def _is_there(ledger: Ledger, to: Bucket) -> bool:
    record = read_record(to, ledger.name)
    if record is not None and (record.deleting or record.incarnation != ledger.record.incarnation):
        where = f"bucket {to.settings.bucket} at {to.settings.endpoint}"
        raise UserError(f"{where} has another search {ledger.name}; allowed: a store without one of that name")
    return record is not None


def _listed(ledger: Ledger, head: Controller | None) -> tuple[Cut, list[Entry]]:
    """Return a version as a cut, and all objects that belong to it."""
    found = [entry for folder in REFERRING for entry in ledger.bucket.entries(ledger.key(folder))]
    version = head.version if head else Version()
    number = version.low_mark
    while head and (number in version.extras or _planned_by(ledger, number, version.version)):
        number += 1
    cut, winners, rounds = Cut(version.version if head else -1, version, number), list[str](), list[int]()
    for final, grid in finals(ledger):
        if not grid.winner or not cut.holds_round(parse_child_id(grid.winner)[0]):
            break
        winners.append(grid.winner)
        rounds += [final.grid_round, final.last_round]
    cut = replace(cut, winners=tuple(winners), final_rounds=tuple(rounds))
    found += [entry for folder in REFERRED_TO for entry in ledger.bucket.entries(ledger.key(folder))]
    return cut, [entry for entry in found if cut.holds(entry.key.removeprefix(ledger.root))]


def _planned_by(ledger: Ledger, number: int, version: int) -> bool:
    plan = ledger.plan(number)
    return plan is not None and not plan.winner and plan.policy_version <= version


@dataclass
class _Copy:
    """A copy on its way.

    Args:
        ledger, to: the search, and the other bucket.
        ended: its children that need no lease any more.
        objects, size: that were written.
    """

    ledger: Ledger
    to: Bucket
    ended: set[str] = field(default_factory=set)
    objects: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self._there = {entry.key: entry for entry in self.to.entries(self.ledger.root)}
        self._sums: dict[str, str] = {}

    def all(self, entries: Sequence[Entry], tell: Callable[[int], None]) -> None:
        """Copy objects, some at once."""
        with ThreadPoolExecutor(THREADS) as threads:
            for start in range(0, len(entries), BATCH):
                written = [size for size in threads.map(self._one, entries[start : start + BATCH]) if size is not None]
                self.objects, self.size = self.objects + len(written), self.size + sum(written)
                tell(len(self._sums))

    def _one(self, entry: Entry) -> int | None:
        """Copy an object. Returns its bytes; None: it was there, or is gone here."""
        key, folder = entry.key, _folder(self.ledger, entry.key)
        held, known = folder == "leases" and child_of(key) not in self.ended, self._there.get(key)
        if known and known.etag and not held and (known.size, known.etag) == (entry.size, entry.etag):
            self._sums[key] = known.etag
            return None
        found = self.ledger.bucket.get(key)
        if found is None:
            self.ledger.check_alive()
            if folder in PASSING:
                return None
            raise StoreError(f"{key} is missing: search {self.ledger.name} is damaged")
        data = _released(found.data, key) if held else found.data
        self._sums[key] = _sum(data)
        if folder in CHANGING:
            self.to.put(key, data)
        elif self.to.create(key, data) is None:
            there = self.to.get(key)
            if there is None or there.data != data:
                raise StoreError(f"{key} differs from the one at {self.to.settings.endpoint}; nothing of it is changed")
            return None
        return len(data)

    def verify(self) -> None:
        """Compare all that was copied with what the other store has by now.

        Raises:
            StoreError: an object differs, or is gone.
        """
        there = {entry.key: entry.etag for entry in self.to.entries(self.ledger.root)}
        for key, known in self._sums.items():
            if there.get(key) != known:  # an etag is the MD5 of what was written whole, but not with every store
                found = self.to.get(key)
                if found is None or _sum(found.data) != known:
                    raise StoreError(f"{key} is not at {self.to.settings.endpoint} as it was copied; try again")


def _released(data: bytes, key: str) -> bytes:
    """Return a lease as it is in the copy, where nobody trains the child: the attempt has not ended in vain."""
    lease = Lease.from_bytes(data, key)
    if lease.state != "active":
        return data
    return lease.model_copy(update={"state": "released", "fruitless": max(0, lease.fruitless - 1)}).to_bytes()


def _folder(ledger: Ledger, key: str) -> str:
    return key.removeprefix(ledger.root).partition("/")[0]


def _sum(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()
