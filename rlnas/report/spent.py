"""What children were trained on, and what stopping some of them early has saved."""

from collections import Counter
from collections.abc import Iterable

from rlnas.state import Ledger, Summary, Version


def trained_on(summaries: Iterable[Summary]) -> str:
    """Say on which devices children were trained, and in which numbers; empty if no result says it."""
    found = Counter(what for summary in summaries for child in summary.children if (what := child.result.trained_on))
    if len(found) < 2:
        return "".join(found)
    counts = ", ".join(f"{what} ({count:,})" for what, count in found.most_common())
    return f"{counts}; equal children score a little differently on them"


def epochs_of(ledger: Ledger, version: Version) -> str:
    """Say what was trained and saved up to a version; empty: the search has no rungs."""
    return epochs_in_words(version.epochs, version.epochs_saved) if ledger.rungs else ""


def epochs_in_words(spent: int, saved: int) -> str:
    """Say how many epochs scored children were trained, and how many were saved by stopping some at rungs."""
    share = f" ({saved / (spent + saved):.0%})" if saved else ""
    return f"{spent:,} trained, {saved:,} saved by stopping children{share}"
