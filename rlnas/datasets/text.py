"""Texts for language modelling, as indices into the vocabulary of their training part."""

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

from pydantic import Field

from rlnas.datasets import fingerprint
from rlnas.datasets.base import Dataset, Opener, Survey, Test, Text, Train, Validation
from rlnas.datasets.split import SplitSeed
from rlnas.datasets.survey import survey_texts
from rlnas.errors import UserError
from rlnas.spaces import DataShape

END, UNKNOWN = "<eos>", "<unk>"
Part = Literal["train", "validation", "test"]


class Words(Dataset):
    """What the texts share. Words are numbered by how often the training text has them, then by alphabet.

    `<unk>` stands for every other word; it comes last, unless there is no limit and the training text has it.
    """

    vocabulary_limit: int | None = Field(
        default=None, ge=4, description="words known at most, <unk> and <eos> included; null: all"
    )

    @abstractmethod
    def words(self, part: Part, open_file: Opener) -> list[str]:
        """Read a part of the text, as words."""

    def path(self, part: Part) -> str:
        """Return the file of a part; empty if there is none."""
        return ""

    def vocabulary(self, open_file: Opener) -> dict[str, int]:
        """Return word -> index, from the training text alone.

        With a limit, words seen only once are left out as well: they stand as `<unk>` in the training text, so that
        a model learns what to expect of new words.

        Raises:
            UserError: fewer than two different words.
        """
        counts = Counter(self.words("train", open_file))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        if self.vocabulary_limit is not None:
            ranked = [word for word in ranked if counts[word] > 1 and word != UNKNOWN][: self.vocabulary_limit - 1]
        if len(set(ranked) - {END, UNKNOWN}) < 2:
            kind = "words" if self.vocabulary_limit is None else "words that occur twice"
            raise UserError(f"dataset: the training text has fewer than two different {kind}; allowed: at least two")
        if UNKNOWN not in ranked:
            ranked.append(UNKNOWN)
        return {word: index for index, word in enumerate(ranked)}

    def shape(self, open_file: Opener) -> DataShape:
        """Return vocabulary and length of the training text; reads the validation text too, to see that it is one.

        That the test text is there is all that is asked of it.
        """
        self.words("validation", open_file)
        if path := self.path("test"):
            open_file(path).close()
        classes, tokens = len(self.vocabulary(open_file)), len(self.words("train", open_file))
        return DataShape(modality="text", classes=classes, tokens=tokens)

    def survey(self, open_file: Opener) -> Survey:
        """Count the words of all parts, the test text included; see `Dataset.survey`."""
        parts = {part: self.words(part, open_file) for part in get_args(Part)}
        return survey_texts(parts, self.vocabulary(open_file), END, UNKNOWN)

    def fingerprint(self, open_file: Opener) -> Mapping[str, str]:
        """Return the hash of each file."""
        found = {}
        for part in get_args(Part):
            with open_file(self.path(part)) as file:
                found[part] = fingerprint.of_file(file)
        return found

    def train(self, open_file: Opener) -> Train[Text]:
        """Read the training text; see `Dataset.train`."""
        return Train(self._text("train", open_file))

    def validation(self, open_file: Opener) -> Validation[Text]:
        """Read the validation text; see `Dataset.validation`."""
        return Validation(self._text("validation", open_file))

    def _test(self, open_file: Opener) -> Test[Text]:
        """Read the test text; see `Dataset.open_test`."""
        return Test(self._text("test", open_file))

    def _text(self, part: Part, open_file: Opener) -> Text:
        import torch

        vocabulary = self.vocabulary(open_file)
        unknown = vocabulary[UNKNOWN]
        return Text(torch.tensor([vocabulary.get(word, unknown) for word in self.words(part, open_file)]))


class PennTreebank(Words):
    """The Penn Treebank, as Mikolov prepared it: the paper's text (Section 4.2).

    929,589 / 73,760 / 82,430 tokens with the `<eos>` of each line, 10,000 different ones.
    """

    location: ClassVar[tuple[str, ...]] = ("folder",)

    kind: Literal["ptb"] = "ptb"
    folder: str = Field(
        description="path of the folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt; or store:PREFIX"
    )

    def words(self, part: Part, open_file: Opener) -> list[str]:
        """Read one of the three files."""
        return _read(self.path(part), "folder", open_file)

    def path(self, part: Part) -> str:
        """Return the file, by the name that Mikolov gave it."""
        return f"{self.folder.rstrip('/')}/ptb.{'valid' if part == 'validation' else part}.txt"


class TextFiles(Words):
    """A person's own three texts, UTF-8: words between white space, and an `<eos>` at the end of each line."""

    location: ClassVar[tuple[str, ...]] = ("train_file", "validation_file", "test_file")

    kind: Literal["text"] = "text"
    train_file: str = Field(description="path, or store:KEY")
    validation_file: str = Field(description="path, or store:KEY")
    test_file: str = Field(description="path, or store:KEY; no model reads it before the winner is judged")
    vocabulary_limit: int | None = Field(default=10_000, ge=4, description="words known at most; null: all")

    def words(self, part: Part, open_file: Opener) -> list[str]:
        """Read one of the three files."""
        return _read(self.path(part), f"{part}_file", open_file)

    def path(self, part: Part) -> str:
        """Return the file, as the spec names it."""
        return getattr(self, f"{part}_file")


class PythonDocs(Words):
    """The Python language reference, a real English text on every machine that has Python: it is what `help("if")`
    prints, kept in the standard library's `pydoc_data.topics` (Python licence). About 80,000 tokens.

    Its sections are shuffled by `split_seed` and then cut after 80% and 90% of the tokens. Paragraphs that occur in
    several sections are kept once, so that none is both trained and tested on. Text is lower-cased; a token is a word,
    a number (all `N`, as in the Penn Treebank) or a punctuation mark; each paragraph ends in `<eos>`. The text
    belongs to the Python release: scores of different releases are not comparable.
    """

    kind: Literal["python_docs"] = "python_docs"
    split_seed: SplitSeed = 0
    vocabulary_limit: int | None = Field(default=2000, ge=4, description="words known at most; null: all")

    def words(self, part: Part, open_file: Opener) -> list[str]:
        """Return one of the three parts."""
        import numpy as np

        sections = list(_topics().values())
        order = np.random.RandomState(self.split_seed).permutation(len(sections))
        paragraphs = dict.fromkeys(text.strip() for at in order for text in sections[at].split("\n\n"))
        words = [word for paragraph in paragraphs for word in _tokenise(paragraph)]
        first, second = len(words) * 8 // 10, len(words) * 9 // 10
        return {"train": words[:first], "validation": words[first:second], "test": words[second:]}[part]

    def fingerprint(self, open_file: Opener) -> Mapping[str, str]:
        """Return the hash of the whole text."""
        return {"python_docs": fingerprint.of_text(_topics().values())}


def _topics() -> Mapping[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError("dataset.kind: this Python comes without pydoc_data; allowed: ptb or text") from None
    return topics


def _tokenise(paragraph: str) -> list[str]:
    lines = [line for line in paragraph.lower().splitlines() if re.search(r"\w", line)]  # others are rules of tables
    words = re.findall(r"[^\W\d]\w*|\d+|[^\w\s]", "\n".join(lines))
    return ["N" if word.isdecimal() else word for word in words] + [END] * bool(words)


def _read(path: str, field: str, open_file: Opener) -> list[str]:
    with open_file(path) as file:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"dataset.{field}: {path} is not UTF-8 (byte {error.start}); allowed: UTF-8") from None
    if not text.strip():
        raise UserError(f"dataset.{field}: {path} is empty; allowed: a text of at least two different words")
    return [word for line in text.removesuffix("\n").split("\n") for word in (*line.split(), END)]
