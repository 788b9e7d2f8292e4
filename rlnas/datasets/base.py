"""What a dataset is: training, validation and sealed test data, told apart by their types.

A trainer takes `Train`, an evaluation `Validation`; passing the wrong one is an error of types. Only the final
evaluation of a search's winner calls `Dataset.open_test`, and a test of the code base holds that.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from rlnas.errors import UserError, one_line
from rlnas.section import Section
from rlnas.spaces.base import DataShape, Space

if TYPE_CHECKING:
    import torch

STORE_PREFIX = "store:"
"""Of the path of an object of the store."""

Opener = Callable[[str], IO[bytes]]
"""Opens a file by its path, or an object of the store by `store:KEY`."""


@dataclass(frozen=True)
class Images:
    """Images as they are kept in memory.

    Args:
        pixels: uint8 [N, height, width, channels].
        labels: int64 [N], from 0.
    """

    pixels: "torch.Tensor"
    labels: "torch.Tensor"


@dataclass(frozen=True)
class Text:
    """A text as word indices: int64 [N]."""

    tokens: "torch.Tensor"


@dataclass(frozen=True)
class Table:
    """Known scores by token sequence, for spaces whose rewards are looked up."""

    scores: Mapping[tuple[int, ...], float]


Content = TypeVar("Content", Images, Text, Table)


@dataclass(frozen=True)
class Train(Generic[Content]):
    """Data that weights may be fitted to."""

    content: Content


@dataclass(frozen=True)
class Validation(Generic[Content]):
    """Data that rewards come from."""

    content: Content


@dataclass(frozen=True)
class Test(Generic[Content]):
    """Data that nobody sees before the final evaluation of the winner."""

    content: Content


def join(train: Train[Content], validation: Validation[Content]) -> Train[Content]:
    """Return training and validation data as one, for the last training of a model that has been chosen.

    Raises:
        UserError: the data is a table, which nothing is trained on.
    """
    import torch

    first, second = train.content, validation.content
    joined: Any  # of the type that both have, which mypy cannot follow through the branches
    if isinstance(first, Images) and isinstance(second, Images):
        joined = Images(torch.cat([first.pixels, second.pixels]), torch.cat([first.labels, second.labels]))
    elif isinstance(first, Text) and isinstance(second, Text):
        joined = Text(torch.cat([first.tokens, second.tokens]))
    else:
        raise UserError("dataset: nothing is trained on a table; allowed: images or text")
    return Train(joined)


@dataclass(frozen=True)
class Survey:
    """What a search will see of its data: for a person to read before the budget is spent.

    Args:
        facts: a line each: shape, examples by part and class, what was skipped and why.
        warnings: a line each: what looks wrong, and what to do about it.
    """

    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("facts", "warnings"):  # they may name files, which are called what people like
            object.__setattr__(self, name, tuple(map(one_line, getattr(self, name))))


class Dataset(Section, ABC):
    """A dataset. Its fields are what a person may set in the `dataset` section of a spec."""

    reading: ClassVar[str] = ""
    """What a model's user must know of how files become what the model reads; empty: they hold just that."""

    location: ClassVar[tuple[str, ...]] = ()
    """The fields that only say where the data lies: data with the same fingerprint elsewhere is the same data."""

    kind: str

    @abstractmethod
    def shape(self, open_file: Opener) -> DataShape:
        """Return the shape of the data, reading as little as possible.

        Raises:
            UserError: the data is missing or is not what it should be.
        """

    def check(self, space: Space, open_file: Opener) -> None:
        """Raise `UserError` if the data is not about architectures of this space; most data is about none."""

    def survey(self, open_file: Opener) -> Survey:
        """Look through all parts, as a person would before a search; nothing is given to a model.

        Raises:
            UserError: a part, the test data included, is missing or is not what it should be.
        """
        return Survey()

    def fingerprint(self, open_file: Opener) -> Mapping[str, str]:
        """Return a hash of the content of each piece of the data (an array, a file, a class of a part), by its name.

        Equal fingerprints are equal data, wherever they lie. Empty: content that cannot change, or is not known.
        """
        return {}

    def class_names(self, open_file: Opener) -> list[str]:
        """Return the names of the classes in the order of the labels; empty where they have none."""
        return []

    def vocabulary(self, open_file: Opener) -> Mapping[str, int]:
        """Return word -> index, in the order of the indices; empty for what is not a text."""
        return {}

    def prepare(self) -> str:
        """Fetch what is missing, before any child is trained; nothing else downloads. May run many times, at once.

        Returns:
            Where the data is, in words.

        Raises:
            UserError: it cannot be fetched, or is damaged.
        """
        return f"{self.kind}: read where it is"

    @abstractmethod
    def train(self, open_file: Opener) -> Train:
        """Read the training data."""

    @abstractmethod
    def validation(self, open_file: Opener) -> Validation:
        """Read the validation data."""

    def open_test(self, open_file: Opener, record: Callable[[], object]) -> Test:
        """Break the seal: read the test data.

        Args:
            open_file: how to open files.
            record: called before a byte is read, so that every reading leaves a trace, even one that is killed.
        """
        record()
        return self._test(open_file)

    @abstractmethod
    def _test(self, open_file: Opener) -> Test:
        """Read the test data."""


def open_local(path: str) -> IO[bytes]:
    """Open a file of this machine; the `Opener` where there is no store.

    Raises:
        UserError: there is no such file.
    """
    if path.startswith(STORE_PREFIX):
        raise UserError(
            f"dataset: {path} is in the object store, which this command does not use; allowed: a local path"
        )
    try:
        return _expanded(path).open("rb")
    except OSError as error:
        raise UserError(f"dataset: cannot read {path}: {error.strerror}") from None


def local_folder(folder: str) -> Path:
    """Return the path of a dataset's folder, with `~` expanded.

    Raises:
        UserError: it is said to be in the object store, where these files cannot be read one by one; or is no path.
    """
    if folder.startswith(STORE_PREFIX):
        raise UserError(f"dataset.folder: {folder} is in the object store; allowed: a folder of this machine")
    return _expanded(folder)


def _expanded(path: str) -> Path:
    try:
        if b"\0" in os.fsencode(path):
            raise ValueError
        return Path(path).expanduser()
    except ValueError:
        raise UserError(f"dataset: {path!r} is no path; allowed: characters that a file's name can have") from None
    except RuntimeError:
        raise UserError(f"dataset: {path}: there is no such user; allowed: ~/ for your own home") from None
