"""Training and validation data as one."""

import pytest
import torch

from rlnas.datasets import Table, Text, Train, Validation, join
from rlnas.datasets.base import open_local
from rlnas.datasets.digits import Digits
from rlnas.datasets.text import PythonDocs
from rlnas.errors import UserError


def test_joined_images_are_those_of_both_with_their_labels():
    train, validation = Digits().train(open_local), Digits().validation(open_local)
    joined = join(train, validation)
    assert isinstance(joined, Train)
    assert len(joined.content.pixels) == len(joined.content.labels) == 1438
    assert torch.equal(joined.content.pixels[-359:], validation.content.pixels)
    assert torch.equal(joined.content.labels[:1079], train.content.labels)


def test_joined_text_is_one_text_after_the_other():
    joined = join(Train(Text(torch.tensor([1, 2, 3]))), Validation(Text(torch.tensor([4, 5]))))
    assert joined.content.tokens.tolist() == [1, 2, 3, 4, 5]


def test_nothing_is_trained_on_a_table():
    with pytest.raises(UserError, match="table"):
        join(Train(Table({})), Validation(Table({(0,): 1.0})))


def test_only_a_text_has_a_vocabulary():
    assert Digits().vocabulary(open_local) == {}
    vocabulary = PythonDocs().vocabulary(open_local)
    assert list(vocabulary.values()) == list(range(2000))
