import io
import sys

import pytest
import torch

from rlnas.datasets import open_local
from rlnas.datasets.text import PennTreebank, PythonDocs, TextFiles
from rlnas.errors import UserError
from rlnas.spaces import DataShape


def test_the_penn_treebank_has_its_known_counts(shared_data):
    dataset = PennTreebank(folder=str(shared_data / "ptb"))
    assert dataset.shape(open_local) == DataShape("text", 10_000, tokens=929_589)
    train, validation = dataset.train(open_local).content.tokens, dataset.validation(open_local).content.tokens
    test = dataset.open_test(open_local, list).content.tokens
    assert [len(part) for part in (train, validation, test)] == [929_589, 73_760, 82_430]
    assert train.dtype == torch.int64
    assert len(train.unique()) == 10_000
    counts = train.bincount()
    assert bool((counts[:-1] >= counts[1:]).all()), "numbered by frequency"


def test_words_are_numbered_by_frequency_then_alphabet(texts):
    dataset = texts("b a b\nc a b\n", "b c new\n")
    assert list(dataset.vocabulary(open_local)) == ["b", "<eos>", "a", "<unk>"]
    assert dataset.train(open_local).content.tokens.tolist() == [0, 2, 0, 1, 3, 2, 0, 1]
    assert dataset.validation(open_local).content.tokens.tolist() == [0, 3, 3, 1]


@pytest.fixture
def texts(tmp_path):
    def make(train, validation="a b\n", **fields):
        parts = {"train": train, "validation": validation, "test": "a b a\n"}
        for part, text in parts.items():
            (tmp_path / f"{part}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        return TextFiles(**{f"{part}_file": str(tmp_path / f"{part}.txt") for part in parts}, **fields)

    return make


def test_the_limit_counts_every_entry(texts):
    text = "a a a a b b b c c <unk> <unk> <unk>\n" * 2
    dataset = texts(text, vocabulary_limit=4)
    assert list(dataset.vocabulary(open_local)) == ["a", "b", "c", "<unk>"]
    assert dataset.shape(open_local).classes == 4


def test_without_a_limit_every_word_of_the_training_text_is_known(texts):
    dataset = texts("b a b\nc a b", "c d", vocabulary_limit=None)
    assert list(dataset.vocabulary(open_local)) == ["b", "<eos>", "a", "c", "<unk>"]
    assert dataset.validation(open_local).content.tokens.tolist() == [3, 4, 1]


class Sealed(io.BytesIO):
    def read(self, *_):
        raise AssertionError("the test file was read")


def test_only_open_test_reads_the_test_file(texts, shared_data):
    def sealed(path):
        return Sealed() if "test.txt" in path else open_local(path)

    for dataset in (texts("a b a b"), PennTreebank(folder=str(shared_data / "ptb"))):
        dataset.shape(sealed), dataset.train(sealed), dataset.validation(sealed)
        with pytest.raises(AssertionError, match="the test file was read"):
            dataset.open_test(sealed, list)


def test_a_test_file_that_is_missing_is_missed_at_once(texts, tmp_path):
    dataset = texts("a b a b")
    (tmp_path / "test.txt").unlink()
    with pytest.raises(UserError, match=r"cannot read .*test\.txt: No such file"):
        dataset.shape(open_local)


def test_files_of_the_store_are_opened_by_their_keys(texts):
    local, asked = texts("a b a b"), []

    def opener(path):
        asked.append(path)
        return open_local(local.train_file)

    PennTreebank(folder="store:texts/ptb/").shape(opener)
    assert set(asked) == {f"store:texts/ptb/ptb.{part}.txt" for part in ("train", "valid", "test")}


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ("", "a b", r"dataset\.train_file: .*train\.txt is empty; allowed: a text of"),
        ("a b a b", " \n\n", r"dataset\.validation_file: .*validation\.txt is empty"),
        ("a a\na a\n", "a b", "fewer than two different words that occur twice; allowed: at least two"),
        (b"a b a b \xff", "a b", r"dataset\.train_file: .*train\.txt is not UTF-8 \(byte 8\)"),
    ],
)
def test_bad_texts_are_named(texts, train, validation, message):
    with pytest.raises(UserError, match=message) as error:
        texts(train, validation).shape(open_local)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*ptb\.valid\.txt: No such file"):
        PennTreebank(folder=str(tmp_path)).shape(open_local)


def test_the_python_reference_is_a_text_to_learn_from():
    dataset = PythonDocs()
    parts = [dataset.train(open_local), dataset.validation(open_local), dataset.open_test(open_local, list)]
    train, validation, test = (part.content.tokens for part in parts)
    total = len(train) + len(validation) + len(test)
    assert total > 50_000
    assert [len(train), len(train) + len(validation)] == [total * 8 // 10, total * 9 // 10]
    assert dataset.shape(open_local).classes == 2000
    vocabulary = dataset.vocabulary(open_local)
    assert {"the", "python", "N", "<eos>", "."} <= set(vocabulary)
    for part in (train, validation, test):
        assert 0 < int((part == vocabulary["<unk>"]).sum()) < 0.15 * len(part)


def test_no_paragraph_of_the_python_reference_is_in_two_parts():
    def paragraphs(part):
        texts = " ".join(PythonDocs().words(part, open_local)).split(" <eos>")
        return {text for text in texts if len(text.split()) > 20}

    train, validation, test = map(paragraphs, ("train", "validation", "test"))
    assert len(validation) > 50
    assert not train & validation
    assert not (train | validation) & test


def test_the_seed_decides_the_order_of_the_sections():
    first, again, other = (PythonDocs(split_seed=seed).words("validation", open_local) for seed in (0, 0, 1))
    assert first == again != other


def test_a_python_without_its_reference_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UserError, match="this Python comes without pydoc_data; allowed: ptb or text"):
        PythonDocs().shape(open_local)
