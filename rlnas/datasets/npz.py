"""Images in one .npz file: what a person makes of their own data with `numpy.savez`."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Literal, TypeVar

from pydantic import Field

from rlnas.datasets.base import Dataset, Images, Opener, Test, Train, Validation
from rlnas.datasets.split import Fraction, SplitSeed, split, take
from rlnas.errors import UserError
from rlnas.spaces import DataShape

if TYPE_CHECKING:
    import numpy as np

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
T = TypeVar("T")
UNREADABLE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)


class Npz(Dataset):
    """Four arrays: `train_images` and `test_images` uint8 [N, height, width] or [N, height, width, channels],
    `train_labels` and `test_labels` whole numbers [N], from 0.

    Validation images are drawn from the training images. The test arrays are read by `open_test` only.
    """

    kind: Literal["npz"] = "npz"
    path: str = Field(description="path of the .npz file, or store:KEY")
    classes: int | None = Field(default=None, ge=2, description="number; null: the largest training label + 1")
    validation_fraction: Fraction = Field(default=0.1, description="of the training images")
    split_seed: SplitSeed = 0

    def shape(self, open_file: Opener) -> DataShape:
        """Return the shape of the images and the number of classes, from the training arrays; reads no pixels."""
        with self._archive(open_file) as archive:
            size, dtype = self._read(archive, "train_images", _header)
            labels = self._labels(archive, "train")
        self._check("train", size, dtype, labels)
        self._split(len(labels))
        classes = self._classes(labels)
        if classes < 2:
            raise UserError(f"dataset.path: train_labels of {self.path} are all 0; allowed: at least 2 classes")
        return DataShape("images", classes, height=size[1], width=size[2], channels=size[3] if len(size) == 4 else 1)

    def train(self, open_file: Opener) -> Train[Images]:
        """Read the training images; see `Dataset.train`."""
        return Train(self._part(0, open_file))

    def validation(self, open_file: Opener) -> Validation[Images]:
        """Read the validation images; see `Dataset.validation`."""
        return Validation(self._part(1, open_file))

    def _test(self, open_file: Opener) -> Test[Images]:
        """Read the test images; see `Dataset.open_test`."""
        import numpy as np

        pixels, labels = self._load("test", open_file)
        return Test(take(pixels, labels, np.arange(len(labels))))

    def _part(self, part: int, open_file: Opener) -> Images:
        pixels, labels = self._load("train", open_file)
        return take(pixels, labels, self._split(len(labels))[part])

    def _split(self, count: int) -> "list[np.ndarray]":
        return split(count, self.split_seed, round(count * self.validation_fraction))

    def _load(self, part: str, open_file: Opener) -> "tuple[np.ndarray, np.ndarray]":
        with self._archive(open_file) as archive:
            labels = self._labels(archive, part)
            pixels = self._array(archive, f"{part}_images")
            trained, _ = self._read(archive, "train_images", _header)
        self._check(part, pixels.shape, pixels.dtype, labels)
        if pixels.shape[1:] != trained[1:]:
            raise self._wrong(
                f"{part}_images", f"holds images {pixels.shape[1:]}", f"{trained[1:]}, as in train_images"
            )
        return (pixels if pixels.ndim == 4 else pixels[..., None]), labels

    @contextmanager
    def _archive(self, open_file: Opener) -> Iterator[zipfile.ZipFile]:
        with open_file(self.path) as file:
            try:
                archive = zipfile.ZipFile(file)
            except UNREADABLE:
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
        except UNREADABLE as error:
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


def _header(file: IO[bytes]) -> "tuple[tuple[int, ...], np.dtype]":
    from numpy.lib import format as npy

    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    size, _, dtype = read(file)
    return size, dtype
