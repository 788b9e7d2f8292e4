"""Known scores of architectures: for measuring searchers without training anything."""

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rlnas.datasets import fingerprint
from rlnas.datasets.base import Dataset, Opener, Survey, Table, Test, Train, Validation
from rlnas.errors import UserError
from rlnas.spaces import DataShape, Space
from rlnas.spaces.tabular import TabularSpace

Operation = Annotated[str, Field(pattern=r"^\w+$")]


class TableFile(Dataset):
    """A csv or csv.gz with one architecture a row, such as NAS-Bench-201 (Dong & Yang, ICLR 2020).

    The words (letters, digits, underscores) of an architecture that are in `operations` are its tokens, each the
    operation's place in that list; plain numbers beside them, as in `nor_conv_3x3~0`, are ignored. Without
    `operations` the numbers are the tokens, as in `0-3-1`. Scores stay as they stand in the file.
    """

    location: ClassVar[tuple[str, ...]] = ("path",)

    kind: Literal["table"] = "table"
    path: str = Field(description="path of the csv or csv.gz file, or store:KEY")
    architecture_column: str = Field(default="architecture", description="the column of the architectures")
    validation_column: str = Field(default="validation", description="the column of the scores that become rewards")
    test_column: str = Field(default="test", description="the column of the scores that judge a finished search")
    operations: tuple[Operation, ...] = Field(
        default=(), description="words that an architecture is made of, in the order of the tokens; empty: numbers"
    )

    def shape(self, open_file: Opener) -> DataShape:
        """Return the modality `table`, having checked the architectures and their validation scores."""
        self._scores(self.validation_column, open_file)
        return DataShape(modality="table", classes=0)

    def check(self, space: Space, open_file: Opener) -> None:
        """See that the table has as many decisions as the space, and every option of each in some row."""
        if not isinstance(space, TabularSpace):
            return
        columns = [set(column) for column in zip(*self._scores(self.validation_column, open_file), strict=True)]
        if len(columns) != len(space.choices):
            raise UserError(
                f"space.choices: {len(space.choices)} decisions; allowed: {len(columns)}, as in the architectures of"
                f" {self.path}"
            )
        for place, (choices, seen) in enumerate(zip(space.choices, columns, strict=True)):
            if missing := [option for option in range(choices) if option not in seen]:
                raise UserError(
                    f"space.choices: decision {place + 1} has {choices} options, but no architecture of {self.path}"
                    f" has {missing[0]} there; allowed: options that the table has, from 0"
                )

    def survey(self, open_file: Opener) -> Survey:
        """Read both columns of scores; see `Dataset.survey`."""
        scores = {
            part: self._scores(column, open_file)
            for part, column in (("validation", self.validation_column), ("test", self.test_column))
        }
        length = len(next(iter(scores["validation"])))
        facts = [f"table: {len(scores['validation']):,} architectures of {length} decisions"]
        facts += [f"{part}: scores from {min(of.values()):g} to {max(of.values()):g}" for part, of in scores.items()]
        same = [part for part, of in scores.items() if len(of) > 1 and len(set(of.values())) == 1]
        return Survey(
            tuple(facts), tuple(f"all {part} scores are the same: no architecture is better" for part in same)
        )

    def fingerprint(self, open_file: Opener) -> Mapping[str, str]:
        """Return the hash of the file."""
        with open_file(self.path) as file:
            return {"table": fingerprint.of_file(file)}

    def train(self, open_file: Opener) -> Train[Table]:
        """Return an empty table: there is nothing to train."""
        return Train(Table({}))

    def validation(self, open_file: Opener) -> Validation[Table]:
        """Read the validation scores; see `Dataset.validation`."""
        return Validation(Table(self._scores(self.validation_column, open_file)))

    def _test(self, open_file: Opener) -> Test[Table]:
        """Read the test scores; see `Dataset.open_test`."""
        return Test(Table(self._scores(self.test_column, open_file)))

    def _scores(self, column: str, open_file: Opener) -> dict[tuple[int, ...], float]:
        scores: dict[tuple[int, ...], float] = {}
        length = 0
        with self._rows(open_file) as rows:
            for row in rows:
                where = f"dataset.path: {self.path}, line {rows.line_num}"
                tokens = self._tokens(row[self.architecture_column] or "", where)
                length = length or len(tokens)
                if len(tokens) != length:
                    raise UserError(f"{where}: {len(tokens)} decisions; allowed: {length}, as in the first row")
                if tokens in scores:
                    raise UserError(f"{where}: {row[self.architecture_column]} again; allowed: each architecture once")
                scores[tokens] = _number(row[column], f"{where}, column {column}")
        if not scores:
            raise UserError(f"dataset.path: {self.path} has no rows; allowed: at least one architecture")
        return scores

    @contextmanager
    def _rows(self, open_file: Opener) -> "Iterator[csv.DictReader]":
        with open_file(self.path) as file:
            data = gzip.GzipFile(fileobj=file) if self.path.endswith(".gz") else file
            try:
                rows = csv.DictReader(io.TextIOWrapper(data, encoding="utf-8-sig", newline=""))
                present = rows.fieldnames or ()
                for field in ("architecture_column", "validation_column", "test_column"):
                    if (column := getattr(self, field)) not in present:
                        allowed = ", ".join(present) or "none, the file is empty"
                        raise UserError(f"dataset.{field}: {self.path} has no column {column!r}; allowed: {allowed}")
                yield rows
            except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
                raise UserError(f"dataset.path: {self.path} is not a whole csv or csv.gz file ({error})") from None

    def _tokens(self, architecture: str, where: str) -> tuple[int, ...]:
        words = re.findall(r"\w+", architecture)
        if not self.operations:
            if not words or not all(word.isdecimal() and len(word) < 10 for word in words):
                raise UserError(
                    f"{where}: {architecture!r} is not a row of numbers; allowed: such as 0-3-1, or set operations"
                )
            return tuple(int(word) for word in words)
        place = {operation: token for token, operation in enumerate(self.operations)}
        if unknown := [word for word in words if word not in place and not word.isdecimal()]:
            allowed = ", ".join(self.operations)
            raise UserError(f"{where}: {unknown[0]!r} is not in dataset.operations; allowed: {allowed}")
        tokens = tuple(place[word] for word in words if word in place)
        if not tokens:
            raise UserError(f"{where}: no operation in {architecture!r}; allowed: {', '.join(self.operations)}")
        return tokens


def _number(text: str | None, where: str) -> float:
    try:
        score = float(text or "")
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError(f"{where}: {text!r} is not a score; allowed: a finite number")
    return score
