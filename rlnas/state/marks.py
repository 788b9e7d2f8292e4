"""The marks of a long life: a search is paused, resumed, ended, extended. They lie in `search.json`.

A pause is about cost: who reads it begins nothing new, who read the record before may still do one thing more.
An end is about truth, so it has two steps. First the mark says that no round is planned any more; then the rounds that
are planned by then are counted, and their number is written beside it. Whoever looks for work does the second step, if
the first has been made and its maker was killed. A sampler that had not seen the mark may plan a round after that: it
lies beyond the end and never counts, because updates look at the mark once more between reading a round and applying it
(`rlnas.steps.update_controller`). If they see no mark then, the round was planned before there was one, and is counted.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rlnas.errors import SearchDeleted, StoreError, UserError
from rlnas.spec import MOST_ROUNDS, SearchSpec, parse_spec, with_field
from rlnas.state.ledger import Ledger
from rlnas.state.records import STOPPED, Change, End, Pause, SearchRecord
from rlnas.state.search import record_key

CHILDREN, HOURS, DEVICE_HOURS = "loop.children", "loop.hours", "loop.device_hours"
EXTENDABLE = (
    CHILDREN,
    HOURS,
    DEVICE_HOURS,
    "loop.window",
    "loop.replicas",
    "loop.children_per_batch",
    "failures.lease_seconds",
    "failures.attempts",
    "child.children_at_once",
    "child.gpu_memory_gib",
)
"""Fields that may change while a search is there, beside those that say where its data lies."""
LOOK_SECONDS = 15.0  # a child begins with what its task has seen last: so a pause is heard after 30 s at the latest
LONGEST_NAME = 200  # of who makes a mark
Clock = Callable[[], float]


def amend(ledger: Ledger, edit: Callable[[SearchRecord], SearchRecord]) -> bool:
    """Change the record of a search as it is by now; the ledger has it from then on.

    Args:
        ledger: of the search.
        edit: returns the record as it is to be; asked again where another process was faster.

    Returns:
        Whether there was anything to change.

    Raises:
        SearchDeleted: the search is gone, is going, or is another one by now.
    """
    key = record_key(ledger.name)
    while True:
        found = ledger.bucket.get(key)
        known = ledger.expect_own(SearchRecord.from_bytes(found.data, key) if found else None)
        edited = edit(known)
        if edited == known:
            ledger.take(known)
            return False
        edited = edited.model_copy(update={"revision": known.revision + 1})
        assert found is not None
        if ledger.bucket.replace(key, edited.to_bytes(), found.etag) is not None:
            ledger.take(edited)
            return True


def pause(ledger: Ledger, by: str, clock: Clock = time.time) -> bool:
    """Have nothing new begun in a search until it is resumed.

    Args:
        ledger: of the search.
        by: who says so.
        clock: seconds since 1970.

    Returns:
        False: it was paused already, and by whom stands in `ledger.record.paused`.
    """
    mark = Pause(by=_check_by(by), at=clock())
    return amend(ledger, lambda record: record if record.paused else record.model_copy(update={"paused": mark}))


def resume(ledger: Ledger) -> bool:
    """Let a paused search go on; False: it was not paused."""
    return amend(ledger, lambda record: record.model_copy(update={"paused": None}))


def stop(ledger: Ledger, by: str, clock: Clock = time.time) -> bool:
    """End a search: what is planned is still trained, nothing else, and the best child is the winner.

    Arguments as of `pause`.

    Returns:
        False: it has ended already.
    """
    by = _check_by(by)
    renew(ledger)
    return ledger.version().rounds < ledger.rounds and end(ledger, STOPPED, by, clock)


def end(ledger: Ledger, why: str, by: str = "", clock: Clock = time.time, of_spec: str = "") -> bool:
    """Mark a search as ended, unless it is, and count its rounds.

    Args:
        ledger: of the search.
        why: `STOPPED`, or the field of the spec that is the budget.
        by: who stopped it.
        clock: seconds since 1970.
        of_spec: sha256 of the spec by which its budget is used up: one that was extended meanwhile stays; empty: any.
    """
    mark = End(why=why, by=by, at=clock())

    def edit(record: SearchRecord) -> SearchRecord:
        other = record.ended or (of_spec and record.spec_sha256 != of_spec)
        return record if other else record.model_copy(update={"ended": mark})

    made = amend(ledger, edit)
    settle(ledger)
    return made


def settle(ledger: Ledger) -> None:
    """Count the rounds of a search that is marked as ended, if nobody has done so."""
    while (mark := ledger.record.ended) and mark.rounds is None:
        seen = ledger.record
        counted = seen.model_copy(update={"ended": mark.model_copy(update={"rounds": ledger.first_free_round()})})
        # What was counted before another change says nothing of what came after it.
        amend(ledger, partial(_in_place_of, seen, counted))


def _in_place_of(seen: SearchRecord, put: SearchRecord, record: SearchRecord) -> SearchRecord:
    return put if record == seen else record


def renew(ledger: Ledger) -> bool:
    """Read anew what a search is, before something new is begun; return whether it may be, or the search is paused."""
    ledger.refresh()
    settle(ledger)
    return ledger.record.paused is None


def paused_line(ledger: Ledger) -> str:
    """Say that a search is paused; empty: it is not."""
    mark = ledger.record.paused
    return f"search {ledger.name} is paused ({mark}); `rlnas resume {ledger.name}` goes on" if mark else ""


def ended_line(ledger: Ledger) -> str:
    """Say why a search was ended before its children were all planned; empty: it was not."""
    mark = ledger.record.ended
    return f"search {ledger.name} is ended ({mark}) with {ledger.children:,} children" if mark else ""


def marks_of(ledger: Ledger) -> list[str]:
    """Say what has become of a search since it began, a line each."""
    lines = (paused_line(ledger), ended_line(ledger), *(f"changed: {change}" for change in ledger.record.changes))
    return [line for line in lines if line]


def public_marks(ledger: Ledger) -> list[str]:
    """Say what has become of a search, for a file that is published with a model: without people's names."""
    nameless, mark = {"by": ""}, ledger.record.ended
    ended = [f"ended ({mark.model_copy(update=nameless)}) with {ledger.children:,} children"] if mark else []
    # An end that was undone is told with the name of who made it, and says nothing of the model.
    changes = [change.model_copy(update=nameless) for change in ledger.record.changes if change.field != "ended"]
    return ended + [f"changed: {change}" for change in changes]


def end_at_budget(ledger: Ledger, clock: Clock = time.time) -> bool:
    """End a search whose hours, or whose device hours, are used up; one that has ended stays as it is."""
    sha256 = ledger.record.spec_sha256
    why = "" if ledger.record.ended else budget_reached(ledger, clock)
    return bool(why) and end(ledger, why, clock=clock, of_spec=sha256)


def budget_reached(ledger: Ledger, clock: Clock = time.time) -> str:
    """Return the budget of hours that a search has used up, by its field's name; empty: none."""
    loop, created = ledger.spec.loop, ledger.record.created
    if loop.hours is not None and created is not None and clock() - created >= loop.hours * 3600:
        return HOURS
    if loop.device_hours is not None and ledger.child_seconds() >= loop.device_hours * 3600:
        return DEVICE_HOURS
    return ""


def extend(ledger: Ledger, changes: Mapping[str, Any], by: str, clock: Clock = time.time) -> tuple[Change, ...]:
    """Change fields of a search's spec that do not change what a child means.

    More children undo an end, whatever its reason; more of a budget undo the end that came by it.

    Args:
        ledger: of the search.
        changes: field -> value, such as `loop.children`: 64, the new total. Where data lies is taken on trust:
            `rlnas.steps.extend` looks whether it is the same data.
        by: who says so.
        clock: seconds since 1970.

    Returns:
        The changes; none where all was so already.

    Raises:
        UserError: a field that must stay, a value that cannot be, or not more children than there are.
    """
    by, at = _check_by(by), clock()
    made: list[Change] = []

    def edit(record: SearchRecord) -> SearchRecord:
        ledger.take(record)
        settle(ledger)  # if there was something to count, the record is another one now, and this edit is made again
        made[:] = ()
        return _extended(ledger, changes, by, at, made)

    amend(ledger, edit)
    return tuple(made)


def _extended(ledger: Ledger, changes: Mapping[str, Any], by: str, at: float, made: list[Change]) -> SearchRecord:
    record, after = ledger.record, changed_spec(ledger, changes)
    old, new = ledger.spec.fields, after.fields
    if HOURS in changes and after.loop.hours is not None and record.created is None:
        raise UserError(f"{HOURS}: nobody wrote down when search {ledger.name} began; allowed: {DEVICE_HOURS}")
    update: dict[str, Any] = {}
    if CHILDREN in changes and not old[CHILDREN] == new[CHILDREN] == ledger.children:
        if new[CHILDREN] <= ledger.children:
            raise UserError(f"{CHILDREN}: {new[CHILDREN]}; allowed: more than {ledger.children}, which the search has")
        update["finals_from"] = _room_for_rounds(ledger, after.loop.rounds)
    made += [Change(field=f, before=old[f], after=new[f], by=by, at=at) for f in changes if old[f] != new[f]]
    if (ended := record.ended) and (
        update
        or any(change.field == ended.why for change in made)
        # Said again by a person: an end by an earlier, smaller budget is undone as long as this one is not used up.
        or (ended.why in changes and budget_reached(ledger, lambda: at) != ended.why)
    ):
        made.append(Change(field="ended", before=str(ended), after=None, by=by, at=at))
        update["ended"] = None
    if made:
        update |= {"changes": (*record.changes, *made), "spec": after.model_dump(mode="json")}
        update["spec_sha256"] = after.sha256
    return record.model_copy(update=update)


def changed_spec(ledger: Ledger, changes: Mapping[str, Any]) -> SearchSpec:
    """Return the spec of a search with other values in some fields.

    Raises:
        UserError: a field that must stay as it is, or a value that cannot be.
    """
    document, fields = ledger.spec.model_dump(mode="json"), ledger.spec.fields
    allowed = [name for name in EXTENDABLE if name in fields]
    allowed += [f"dataset.{name}" for name in ledger.spec.dataset.location]
    for name, value in changes.items():
        if name not in fields:
            raise UserError(f"{name}: search {ledger.name} has no such field; allowed: {', '.join(allowed)}")
        if name not in allowed:
            raise UserError(
                f"{name}: it stays as it is, since children before and after a change could not be compared;"
                f" allowed: {', '.join(allowed)}; for all else a new search, with warm_start if it is to begin with"
                " what this one knows"
            )
        document = with_field(document, name, value)
    return parse_spec(document, f"search {ledger.name}", earlier=True)


def _room_for_rounds(ledger: Ledger, rounds: int) -> int:
    """Return from where on rounds finalize winners, so that there is room for so many of the search's own.

    Raises:
        UserError: an older version put them right behind the budget, and there are some.
    """
    if ledger.record.finals_from is None and ledger.plan(ledger.finals_from):
        if rounds <= ledger.finals_from:
            return ledger.finals_from  # it was stopped before, and goes on to its own budget
        raise UserError(
            f"search {ledger.name}: an older version of rlnas has finalized a winner where further children would be;"
            f" allowed: a new search with warm_start: {{search: {ledger.name}}}"
        )
    return MOST_ROUNDS if ledger.record.finals_from is None else ledger.record.finals_from


def _check_by(by: str) -> str:
    if not isinstance(by, str) or not by.isprintable() or not 0 < len(by.strip()) <= LONGEST_NAME:
        raise UserError(f"by: {by!r} names nobody; allowed: 1 to {LONGEST_NAME} printable characters")
    return by


@dataclass
class Watch:
    """Whether a search is paused or deleted, asked again and again: at most every `LOOK_SECONDS` it costs a request.

    Args:
        ledger: of the search, which has just been read.
        clock: monotonic seconds.
    """

    ledger: Ledger
    clock: Clock = time.monotonic
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self._last = self.clock()

    @property
    def halt(self) -> str:
        """Why nothing more is to be done in it, as far as that was last looked up; empty: go on."""
        if self.clock() - self._last >= LOOK_SECONDS:
            try:
                self.ledger.refresh()
            except SearchDeleted as gone:
                return str(gone)
            except StoreError:  # down for a moment; that is no reason to interrupt a training
                pass
            self._last = self.clock()
        return "the search is paused" if self.ledger.record.paused else ""
