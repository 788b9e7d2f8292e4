"""Finish a run: sweep up, and say how far the search has come."""

from rlnas.state import Ledger, Version


def finish(ledger: Ledger) -> tuple[Version, bool]:
    """Delete what no child needs any more.

    Returns:
        The newest version, and whether the search's budget is reached.
    """
    version = ledger.version()
    ledger.collect_garbage()
    return version, version.rounds >= ledger.spec.loop.rounds
