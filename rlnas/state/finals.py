"""From a winner to a tested model: two more rounds for each winner, beyond all rounds of the search.

The first holds the grid (every candidate with every combination of the grid), the second the last trainings, one a
candidate. They are planned, claimed, trained, resumed and scored by the same rules as all children; no update applies
them. The test record is created once; a winner whose record exists is never tested again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rlnas.spaces import Tokens
from rlnas.state.ledger import Ledger
from rlnas.state.records import FinalRecord, Plan


@dataclass(frozen=True)
class Final:
    """One winner's way.

    Args:
        ledger: of the search.
        number: from 0, in the order in which winners were named.
    """

    ledger: Ledger
    number: int

    @property
    def grid_round(self) -> int:
        """The round that holds the grid."""
        return self.ledger.finals_from + 2 * self.number

    @property
    def last_round(self) -> int:
        """The round that holds the last trainings."""
        return self.grid_round + 1

    @property
    def grid(self) -> Plan | None:
        """The plan of the grid, or None."""
        return self.ledger.plan(self.grid_round)

    @property
    def record(self) -> FinalRecord | None:
        """What test data said, or None."""
        return self.ledger.final(self.number)


def ways_of(tokens: Tokens, known: Iterable[tuple[Final, Plan]]) -> list[Final]:
    """Return every way that an architecture has gone, out of all that are known; all but the last in vain."""
    return [final for final, plan in known if plan.children[0].tokens == tokens]


def finals(ledger: Ledger) -> Iterator[tuple[Final, Plan]]:
    """Yield every winner's way with the plan of its grid, in order."""
    final = Final(ledger, 0)
    while plan := final.grid:
        yield final, plan
        final = Final(ledger, final.number + 1)
