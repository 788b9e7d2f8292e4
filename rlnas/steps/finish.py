"""Finish a run: sweep up, and say how far the search has come."""

from rlnas.state import Ledger, Version, collect_garbage


def finish(ledger: Ledger) -> tuple[Version, bool]:
    """Delete what no child needs any more.

    Returns:
        The newest version, and whether the search's budget is reached.
    """
    version = ledger.version()
    collect_garbage(ledger)
    return version, version.rounds >= ledger.spec.loop.rounds
