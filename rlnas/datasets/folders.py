"""Which files of a folder are images of which class, and which are left out, and why."""

import os
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of the files that are read: those of torchvision's `ImageFolder`."""


@dataclass(frozen=True)
class Listing:
    """The images of a part.

    Args:
        files: paths, in the order of torchvision's `ImageFolder`, which decides the split.
        labels: of the files; a label is a class's place among the classes.
        skipped: reason -> how many, and one of them, below the part.
    """

    files: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    skipped: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def left_out(self) -> str:
        """What was skipped, in words; empty if nothing was."""
        return "; ".join(f"{reason}: {count:,} (such as {one})" for reason, (count, one) in self.skipped.items())

    def skip(self, reason: str, path: str) -> None:
        """Count one that is left out."""
        count, example = self.skipped.get(reason, (0, path))
        self.skipped[reason] = count + 1, example


def list_classes(folder: Path) -> list[str]:
    """Return the names of the class folders, sorted as torchvision does: by their characters.

    Raises:
        OSError: there is no such folder, or none in it.
    """
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not _hidden(entry.name))
    if not classes:
        raise FileNotFoundError(f"no class folder in {folder}")
    return classes


def list_images(folder: Path, classes: list[str]) -> Listing:
    """List the images of all classes, in their folders and the folders below them; links are followed.

    Raises:
        OSError: a folder cannot be read.
    """
    listing = Listing()
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.is_dir():
            listing.skip("hidden files" if _hidden(entry.name) else "files outside a class folder", entry.name)
        elif _hidden(entry.name):
            listing.skip("hidden folders", entry.name)
    for label, name in enumerate(classes):
        _list_class(folder, name, label, listing)
    return listing


def _list_class(folder: Path, name: str, label: int, listing: Listing) -> None:
    def stop(error: OSError) -> None:
        raise error

    below = []
    above: dict[str, frozenset[str]] = {}  # folder -> itself and those above it, as they are without links
    for root, folders, names in os.walk(folder / name, followlinks=True, onerror=stop):
        real = os.path.realpath(root)
        known = above.get(os.path.dirname(root), frozenset(os.path.realpath(path) for path in (folder, folder.parent)))
        if real in known:  # it would be walked through again and again
            listing.skip("links to a folder above", os.path.relpath(root, folder))
            folders[:] = []
            continue
        above[root] = known | {real}
        for hidden in filter(_hidden, folders):
            listing.skip("hidden folders", os.path.relpath(os.path.join(root, hidden), folder))
        folders[:] = [inner for inner in folders if not _hidden(inner)]
        below.append((root, names))
    for root, names in sorted(below):
        for file in sorted(names):
            path = os.path.join(root, file)
            if _hidden(file):
                listing.skip("hidden files", os.path.relpath(path, folder))
            elif file.lower().endswith(SUFFIXES) and os.path.exists(path) and not os.path.isfile(path):
                listing.skip("pipes, sockets and devices", os.path.relpath(path, folder))  # reading may never end
            elif file.lower().endswith(SUFFIXES):
                listing.files.append(path)
                listing.labels.append(label)
            else:
                suffix = os.path.splitext(file)[1].lower()
                listing.skip(f"{suffix} files" if suffix else "files without a suffix", os.path.relpath(path, folder))


def _hidden(name: str) -> bool:
    """What editors, notebooks and other systems leave behind: .ipynb_checkpoints, ._cat.png, __MACOSX."""
    return name.startswith(".") or name == "__MACOSX"
