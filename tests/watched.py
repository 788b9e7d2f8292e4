"""A dataset of a test's own: digits, and a folder of files whose content is the fingerprint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from searches import make_spec

from rlnas.spec import SearchSpec, parse_spec

PLUGIN = """
import hashlib
from pathlib import Path
from typing import ClassVar, Literal

from rlnas.datasets import Survey
from rlnas.datasets.digits import Digits
from rlnas.errors import UserError


class Watched(Digits):
    kind: Literal["watched"] = "watched"
    location: ClassVar = ("folder",)
    folder: str

    def _files(self):
        files = {str(path.relative_to(self.folder)): path for path in sorted(Path(self.folder).rglob("*.txt"))}
        if not any(name.startswith("test/") for name in files):
            raise UserError(f"dataset.folder: {self.folder}/test is empty; allowed: a file")
        return files

    def fingerprint(self, open_file):
        files = self._files()
        if "train/unknown.txt" in files:
            return {}
        return {name: hashlib.md5(path.read_bytes()).hexdigest() for name, path in files.items()}

    def survey(self, open_file):
        return Survey((f"{len(self._files())} files",), ("the smallest class has 1 image",))

    def class_names(self, open_file):
        return [f"digit {i}" for i in range(10)]
"""


def install(install_plugin: Callable[..., None]) -> None:
    """Install the dataset, for this process and those that it starts."""
    install_plugin(PLUGIN, {"rlnas.datasets": {"watched": "Watched"}})


def make_folder(folder: Path) -> Path:
    """Write the folder of a dataset."""
    for name in ("train/cat", "train/dog", "test/cat"):
        (folder / name).with_suffix(".txt").parent.mkdir(parents=True, exist_ok=True)
        (folder / name).with_suffix(".txt").write_text(name)
    return folder


def watched_spec(folder: Path, **sections: Any) -> SearchSpec:
    """A search on it, under a name of its own; a copy of a spec stays the same search at another place."""
    document = make_spec("cnn", **sections).model_dump(mode="json")
    fractions = {"validation_fraction": 0.1, "test_fraction": 0.6}
    name = f"watched-{uuid4().hex[:8]}"
    return parse_spec(document | {"name": name, "dataset": {"kind": "watched", "folder": str(folder)} | fractions})


def moved(spec: SearchSpec, folder: Path, **changes: Any) -> SearchSpec:
    """The same search with its data elsewhere."""
    document = spec.model_dump(mode="json")
    document["dataset"]["folder"] = str(folder)
    return parse_spec(document | changes)
