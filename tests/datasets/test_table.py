import gzip
import math

import pytest
from pydantic import ValidationError

from rlnas.datasets import open_local
from rlnas.datasets.table import TableFile
from rlnas.errors import UserError
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNSpace
from rlnas.spaces.tabular import TabularSpace

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
PLAIN = "architecture,validation,test\n0-3-1,0.5,0.25\n0-3-2,0.75,0.125\n"


@pytest.fixture
def table(tmp_path):
    def make(text, **fields):
        path = tmp_path / "scores.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return TableFile(path=str(path), **fields)

    return make


def test_nasbench201(shared_data):
    dataset = TableFile(
        path=str(shared_data / "nasbench201/cifar10.csv.gz"),
        architecture_column="arch",
        validation_column="c10_xvalid_acc_e12",
        test_column="c10_test_acc_e200",
        operations=OPERATIONS,
    )
    assert dataset.shape(open_local) == DataShape("table", 0)
    assert dataset.train(open_local).content.scores == {}
    validation, test = dataset.validation(open_local).content.scores, dataset.open_test(open_local, list).content.scores
    assert len(validation) == len(test) == len(OPERATIONS) ** 6 == 15_625
    # |avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|
    assert validation[4, 2, 1, 2, 1, 1] == 63.364
    assert test[4, 2, 1, 2, 1, 1] == 85.8633
    assert max(test.values()) == pytest.approx(94.37, abs=0.005)


def test_plain_tokens(table):
    dataset = table(PLAIN)
    assert dataset.validation(open_local).content.scores == {(0, 3, 1): 0.5, (0, 3, 2): 0.75}
    assert dataset.open_test(open_local, list).content.scores == {(0, 3, 1): 0.25, (0, 3, 2): 0.125}


def test_a_packed_file_whose_text_begins_with_a_mark(tmp_path):
    path = tmp_path / "scores.csv.gz"
    path.write_bytes(gzip.compress(("\ufeff" + PLAIN).encode()))
    assert len(TableFile(path=str(path)).validation(open_local).content.scores) == 2


def test_validation_does_not_look_at_test_scores(table):
    dataset = table(PLAIN.replace("0.125", "sealed"))
    dataset.shape(open_local), dataset.train(open_local), dataset.validation(open_local)
    with pytest.raises(UserError, match="line 3, column test: 'sealed' is not a score; allowed: a finite number"):
        dataset.open_test(open_local, list)


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("", {}, r"dataset\.architecture_column: .* has no column 'architecture'; allowed: none, the file is empty"),
        (PLAIN, {"test_column": "score"}, r"dataset\.test_column: .* no column 'score'; allowed: architecture, valid"),
        (PLAIN.splitlines()[0], {}, "has no rows"),
        (PLAIN + "1-2,0.5,0.5\n", {}, "line 4: 2 decisions; allowed: 3, as in the first row"),
        (PLAIN + "0-3-1,0.5,0.5\n", {}, "line 4: 0-3-1 again; allowed: each architecture once"),
        (PLAIN + "1-1-1,nan,0.5\n", {}, "line 4, column validation: 'nan' is not a score"),
        (PLAIN + "1-1-1\n", {}, "line 4, column validation: None is not a score"),
        (PLAIN + ",0.5,0.5\n", {}, "line 4: '' is not a row of numbers; allowed: such as 0-3-1"),
        (PLAIN + "a-b-c,0.5,0.5\n", {}, "line 4: 'a-b-c' is not a row of numbers"),
        (
            PLAIN + "a-b-c,0.5,0.5\n",
            {"operations": list("ab0123")},
            "line 4: 'c' is not in dataset.operations; allowed: a, b",
        ),
        (PLAIN, {"operations": ["conv", "pool"]}, "line 2: no operation in '0-3-1'; allowed: conv, pool"),
        (b"architecture,validation,test\n\xff", {}, "is not a whole csv or csv.gz file"),
    ],
)
def test_bad_tables_are_named(table, text, fields, message):
    with pytest.raises(UserError, match=message) as error:
        table(text, **fields).shape(open_local)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"not packed", gzip.compress(PLAIN.encode(), mtime=0)[:-20]])
def test_a_torn_packed_file_is_named(tmp_path, content):
    path = tmp_path / "scores.csv.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"dataset\.path: .* is not a whole csv or csv\.gz file"):
        TableFile(path=str(path)).shape(open_local)


def test_an_operation_that_is_no_word_is_refused():
    with pytest.raises(ValidationError, match="operations"):
        TableFile(path="scores.csv", operations=("max-pool",))


def test_scores_are_finite(table):
    assert all(map(math.isfinite, table(PLAIN).validation(open_local).content.scores.values()))


def test_a_space_has_the_decisions_of_the_table_and_no_option_beyond_it(table):
    dataset = table(PLAIN.replace("0-3-2", "1-0-2"))  # options {0, 1}, {0, 3}, {1, 2}
    for choices, words in {
        (2, 1): r"space.choices: 2 decisions; allowed: 3, as in the architectures of .*scores.csv",
        (2, 1, 2): r"space.choices: decision 3 has 2 options, but no architecture .* has 0 there",
        (3, 1, 1): r"space.choices: decision 1 has 3 options, but no architecture .* has 2 there",
    }.items():
        with pytest.raises(UserError, match=words):
            dataset.check(TabularSpace(choices=choices), open_local)


def test_a_space_may_leave_options_of_the_table_out(table):
    dataset = table("architecture,validation,test\n0-0,1,1\n1-0,2,2\n2-1,3,3\n")
    for choices in ((3, 2), (2, 1), (1, 1)):
        dataset.check(TabularSpace(choices=choices), open_local)
    dataset.check(CNNSpace(), open_local)


def test_a_survey_reads_both_scores(table):
    found = table(PLAIN).survey(open_local)
    assert found.facts == (
        "table: 2 architectures of 3 decisions",
        "validation: scores from 0.5 to 0.75",
        "test: scores from 0.125 to 0.25",
    )
    assert found.warnings == ()
    assert table(PLAIN.replace("0.75", "0.5")).survey(open_local).warnings == (
        "all validation scores are the same: no architecture is better",
    )
    with pytest.raises(UserError, match="line 3, column test: 'inf' is not a score; allowed: a finite number"):
        table(PLAIN.replace("0.125", "inf")).survey(open_local)


def test_a_fingerprint_changes_with_the_file(table):
    before = table(PLAIN).fingerprint(open_local)
    assert list(before) == ["table"]
    assert table(PLAIN.replace("0.125", "0.25")).fingerprint(open_local) != before
    assert TableFile.location == ("path",)
