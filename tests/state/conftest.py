"""A search of forty children in the store of the test."""

import pytest
from searches import make_spec
from state.made_up import create


@pytest.fixture
def spec():
    return make_spec(loop={"children": 40})


@pytest.fixture
def ledger(bucket, spec):
    return create(bucket, spec)
