"""Finish a run: sweep up, and say how far the search has come."""

from rlnas.state import Ledger, Version, collect_garbage


def finish(ledger: Ledger) -> Version:
    """Delete what no child needs any more, and return the newest version."""
    version = ledger.version()
    collect_garbage(ledger)
    return version
