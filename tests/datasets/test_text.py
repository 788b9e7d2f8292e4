import io
import sys

import pytest
import torch

from rlnas.datasets import Survey, open_local
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
    def make(train, validation="a b\n", test="a b a\n", **fields):
        parts = {"train": train, "validation": validation, "test": test}
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


LINES = [" ".join(f"w{(line * 7 + place * place) % 40}" for place in range(12)) for line in range(600)]


def parts(train=slice(0, 400), validation=slice(400, 500), test=slice(500, 600)):
    return ["\n".join(LINES[of]) + "\n" for of in (train, validation, test)]


def warnings(dataset):
    return " | ".join(dataset.survey(open_local).warnings)


def test_a_survey_says_what_a_search_will_see(texts):
    unique = [[f"{start}{number} " + "word more" for number in range(400)] for start in "abc"]
    dataset = texts(*("\n".join(lines) + "\n" for lines in unique))
    assert dataset.survey(open_local) == Survey(
        (
            "vocabulary: 4 words, from the training text",  # word, more, <eos>, <unk>
            "train: 1,600 tokens, 25.0% of them <unk>",
            "validation: 1,600 tokens, 25.0% of them <unk>",
            "test: 1,600 tokens, 25.0% of them <unk>",
        ),
        tuple(
            f"25% of the {part} text is <unk>: little is left to foresee; a larger vocabulary_limit, a longer training"
            " text, or texts of one kind would help"
            for part in ("train", "validation", "test")
        ),
    )


def test_the_penn_treebank_looks_right(shared_data):
    found = PennTreebank(folder=str(shared_data / "ptb")).survey(open_local)
    assert found.facts == (
        "vocabulary: 10,000 words, from the training text",
        "train: 929,589 tokens, 4.8% of them <unk>",
        "validation: 73,760 tokens, 4.7% of them <unk>",
        "test: 82,430 tokens, 5.8% of them <unk>",
    )
    assert found.warnings == ()
    assert PythonDocs().survey(open_local).warnings == ()


def test_a_text_of_other_words_is_told(texts):
    train, validation, _ = parts()
    told = warnings(texts(train, validation, "nothing of this is known\n" * 300))
    assert "83% of the test text is <unk>: little is left to foresee" in told
    assert "<unk>" not in told.replace("83% of the test text is <unk>", "")


def test_a_text_without_spaces_is_told(texts):
    train, validation, test = (text.replace(" ", "") for text in parts())
    told = warnings(texts(train, validation, test, vocabulary_limit=None))
    assert "the train text has hardly any spaces, so that each line is one word" in told
    assert "spaces" not in warnings(texts(*parts()))


def test_lines_in_two_parts_are_told(texts):
    alike = ["\n".join(f"{part} {line} and so on it goes" for line in range(300)) + "\n" for part in "abc"]
    assert " also " not in warnings(texts(*alike))
    train, validation, _ = alike
    told = warnings(texts(train, validation, train))
    assert "300 of 300 lines of at least 5 words in the test text are also in the train text: its score" in told
    half = "\n".join(validation.split("\n")[:150] + train.split("\n")[:150]) + "\n"
    assert "150 of 300 lines of at least 5 words in the validation text are also in the train" in warnings(
        texts(train, half)
    )


def test_a_text_too_short_to_score_on_is_told(texts):
    assert "the validation text has only 3 tokens: its score is much by chance" in warnings(texts("a b a b\n"))


@pytest.mark.parametrize(
    ("test", "message"),
    [(" \n", r"dataset\.test_file: .* is empty"), (b"a \xff", r"dataset\.test_file: .* is not UTF-8 \(byte 2\)")],
)
def test_what_is_wrong_with_the_test_text_is_found_before_the_search(texts, test, message):
    with pytest.raises(UserError, match=message):
        texts("a b a b", "a b", test).survey(open_local)


def test_a_fingerprint_names_the_file_that_changed(texts, tmp_path):
    dataset = texts("a b a b\n")
    before = dataset.fingerprint(open_local)
    assert list(before) == ["train", "validation", "test"]
    (tmp_path / "moved.txt").write_text("a b a b\n")
    moved = dataset.model_copy(update={"train_file": str(tmp_path / "moved.txt")})
    assert moved.fingerprint(open_local) == before
    assert "train_file" in TextFiles.location
    after = texts("a b a b\n", "a b b\n").fingerprint(open_local)
    assert [part for part in before if after[part] != before[part]] == ["validation"]
    assert list(PythonDocs().fingerprint(open_local)) == ["python_docs"]
