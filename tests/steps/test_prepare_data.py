"""Preparing data: once, before children, by name or by spec, without touching a search."""

import pytest
from searches import make_spec

from rlnas import steps
from rlnas.datasets.cifar10 import Cifar10
from rlnas.errors import UserError
from rlnas.state import Bucket


def test_a_new_search_is_prepared_without_being_created(bucket: Bucket) -> None:
    spec = make_spec("cnn")
    assert "digits" in steps.prepare_data(bucket, spec.name, spec)
    assert list(bucket.list_all("")) == []


def test_a_search_in_the_store_needs_its_name_only(bucket: Bucket) -> None:
    spec = make_spec("cnn")
    steps.open_search(bucket, spec.name, spec)
    before = list(bucket.list_all(""))
    assert "digits" in steps.prepare_data(bucket, spec.name, None)
    assert list(bucket.list_all("")) == before
    with pytest.raises(UserError, match="nobody"):
        steps.prepare_data(bucket, "nobody", None)


def test_data_that_is_missing_is_named_before_anything_starts(bucket: Bucket) -> None:
    spec = make_spec("cnn").model_copy(update={"dataset": Cifar10(folder="/nowhere")})
    with pytest.raises(UserError, match=r"dataset\.folder: .*/nowhere"):
        steps.prepare_data(bucket, spec.name, spec)
