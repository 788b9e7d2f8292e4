"""What others have left behind, as a worker looks for it before it plans a round of its own."""

from dataclasses import dataclass, field

from rlnas.state import Ledger, Observer, Version, parse_child_id
from rlnas.steps.common import NOTHING_TO_DO, Batch, batches


@dataclass
class Deserted:
    """Finds batches that nobody is at, at the cost of a few requests; one for all looks of a process.

    A batch is of whoever has begun one of its children, until that one is dead or its lease has expired. So workers
    share a round by batches: of two that are at one batch, each asks the store for all that the other one has.

    Leases are read only of rounds in which nobody has begun a child since the last look: of the oldest first, since the
    window waits for that one, and no further than to the first that somebody is still at.

    Args:
        ledger: of the search.
        observer: of other tasks' leases.
    """

    ledger: Ledger
    observer: Observer
    _begun: dict[int, int] = field(default_factory=dict)
    _looked: float | None = None

    def find(self, version: Version, window: range, planned_below: int) -> list[Batch]:
        """Return batches of the first round of the window that has some; an empty one if it waits for its update.

        Args:
            version: the newest.
            window: its rounds.
            planned_below: no round below it is free, as the hint says.
        """
        loop = self.ledger.spec.loop
        claimed: dict[int, set[str]] = {}
        for child in self.ledger.claimed_from(window.start):
            claimed.setdefault(parse_child_id(child)[0], set()).add(child)
        planned = range(window.start, min(window.stop, max(planned_below, *(n + 1 for n in claimed), 0)))
        rests = self._rests({number: len(claimed.get(number, ())) for number in planned})
        in_good_hands = False
        for number in planned:
            begun = claimed.get(number, set())
            if number in version.extras or not (begun or number in rests):
                continue
            of_round = batches(number, range(loop.children_per_round), loop.children_per_batch)
            free = [batch for batch in of_round if begun.isdisjoint(batch.names)]
            if free and (begun or self.ledger.plan(number)):
                return free
            if not free and number in rests and not in_good_hands:
                finished = self.ledger.finished_children(number)
                if left := self._left(of_round, begun, finished):
                    return left
                in_good_hands = len(finished) < loop.children_per_round
        return []

    def _rests(self, begun: dict[int, int]) -> set[int]:
        """Return the rounds in which nobody has begun a child since the last look; all, if that was long ago.

        At the first look all in which somebody has begun one: of a round that nobody has, the planner may be about to.
        """
        now, before, last = self.observer.clock(), self._begun, self._looked
        self._begun, self._looked = begun, now
        if last is None:
            return {number for number, count in begun.items() if count}
        lately = now - last < self.ledger.spec.failures.lease_seconds / 4
        return {number for number, count in begun.items() if not lately or before.get(number) == count}

    def _left(self, of_round: list[Batch], begun: set[str], finished: set[str]) -> list[Batch]:
        """Return what is left to do in a round, all of whose batches were begun, where the owners are gone."""
        left = []
        for batch in of_round:
            rest = [index for index, name in zip(batch.children, batch.names, strict=True) if name not in finished]
            part = Batch(batch.round, tuple(rest))
            # The last one first: it is most probably in training, if one is.
            if rest and all(name not in begun or self.observer.is_free(name) for name in reversed(part.names)):
                left.append(part)
        names = {name for batch in of_round for name in batch.names}
        if finished.issuperset(names):
            if not all(self.observer.is_free(batch.names[-1]) for batch in of_round):
                return []  # whoever has completed it applies it
            if self.ledger.summary(of_round[0].round) is None:
                return [Batch(of_round[0].round, (0,))]  # only the summary is missing
            if self.ledger.spec.loop.rounds_per_update == 1:
                return [NOTHING_TO_DO]  # an update is
        return left
