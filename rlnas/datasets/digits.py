"""Handwritten digits that come with scikit-learn: real images that need no download."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rlnas.datasets.base import Dataset, Images, Opener, Test, Train, Validation
from rlnas.datasets.split import Fraction, SplitSeed, split, take
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

    def shape(self, open_file: Opener) -> DataShape:
        """Return 8x8x1 and 10 classes."""
        self._split()
        return DataShape(modality="images", classes=10, height=8, width=8, channels=1)

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
        import numpy as np

        # The file that `sklearn.datasets.load_digits` reads; importing sklearn for it would cost every task seconds.
        package = find_spec("sklearn")
        assert package is not None
        assert package.origin is not None
        table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
        pixels = (table[:, :-1].reshape(IMAGES, 8, 8, 1) * (255 / 16)).round().astype("uint8")
        return take(pixels, table[:, -1].astype("int64"), self._split()[part])

    def _split(self) -> "list[np.ndarray]":
        sizes = (round(IMAGES * self.validation_fraction), round(IMAGES * self.test_fraction))
        return split(IMAGES, self.split_seed, *sizes)
