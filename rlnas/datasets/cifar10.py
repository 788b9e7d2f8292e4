"""CIFAR-10, the paper's images."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rlnas.datasets import fingerprint
from rlnas.datasets.base import Dataset, Images, Opener, Survey, Test, Train, Validation, local_folder
from rlnas.datasets.split import SplitSeed, Stratify, divide, take
from rlnas.datasets.survey import part_of, survey_images
from rlnas.errors import UserError, one_line
from rlnas.spaces import DataShape

if TYPE_CHECKING:
    import numpy as np

BATCHES = "cifar-10-batches-py"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10(Dataset):
    """CIFAR-10 as torchvision stores it: 50,000 + 10,000 colour images of 32x32 pixels in 10 classes.

    The paper draws 5,000 of the 50,000 at random for validation (Section 4.1): that is `stratify: false`. torchvision
    compares checksums of all files whenever some are read.
    """

    location: ClassVar[tuple[str, ...]] = ("folder", "download")

    kind: Literal["cifar10"] = "cifar10"
    folder: str = Field(description="holds cifar-10-batches-py; on a cluster on the volume, such as /data/cifar10")
    download: bool = Field(default=False, description="download it into the folder if it is not there")
    validation_images: int = Field(default=5000, gt=0, lt=50_000, description="drawn from the training images")
    split_seed: SplitSeed = 0
    stratify: Stratify = True

    def shape(self, open_file: Opener) -> DataShape:
        """Return 32x32x3 and 10 classes, having looked only whether the folder is there."""
        if not self.download and not self._here():
            raise self._missing()
        return DataShape(modality="images", classes=10, height=32, width=32, channels=3)

    def prepare(self) -> str:
        """Download if need be, and compare checksums; see `Dataset.prepare`."""
        if self.download and not self._here():
            self._download(local_folder(self.folder))
        self._load(train=True)
        return f"cifar10: whole in {self.folder}, checksums compared"

    def survey(self, open_file: Opener) -> Survey:
        """Count the images; what has not been downloaded yet cannot be looked at. See `Dataset.survey`."""
        shape = self.shape(open_file)
        if not self._here():
            return Survey(facts=(f"CIFAR-10 is not in {self.folder} yet; it will be downloaded, checksums compared",))
        pixels, labels = self._load(train=True)
        whole = part_of(pixels, labels, "train")
        train, validation = self._split(labels)
        parts = {
            "train": whole.at(train),
            "validation": whole.at(validation, "drawn from train"),
            "test": part_of(*self._load(train=False), "test"),
        }
        return survey_images(shape, parts, NAMES)

    def fingerprint(self, open_file: Opener) -> Mapping[str, str]:
        """Return a hash of each file; none before they are downloaded."""
        found = {}
        for path in sorted((local_folder(self.folder) / BATCHES).glob("*_batch*")):
            with path.open("rb") as file:
                found[path.name] = fingerprint.of_file(file)
        return found

    def class_names(self, open_file: Opener) -> list[str]:
        """Return the ten names, as in the file `batches.meta`."""
        return list(NAMES)

    def train(self, open_file: Opener) -> Train[Images]:
        """Read the training images; see `Dataset.train`."""
        return Train(self._part(0))

    def validation(self, open_file: Opener) -> Validation[Images]:
        """Read the validation images; see `Dataset.validation`."""
        return Validation(self._part(1))

    def _test(self, open_file: Opener) -> Test[Images]:
        """Read the test images; see `Dataset.open_test`."""
        import numpy as np

        pixels, labels = self._load(train=False)
        return Test(take(pixels, labels, np.arange(len(pixels))))

    def _part(self, part: int) -> Images:
        pixels, labels = self._load(train=True)
        return take(pixels, labels, self._split(labels)[part])

    def _split(self, labels: "np.ndarray") -> "list[np.ndarray]":
        return divide(labels, self.stratify, self.split_seed, self.validation_images)

    def _here(self) -> bool:
        return (local_folder(self.folder) / BATCHES).is_dir()

    def _load(self, train: bool) -> "tuple[np.ndarray, np.ndarray]":
        import numpy as np
        from torchvision.datasets import CIFAR10

        try:
            data = CIFAR10(local_folder(self.folder), train=train)
        except (RuntimeError, OSError):
            raise self._missing() from None
        except Exception as error:  # a damaged pickle raises what it likes
            raise self._missing(f" ({one_line(error)})") from None
        return data.data, np.asarray(data.targets)

    def _download(self, folder: Path) -> None:
        """Download into a folder of its own and move that, so that nobody ever sees half of it."""
        from torchvision.datasets import CIFAR10

        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".download-", dir=folder) as fresh:
                CIFAR10(fresh, download=True)
                with suppress(OSError):  # another run was faster
                    (Path(fresh) / BATCHES).rename(folder / BATCHES)
        except (RuntimeError, OSError) as error:
            line = str(error).partition("\n")[0]
            raise UserError(f"dataset.download: cannot download CIFAR-10 to {self.folder}: {line}") from None

    def _missing(self, why: str = "") -> UserError:
        return UserError(
            f"dataset.folder: no complete CIFAR-10 in {self.folder}{why}; "
            f"allowed: a folder that holds {BATCHES}, or download: true and a folder that does not"
        )
