"""Images in one folder a class."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from rlnas.datasets import fingerprint
from rlnas.datasets.base import Dataset, Images, Opener, Survey, Test, Train, Validation, local_folder, open_local
from rlnas.datasets.decode import colour, decode
from rlnas.datasets.folders import Listing, list_classes, list_images
from rlnas.datasets.looks import Look, in_threads, look_at
from rlnas.datasets.split import Fraction, SplitSeed, Stratify, divide
from rlnas.datasets.survey import Part, survey_images
from rlnas.errors import UserError, one_line
from rlnas.spaces import DataShape

if TYPE_CHECKING:
    import numpy as np
    import torch

LAYOUT = "FOLDER/train/CLASS/*.png and FOLDER/test/CLASS/*.png (or jpg)"
SHARE = 0.01  # of the images of a part: so many files of other kinds beside them are no chance


def _is_colour(text: str) -> str:
    colour(text)
    return text


class ImageFolder(Dataset):
    """Image files as `folder/train/<class>/*.png` and `folder/test/<class>/*.png`, read as RGB.

    The shorter side is resized to `size` and the centre cropped to a square. Validation images are drawn from the
    training images. Classes are numbered by the characters of their names, as in torchvision. Hidden files and folders
    are left out.
    """

    reading: ClassVar[str] = (
        "A file becomes pixels so: turned as its EXIF orientation says, what is transparent put on `background`, what"
        " has more than 8 bits scaled to 8 (`white`), RGB, the shorter side resized to `size`, the centre cropped"
        " (torchvision's `Resize` and `CenterCrop`)."
    )
    location: ClassVar[tuple[str, ...]] = ("folder",)

    kind: Literal["image_folder"] = "image_folder"
    folder: str = Field(description="path of the folder; on a cluster on the volume, such as /data/images")
    size: int = Field(default=32, gt=0, description="height and width to which images are brought, pixels")
    background: Annotated[str, AfterValidator(_is_colour)] = Field(
        default="white",
        description="what transparent images are put on: a colour's name, or #rrggbb",
        json_schema_extra={"earlier": "white"},
    )
    white: int | None = Field(
        default=None,
        gt=0,
        description="the value that is white in images of more than 8 bits; null: the largest of their type",
        json_schema_extra={"earlier": None},
    )
    validation_fraction: Fraction = Field(default=0.1, description="of the training images")
    split_seed: SplitSeed = 0
    stratify: Stratify = True

    def shape(self, open_file: Opener) -> DataShape:
        """Return `size` x `size` x 3 and the number of class folders; lists files and reads none."""
        classes, listings = self._listings()
        self._split(listings["train"])
        return self._shape(classes)

    def class_names(self, open_file: Opener) -> list[str]:
        """Return the names of the class folders."""
        return list(map(one_line, self._classes()))

    def survey(self, open_file: Opener) -> Survey:
        """Decode every file, those of the test part too, to see that all are whole; see `Dataset.survey`."""
        classes, listings = self._listings()
        names = list(map(one_line, classes))
        train, validation = self._split(listings["train"])
        looks = {part: self._look(part, listing) for part, listing in listings.items()}
        whole, test = (_part_of(listings[part], looks[part]) for part in ("train", "test"))
        parts = {"train": whole.at(train), "validation": whole.at(validation, "drawn from train"), "test": test}
        images = survey_images(self._shape(classes), parts, names)
        return Survey(
            (*images.facts, *(f"left out of {part}: {line}" for part in listings if (line := listings[part].left_out))),
            (*self._oddities(names, listings, looks["train"] + looks["test"]), *images.warnings),
        )

    def _oddities(self, names: list[str], listings: Mapping[str, Listing], looks: list[Look]) -> Iterator[str]:
        for part, listing in listings.items():
            for reason, (count, example) in listing.skipped.items():
                if reason.startswith(".") and count > SHARE * len(listing.files):
                    yield f"{reason} of {part} are not read: {count:,} (such as {example}); png, jpg, tif and webp are"
        if count := sum(look.transparent for look in looks):
            where = f"dataset.background: {self.background}"
            yield f"{count} of {len(looks)} images are transparent, or parts of them, and were put on {where}"
        if count := sum(look.several for look in looks):
            yield f"{count} of {len(looks)} files hold several pictures: the first of each is taken"
        if all(name.isdecimal() for name in names) and names != sorted(names, key=int):
            yield (
                f"the names of the classes are sorted as text, not as numbers: label 1 is the folder {names[1]}; names"
                f" of equal length, such as {'1'.zfill(max(map(len, names)))}, are sorted alike both ways"
            )

    def fingerprint(self, open_file: Opener) -> Mapping[str, str]:
        """Return a hash of each class of each part: names, sizes and contents of its files."""
        classes, listings = self._listings()
        found = {}
        for part, listing in listings.items():
            root = str(local_folder(self.folder) / part)
            lines: list[list[str]] = [[] for _ in classes]
            for path, label, look in zip(listing.files, listing.labels, self._look(part, listing), strict=True):
                lines[label].append(f"{path.removeprefix(root)}\0{look.size} {look.digest}")
            for name, files in zip(classes, lines, strict=True):
                found[f"{part}/{one_line(name)}"] = fingerprint.of_text(sorted(files))
        return found

    def train(self, open_file: Opener) -> Train[Images]:
        """Read the training images; see `Dataset.train`."""
        return Train(self._part(0))

    def validation(self, open_file: Opener) -> Validation[Images]:
        """Read the validation images; see `Dataset.validation`."""
        return Validation(self._part(1))

    def _test(self, open_file: Opener) -> Test[Images]:
        """Read the test images; see `Dataset.open_test`."""
        listing = self._list("test", self._classes())
        return Test(self._read(listing, range(len(listing.files))))

    def _part(self, part: int) -> Images:
        listing = self._list("train", self._classes())
        return self._read(listing, self._split(listing)[part].tolist())

    def _split(self, listing: Listing) -> "list[np.ndarray]":
        import numpy as np

        held_out = round(len(listing.files) * self.validation_fraction)
        return divide(np.array(listing.labels), self.stratify, self.split_seed, held_out)

    def _classes(self) -> list[str]:
        try:
            train, test = (list_classes(local_folder(self.folder) / part) for part in ("train", "test"))
        except OSError as error:
            raise self._wrong(error) from None
        if train != test:
            odd = ", ".join(sorted(set(train) ^ set(test)))
            raise UserError(f"dataset.folder: only train or test has {odd}; allowed: the same classes in both")
        if len(train) < 2:
            raise UserError(f"dataset.folder: {self.folder} has only the class {train[0]}; allowed: at least 2 classes")
        return train

    def _shape(self, classes: list[str]) -> DataShape:
        return DataShape("images", len(classes), height=self.size, width=self.size, channels=3)

    def _listings(self) -> tuple[list[str], dict[str, Listing]]:
        """Return the names of the classes and the images of each part."""
        classes = self._classes()
        return classes, {part: self._list(part, classes) for part in ("train", "test")}

    def _list(self, part: str, classes: list[str]) -> Listing:
        folder = local_folder(self.folder) / part
        try:
            listing = list_images(folder, classes)
        except OSError as error:
            raise self._wrong(error) from None
        if empty := set(range(len(classes))) - set(listing.labels):
            raise UserError(
                f"dataset.folder: {folder / classes[min(empty)]} holds no image that is read; allowed: {LAYOUT}"
            )
        return listing

    def _look(self, part: str, listing: Listing) -> list[Look]:
        return look_at(str(local_folder(self.folder) / part), listing.files, self.background, self.white)

    def _read(self, listing: Listing, indices: "list[int] | range") -> Images:
        import torch

        pixels = torch.empty(len(indices), self.size, self.size, 3, dtype=torch.uint8)
        for row, image in enumerate(self._pixels([listing.files[index] for index in indices])):
            pixels[row] = image
        return Images(pixels, torch.tensor([listing.labels[index] for index in indices]))

    def _pixels(self, files: list[str]) -> "Iterator[torch.Tensor]":
        """Decode files, as uint8 [size, size, 3] each."""
        from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

        transform = Compose([Resize(self.size), CenterCrop(self.size), PILToTensor()])

        def read(path: str) -> "torch.Tensor":
            with open_local(path) as file:
                return transform(decode(file, path, self.background, self.white).image).permute(1, 2, 0)

        return in_threads(read, files)

    def _wrong(self, error: OSError) -> UserError:
        line = str(error).partition("\n")[0]
        return UserError(f"dataset.folder: {self.folder} cannot be used ({line}); allowed: {LAYOUT}")


def _part_of(listing: Listing, looks: list[Look]) -> Part:
    import numpy as np

    return Part(
        np.array(listing.labels),
        [look.digest for look in looks],
        listing.files.__getitem__,
        [index for index, look in enumerate(looks) if look.plain],
        max(look.brightest for look in looks),
    )
