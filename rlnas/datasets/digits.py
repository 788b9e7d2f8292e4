"""Handwritten digits that come with scikit-learn: real images that need no download."""

import gzip
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rlnas.datasets import fingerprint
from rlnas.datasets.base import Dataset, Images, Opener, Survey, Test, Train, Validation
from rlnas.datasets.split import Fraction, SplitSeed, Stratify, divide, take
from rlnas.datasets.survey import part_of, survey_images
from rlnas.spaces import DataShape

if TYPE_CHECKING:
    import numpy as np

IMAGES = 1797


class Digits(Dataset):
    """1,797 grey images of 8x8 pixels in 10 classes (UCI optical recognition of handwritten digits, Alpaydin 1998).

    Both fractions are of all images.
    """

    kind: Literal["digits"] = "digits"
    validation_fraction: Fraction = Field(default=0.2, description="of all images")
    test_fraction: Fraction = Field(default=0.2, description="of all images")
    split_seed: SplitSeed = 0
    stratify: Stratify = True

    def shape(self, open_file: Opener) -> DataShape:
        """Return 8x8x1 and 10 classes."""
        self._split(self._load()[1])
        return DataShape(modality="images", classes=10, height=8, width=8, channels=1)

    def survey(self, open_file: Opener) -> Survey:
        """Count the images; see `Dataset.survey`."""
        pixels, labels = self._load()
        whole = part_of(pixels, labels, "digits")
        parts = zip(("train", "validation", "test"), self._split(labels), strict=True)
        return survey_images(self.shape(open_file), {part: whole.at(indices) for part, indices in parts})

    def fingerprint(self, open_file: Opener) -> Mapping[str, str]:
        """Return the hash of scikit-learn's table, unpacked."""
        with gzip.open(_file(), "rb") as table:
            return {"digits": fingerprint.of_file(table)}

    def class_names(self, open_file: Opener) -> list[str]:
        """Return the digits."""
        return [str(digit) for digit in range(10)]

    def train(self, open_file: Opener) -> Train[Images]:
        """Read the training images; see `Dataset.train`."""
        return Train(self._part(0))

    def validation(self, open_file: Opener) -> Validation[Images]:
        """Read the validation images; see `Dataset.validation`."""
        return Validation(self._part(1))

    def _test(self, open_file: Opener) -> Test[Images]:
        """Read the test images; see `Dataset.open_test`."""
        return Test(self._part(2))

    def _part(self, part: int) -> Images:
        pixels, labels = self._load()
        return take(pixels, labels, self._split(labels)[part])

    def _load(self) -> "tuple[np.ndarray, np.ndarray]":
        import numpy as np

        table = np.loadtxt(_file(), delimiter=",")
        pixels = (table[:, :-1].reshape(IMAGES, 8, 8, 1) * (255 / 16)).round().astype("uint8")
        return pixels, table[:, -1].astype("int64")

    def _split(self, labels: "np.ndarray") -> "list[np.ndarray]":
        sizes = (round(IMAGES * self.validation_fraction), round(IMAGES * self.test_fraction))
        return divide(labels, self.stratify, self.split_seed, *sizes)


def _file() -> Path:
    """Return the file that `sklearn.datasets.load_digits` reads; importing sklearn for it would cost tasks seconds."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
