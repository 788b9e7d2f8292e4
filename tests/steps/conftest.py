"""A search in the store, ready for its steps."""

from collections.abc import Callable

import pytest
import searches

from rlnas import steps
from rlnas.state import Bucket, Ledger


@pytest.fixture
def make_ledger(bucket: Bucket) -> Callable[..., Ledger]:
    """Create a search of a kind, with sections of its spec laid over those of `searches.make_spec`."""

    def make(kind: str = "tabular", **sections: dict) -> Ledger:
        spec = searches.make_spec(kind, **sections)
        return steps.open_search(bucket, spec.name, spec)

    return make
