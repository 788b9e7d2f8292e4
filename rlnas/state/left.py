"""What is left to do of a search."""

from dataclasses import dataclass

from rlnas.state.finals import finals, ways_of
from rlnas.state.ledger import Ledger
from rlnas.state.records import Version


@dataclass(frozen=True)
class Left:
    """Rounds not yet applied, and whether the search's winner is still to be finalized or exported."""

    rounds: int
    winner: bool

    def __bool__(self) -> bool:
        return self.rounds > 0 or self.winner

    @property
    def only_winner(self) -> bool:
        """Whether the budget is reached, and the winner is still to be finalized or exported."""
        return self.winner and not self.rounds

    def __str__(self) -> str:
        parts = [f"{self.rounds} round{'s' if self.rounds > 1 else ''}"] if self.rounds else []
        parts += ["the winner's training and test"] if self.winner else []
        verb = "is" if self == Left(1, False) else "are"
        return f"{' and '.join(parts)} {verb} left" if parts else "nothing is left"


def left_of(ledger: Ledger, version: Version) -> Left:
    """Read what is left of a search.

    Args:
        ledger: of the search.
        version: the newest.
    """
    rounds = max(0, ledger.rounds - version.rounds)
    if ledger.spec.final is None or rounds:
        return Left(rounds, ledger.spec.final is not None)
    if not version.leaders:
        return Left(0, False)  # no child was scored, so there is no winner
    tries = ways_of(version.leaders[0].tokens, finals(ledger))
    record = tries[-1].record if tries else None
    if record is None:
        return Left(0, True)
    return Left(0, bool(record.models[0].test) and not ledger.model_files(record.winner))
