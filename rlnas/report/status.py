"""How far a search is, from the ledger, in a handful of reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlnas.errors import UserError
from rlnas.report.spent import epochs_in_words
from rlnas.state import Ledger, Left, Result, child_id, left_of, parse_child_id
from rlnas.state.leases import is_dead
from rlnas.state.records import Change, End, Leader, Lease, Lineage, Pause

HOW_TO_GO_ON = "the next run goes on from here: rlnas submit SPEC on Kubeflow, rlnas run SPEC here, or a schedule"


@dataclass(frozen=True)
class SearchStatus:
    """A search at one moment.

    Args:
        name: of the search.
        controller, label: the kind of its searcher, and what that is.
        warm_start: what it began with of an earlier search; None: with nothing.
        children, budget: that have a result, and that it may train in all.
        failed: of those applied, children that failed or were lost.
        running: children that some task holds now, as far as leases tell.
        round, rounds: that is under way (from 0), and in all.
        version: of the controller.
        numbers: of its last update, such as `baseline` and `entropy`.
        leaders: the best children, best first.
        left: what is left to do.
        paused, ended: by whom or why, and when; None: it is not.
        changes: of its spec since it began.
        epochs, epochs_saved: that scored children were trained, and that were saved by stopping them at rungs; None:
            the search has no rungs.
    """

    name: str
    controller: str
    label: str
    warm_start: Lineage | None
    children: int
    budget: int
    failed: int
    running: int
    round: int
    rounds: int
    version: int
    numbers: dict[str, float]
    leaders: tuple[Leader, ...]
    left: Left
    epochs: int | None = None
    epochs_saved: int | None = None
    paused: Pause | None = None
    ended: End | None = None
    changes: tuple[Change, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the budget is reached and applied."""
        return not self.left.rounds

    @property
    def epochs_in_words(self) -> str:
        """What was trained and saved; empty: the search has no rungs."""
        if self.epochs is None or self.epochs_saved is None:
            return ""
        return epochs_in_words(self.epochs, self.epochs_saved)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        best = self.leaders[0].model_dump(mode="json") if self.leaders else None
        begun = self.warm_start.model_dump(mode="json") if self.warm_start else None
        marks = {"paused": self.paused, "ended": self.ended}
        fields = {name: value for name, value in vars(self).items() if name not in ("leaders", "left")}
        fields |= {"warm_start": begun, "winner_left": self.left.winner}
        fields |= {name: mark and mark.model_dump(mode="json") for name, mark in marks.items()}
        fields["changes"] = [change.model_dump(mode="json") for change in self.changes]
        return fields | {"complete": self.complete, "best": best}


def read_status(ledger: Ledger) -> SearchStatus:
    """Read how far a search is."""
    version = ledger.version()
    finished, held = ledger.under_way(version)
    return SearchStatus(
        name=ledger.name,
        controller=ledger.spec.controller.kind,
        label=ledger.spec.label,
        warm_start=ledger.record.warm_start,
        children=version.children + len(finished),
        budget=ledger.children,
        failed=version.failed,
        running=len(held),
        round=version.rounds,
        rounds=ledger.rounds,
        version=version.version,
        epochs=version.epochs if ledger.rungs else None,
        epochs_saved=version.epochs_saved if ledger.rungs else None,
        numbers=version.numbers,
        leaders=version.leaders,
        left=left_of(ledger, version),
        paused=ledger.record.paused,
        ended=ledger.record.ended,
        changes=ledger.record.changes,
    )


@dataclass(frozen=True)
class Training:
    """A child under way, and its lease."""

    child: str
    lease: Lease

    def __str__(self) -> str:
        lease, owner = self.lease, self.lease.owner
        held = f"{owner.host.partition(' ')[0]}, process {owner.pid}"  # what follows tells boots and containers apart
        held += ", which has ended; waits" * is_dead(owner)
        who = {"active": held, "released": "given back; waits", "expired": "its lease has expired; waits"}[lease.state]
        return f"{self.child}: {who} (attempt {lease.attempt}, from epoch {lease.start[0]})"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"child": self.child} | self.lease.model_dump(mode="json")


def read_trainings(ledger: Ledger, most: int) -> list[Training]:
    """Read who trains the children under way, up to `most` of them; a request for each."""
    found = []
    for child in sorted(ledger.under_way(ledger.version())[1])[:most]:
        key = ledger.lease_key(child)
        if lease := ledger.bucket.get(key):
            found.append(Training(child, Lease.from_bytes(lease.data, key)))
    return found


@dataclass(frozen=True)
class Child:
    """One child: what was proposed, and how it ended (None: it has not).

    `by` says who proposed it, where not the searcher as a whole; `suggested` whether it came from outside; `bars` what
    it had to reach after how many epochs, to go on.
    """

    name: str
    tokens: tuple[int, ...]
    log_probability: float | None
    policy_version: int
    seed: int
    result: Result | None
    by: str = ""
    suggested: bool = False
    bars: Mapping[int, float | None] = field(default_factory=dict)


def known_architectures(ledger: Ledger) -> dict[tuple[int, ...], str]:
    """Return the tokens of all children of complete rounds, with the name of the first that has them."""
    known: dict[tuple[int, ...], str] = {}
    for summary in ledger.summaries():
        for index, child in enumerate(summary.children):
            known.setdefault(child.tokens, child_id(summary.round, index))
    return known


def read_child(ledger: Ledger, name: str | None) -> Child:
    """Read a child of a search.

    Args:
        ledger: of the search.
        name: such as `000003-001`; None: the best one.

    Raises:
        UserError: there is no such child.
    """
    if name is None:
        leaders = ledger.version().leaders
        if not leaders:
            raise UserError(
                f"search {ledger.name} has no scored child yet; `rlnas status {ledger.name}` shows how far it is"
            )
        name = leaders[0].child
    try:
        number, index = parse_child_id(name)
    except ValueError as error:
        raise UserError(f"child: {error}") from None
    plan = ledger.plan(number)
    if plan is None or index >= len(plan.children):
        raise UserError(
            f"child: search {ledger.name} has no child {name!r}; `rlnas leaderboard {ledger.name}` lists the best"
        )
    name = child_id(number, index)
    planned = plan.children[index]
    return Child(
        name=name,
        tokens=planned.tokens,
        log_probability=planned.log_probability,
        policy_version=plan.policy_version,
        seed=planned.seed,
        result=ledger.result(name),
        by=planned.by,
        suggested=planned.suggested,
        bars=plan.bars,
    )
