"""Extend a search: change fields of its spec that do not change what a child means, where its data lies among them."""

from collections.abc import Mapping
from typing import Any

from rlnas.errors import UserError
from rlnas.state import Change, Ledger, changed_spec
from rlnas.state import extend as record_changes
from rlnas.steps.common import opener
from rlnas.steps.data import compare, data_of


def extend(ledger: Ledger, changes: Mapping[str, Any], by: str) -> tuple[Change, ...]:
    """Change fields of a search's spec; see `rlnas.state.extend`.

    Raises:
        UserError: a field that must stay, a value that cannot be, or other data where the data is said to lie.
    """
    ledger.refresh()
    there = changed_spec(ledger, changes).dataset
    if there != ledger.spec.dataset:
        known = data_of(ledger).fingerprint
        if not known:
            raise UserError(
                f"dataset: nobody knows what the data of search {ledger.name} was, so it cannot be compared with what"
                " lies elsewhere; allowed: its place as it is"
            )
        compare(ledger.name, there, known, there.fingerprint(opener(ledger.bucket)))
    return record_changes(ledger, changes, by)
