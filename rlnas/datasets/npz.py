"""Images in one .npz file: what a person makes of their own data with `numpy.savez`."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, ClassVar, Literal, TypeVar

from pydantic import Field

from rlnas.datasets import fingerprint
from rlnas.datasets.base import Dataset, Images, Opener, Survey, Test, Train, Validation
from rlnas.datasets.split import Fraction, SplitSeed, Stratify, divide, take
from rlnas.datasets.survey import part_of, survey_images
from rlnas.errors import UserError, one_line
from rlnas.spaces import DataShape

if TYPE_CHECKING:
    import numpy as np

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
VALIDATION = ("val", "validation")
"""What names of arrays with validation data begin with."""
NAMES = "class_names"
FAR = 10  # times as many classes as there are labels, and more than a thousand: no such numbering is meant
T = TypeVar("T")


class Npz(Dataset):
    """Four arrays: `train_images` and `test_images` uint8 [N, height, width] or [N, height, width, channels],
    `train_labels` and `test_labels` whole numbers [N], from 0.

    Validation data are `val_images` and `val_labels` (or `validation_images` and `validation_labels`), if the file has
    them, else they are drawn from the training images. An array `class_names` of texts may name the classes, in the
    order of their labels.
    """

    location: ClassVar[tuple[str, ...]] = ("path",)

    kind: Literal["npz"] = "npz"
    path: str = Field(description="path of the .npz file, or store:KEY")
    classes: int | None = Field(default=None, ge=2, description="number; null: the largest training label + 1")
    validation_data: Literal["auto", "split"] = Field(
        default="auto",
        description="auto: val_images and val_labels, where the file has them; split: drawn from the training images",
        json_schema_extra={"earlier": "split"},
    )
    validation_fraction: Fraction = Field(default=0.1, description="of the training images")
    split_seed: SplitSeed = 0
    stratify: Stratify = True

    def shape(self, open_file: Opener) -> DataShape:
        """Return the shape of the images and the number of classes, from the training arrays; reads no pixels."""
        with self._archive(open_file) as archive:
            size, dtype = self._read(archive, "train_images", _header)
            labels = self._labels(archive, "train")
            given = self._given(archive)
        self._check("train", size, dtype, labels)
        if not given:
            self._split(labels)
        classes = self._classes(labels)
        if classes < 2:
            raise UserError(f"dataset.path: train_labels of {self.path} are all 0; allowed: at least 2 classes")
        return DataShape("images", classes, height=size[1], width=size[2], channels=size[3] if len(size) == 4 else 1)

    def survey(self, open_file: Opener) -> Survey:
        """Look through all arrays, those of the test part too; see `Dataset.survey`."""
        shape = self.shape(open_file)
        with self._archive(open_file) as archive:
            given = self._given(archive)
            train, test = (part_of(*self._load(archive, part), f"{part}_images") for part in ("train", "test"))
            self._refuse_far_labels(train.labels, shape.classes)
            if given:
                pixels, labels = self._load(archive, given)
                validation = part_of(pixels, labels, f"{given}_images", f"{given}_images of the file")
            else:
                rest, drawn = self._split(train.labels)
                train, validation = train.at(rest), train.at(drawn, "drawn from train")
            names, complaint = self._names(archive, shape.classes)
            size, _ = self._read(archive, "train_images", _header)
        images = survey_images(shape, {"train": train, "validation": validation, "test": test}, names)
        doubts = [complaint] * bool(complaint)
        if len(size) == 4 and size[1] in (1, 3, 4) and size[3] > 4:
            doubts.append(
                f"train_images has shape {size}, read as height {size[1]}, width {size[2]} and {size[3]} channels; if"
                " its channels come first, numpy.transpose(images, (0, 2, 3, 1)) puts them last"
            )
        return Survey(images.facts, (*doubts, *images.warnings))

    def fingerprint(self, open_file: Opener) -> Mapping[str, str]:
        """Return a hash of each array that a search reads."""
        with self._archive(open_file) as archive:
            given = self._given(archive)
            arrays = [*ARRAYS, *([f"{given}_images", f"{given}_labels"] if given else [])]
            found = {name: fingerprint.of_array(self._array(archive, name)) for name in arrays}
            names, _ = self._names(archive, self._classes(self._labels(archive, "train")))
            return found | ({NAMES: fingerprint.of_text(names)} if names else {})

    def class_names(self, open_file: Opener) -> list[str]:
        """Return the array `class_names`, if it names the classes."""
        with self._archive(open_file) as archive:
            return self._names(archive, self._classes(self._labels(archive, "train")))[0]

    def train(self, open_file: Opener) -> Train[Images]:
        """Read the training images; see `Dataset.train`."""
        return Train(self._part(0, open_file))

    def validation(self, open_file: Opener) -> Validation[Images]:
        """Read the validation images; see `Dataset.validation`."""
        return Validation(self._part(1, open_file))

    def _test(self, open_file: Opener) -> Test[Images]:
        """Read the test images; see `Dataset.open_test`."""
        with self._archive(open_file) as archive:
            return Test(_all(*self._load(archive, "test")))

    def _part(self, part: int, open_file: Opener) -> Images:
        with self._archive(open_file) as archive:
            if given := self._given(archive):
                return _all(*self._load(archive, ("train", given)[part]))
            pixels, labels = self._load(archive, "train")
        return take(pixels, labels, self._split(labels)[part])

    def _split(self, labels: "np.ndarray") -> "list[np.ndarray]":
        return divide(labels, self.stratify, self.split_seed, round(len(labels) * self.validation_fraction))

    def _given(self, archive: zipfile.ZipFile) -> str:
        """Return what the names of the validation arrays begin with; empty if they are to be drawn."""
        if self.validation_data == "split":
            return ""
        there = {name.removesuffix(".npy") for name in archive.namelist()}
        pairs = {start: [f"{start}_images", f"{start}_labels"] for start in VALIDATION}
        found = [start for start, pair in pairs.items() if there & set(pair)]
        if not found:
            return ""
        arrays = sorted(there & {name for pair in pairs.values() for name in pair})
        if len(found) > 1 or len(arrays) == 1:
            raise UserError(
                f"dataset.path: {self.path} has {' and '.join(arrays)}; allowed: {' and '.join(pairs[found[0]])} and no"
                " others, or dataset.validation_data: split"
            )
        return found[0]

    def _names(self, archive: zipfile.ZipFile, classes: int) -> tuple[list[str], str]:
        """Return the names of the classes, and what is wrong with them."""
        if f"{NAMES}.npy" not in archive.namelist():
            return [], ""
        try:
            names = self._array(archive, NAMES)
        except UserError as error:
            return [], f"{error}; it is not used"
        if names.dtype.kind != "U" or names.shape != (classes,):
            what = f"{NAMES} is not used: it is {names.dtype} of shape {names.shape}"
            return [], f"{what}; allowed: {classes} texts, in the order of the labels"
        return [one_line(name) for name in names.tolist()], ""

    def _refuse_far_labels(self, labels: "np.ndarray", classes: int) -> None:
        import numpy as np

        present = len(np.unique(labels))
        if self.classes is None and classes > max(1000, FAR * present):
            raise self._wrong(
                "train_labels",
                f"holds {present} different labels, of which {labels.max()} would make {classes:,} classes",
                "labels from 0 without holes, as numpy.unique(labels, return_inverse=True)[1] makes them, or"
                " dataset.classes",
            )

    def _load(self, archive: zipfile.ZipFile, part: str) -> "tuple[np.ndarray, np.ndarray]":
        labels = self._labels(archive, part)
        pixels = self._array(archive, f"{part}_images")
        trained, _ = self._read(archive, "train_images", _header)
        self._check(part, pixels.shape, pixels.dtype, labels)
        if pixels.shape[1:] != trained[1:]:
            raise self._wrong(
                f"{part}_images", f"holds images {pixels.shape[1:]}", f"{trained[1:]}, as in train_images"
            )
        return (pixels if pixels.ndim == 4 else pixels[..., None]), labels.astype("int64")

    @contextmanager
    def _archive(self, open_file: Opener) -> Iterator[zipfile.ZipFile]:
        with open_file(self.path) as file:
            try:
                archive = zipfile.ZipFile(file)
            except Exception:
                raise UserError(
                    f"dataset.path: {self.path} is not an .npz file; allowed: one made by numpy.savez"
                ) from None
            if missing := [name for name in ARRAYS if f"{name}.npy" not in archive.namelist()]:
                raise UserError(
                    f"dataset.path: {self.path} has no array {', '.join(missing)}; needed: {', '.join(ARRAYS)}"
                )
            yield archive

    def _array(self, archive: zipfile.ZipFile, name: str) -> "np.ndarray":
        from numpy.lib import format as npy

        return self._read(archive, name, npy.read_array)  # refuses pickles unless told otherwise

    def _read(self, archive: zipfile.ZipFile, name: str, read: Callable[[IO[bytes]], T]) -> T:
        try:
            with archive.open(f"{name}.npy") as file:
                return read(file)
        except Exception as error:  # what is packed, locked or damaged raises what it likes
            line = str(error).partition("\n")[0]
            raise self._wrong(name, f"cannot be read ({line})", "a plain array of numbers") from None

    def _classes(self, train_labels: "np.ndarray") -> int:
        return self.classes or int(train_labels.max()) + 1

    def _labels(self, archive: zipfile.ZipFile, part: str) -> "np.ndarray":
        name = f"{part}_labels"
        labels = self._array(archive, name)
        if labels.dtype.kind not in "iu":
            raise self._wrong(name, f"is {labels.dtype}", "whole numbers")
        if labels.ndim != 1:
            raise self._wrong(name, f"has shape {labels.shape}", "one label for each image, [N]")
        if not len(labels):
            raise self._wrong(name, "is empty", "at least one label")
        classes = self._classes(labels if part == "train" else self._labels(archive, "train"))
        outside = (labels < 0) | (labels >= classes)
        if outside.any():
            at = int(outside.argmax())
            raise self._wrong(name, f"holds the label {labels[at]} (image {at})", f"0 to {classes - 1}")
        return labels

    def _check(self, part: str, size: tuple[int, ...], dtype: "np.dtype", labels: "np.ndarray") -> None:
        name = f"{part}_images"
        if dtype != "uint8":
            raise self._wrong(name, f"is {dtype}", "uint8, 0 to 255")
        if len(size) not in (3, 4):
            raise self._wrong(name, f"has shape {size}", "[N, height, width] or [N, height, width, channels]")
        if 0 in size:
            raise self._wrong(name, f"is empty, of shape {size}", "at least one image of at least one pixel")
        if size[0] != len(labels):
            raise self._wrong(name, f"has {size[0]} images for {len(labels)} labels", "as many as there are labels")

    def _wrong(self, name: str, what: str, allowed: str) -> UserError:
        return UserError(f"dataset.path: {name} of {self.path} {what}; allowed: {allowed}")


def _all(pixels: "np.ndarray", labels: "np.ndarray") -> Images:
    import numpy as np

    return take(pixels, labels, np.arange(len(labels)))


def _header(file: IO[bytes]) -> "tuple[tuple[int, ...], np.dtype]":
    from numpy.lib import format as npy

    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    size, _, dtype = read(file)
    return size, dtype
