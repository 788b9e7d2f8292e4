"""Images in one folder a class."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rlnas.datasets.base import Dataset, Images, Opener, Test, Train, Validation, local_folder
from rlnas.datasets.split import Fraction, SplitSeed, split
from rlnas.errors import UserError
from rlnas.spaces import DataShape

if TYPE_CHECKING:
    import torchvision

LAYOUT = "FOLDER/train/CLASS/*.png and FOLDER/test/CLASS/*.png (or jpg)"


class ImageFolder(Dataset):
    """Image files as `folder/train/<class>/*.png` and `folder/test/<class>/*.png`, read as RGB.

    The shorter side is resized to `size` and the centre cropped to a square. Validation images are drawn from the
    training images. Before `open_test`, of `test` only the names of its folders are looked at.
    """

    reading: ClassVar[str] = (
        "A file becomes pixels so: RGB, the shorter side resized to `size`, the centre cropped (torchvision's `Resize`"
        " and `CenterCrop`)."
    )

    kind: Literal["image_folder"] = "image_folder"
    folder: str = Field(description="path of the folder; on a cluster on the volume, such as /data/images")
    size: int = Field(default=32, gt=0, description="height and width to which images are brought, pixels")
    validation_fraction: Fraction = Field(default=0.1, description="of the training images")
    split_seed: SplitSeed = 0

    def shape(self, open_file: Opener) -> DataShape:
        """Return `size` x `size` x 3 and the number of class folders; lists files and reads none."""
        classes = self._classes()
        self._split(self._files("train"))
        return DataShape("images", len(classes), height=self.size, width=self.size, channels=3)

    def train(self, open_file: Opener) -> Train[Images]:
        """Read the training images; see `Dataset.train`."""
        return Train(self._part(0))

    def validation(self, open_file: Opener) -> Validation[Images]:
        """Read the validation images; see `Dataset.validation`."""
        return Validation(self._part(1))

    def _test(self, open_file: Opener) -> Test[Images]:
        """Read the test images; see `Dataset.open_test`."""
        files = self._files("test")
        return Test(self._read(files, range(len(files))))

    def _part(self, part: int) -> Images:
        files = self._files("train")
        return self._read(files, self._split(files)[part])

    def _split(self, files: "torchvision.datasets.ImageFolder") -> list[list[int]]:
        held_out = round(len(files) * self.validation_fraction)
        return [part.tolist() for part in split(len(files), self.split_seed, held_out)]

    def _classes(self) -> list[str]:
        from torchvision.datasets.folder import find_classes

        try:
            train, test = (find_classes(local_folder(self.folder) / part)[0] for part in ("train", "test"))
        except OSError as error:
            raise self._wrong(error) from None
        if train != test:
            odd = ", ".join(sorted(set(train) ^ set(test)))
            raise UserError(f"dataset.folder: only train or test has {odd}; allowed: the same classes in both")
        if len(train) < 2:
            raise UserError(f"dataset.folder: {self.folder} has only the class {train[0]}; allowed: at least 2 classes")
        return train

    def _files(self, part: str) -> "torchvision.datasets.ImageFolder":
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

        self._classes()
        transform = Compose([Resize(self.size), CenterCrop(self.size), PILToTensor()])
        try:
            return ImageFolder(local_folder(self.folder) / part, transform)
        except OSError as error:
            raise self._wrong(error) from None

    def _read(self, files: "torchvision.datasets.ImageFolder", indices: "list[int] | range") -> Images:
        import torch

        pixels = torch.empty(len(indices), self.size, self.size, 3, dtype=torch.uint8)
        for row, index in enumerate(indices):
            try:
                pixels[row] = files[index][0].permute(1, 2, 0)
            except (OSError, ValueError, SyntaxError):  # so Pillow says, of one damage or another
                path = files.samples[index][0]
                raise UserError(f"dataset.folder: cannot read the image {path}; allowed: whole image files") from None
        return Images(pixels, torch.tensor([files.targets[index] for index in indices]))

    def _wrong(self, error: OSError) -> UserError:
        line = str(error).partition("\n")[0]
        return UserError(f"dataset.folder: {self.folder} cannot be used ({line}); allowed: {LAYOUT}")
