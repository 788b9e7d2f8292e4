"""Every example from its first round to its test, on tiny data in the very format that it is written for."""

import itertools
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torchvision
import yaml
from PIL import Image
from searches import in_process, inline
from searches import run as run_steps

from rlnas.controller.moves import draw
from rlnas.datasets import DATASETS
from rlnas.spaces import DataShape
from rlnas.spec import SearchSpec, load_spec, parse_spec
from rlnas.state import Bucket, StoreSettings, open_search
from rlnas.steps import find_final

EXAMPLES = {path.stem: path for path in (Path(__file__).parents[2] / "examples").glob("*.yaml")}
SMALL = {
    "cnn": {
        "space": {"layers": 2, "filters": [2, 4], "filter_heights": [1, 3], "filter_widths": [1, 3]},
        "child": {"epochs": 1, "batch": 8, "snapshots": 1},
    },
    "rnn": {
        "space": {"base": 2, "activations": ["tanh", "sigmoid"]},  # bounded: none of the few diverges
        "child": {"epochs": 1, "batch": 4, "bptt": 5, "hidden": 8, "layers": 1, "learning_rate": 0.01},
    },
    "tabular": {},
}
MAKERS: dict[str, Callable[[Path], dict[str, Any]]] = {}
"""Dataset kind -> what writes its files into a folder, and gives the fields of the spec that name them."""


def maker(kind: str) -> Callable[[Callable[[Path], dict[str, Any]]], None]:
    return lambda function: MAKERS.update({kind: function})


def images(count: int, *size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images of two classes, which take turns; those of the second are darker."""
    labels = np.arange(count) % 2
    pixels = np.random.default_rng(count).integers(0, 256, (count, *size), np.uint8)
    return pixels // (1 + labels.reshape(-1, *(1,) * len(size))).astype(np.uint8), labels


def story(lines: int) -> str:
    words = "the cat sat on the mat and the dog ate the bone while a bird sang to the moon"
    return "".join(words[line % 9 :] + "\n" for line in range(lines))


@maker("digits")
def _(folder: Path) -> dict[str, Any]:
    return {"validation_fraction": 0.05, "test_fraction": 0.9}


@maker("cifar10")
def _(folder: Path) -> dict[str, Any]:
    batches = folder / "cifar-10-batches-py"
    batches.mkdir()
    for name, count in {**{f"data_batch_{i}": 8 for i in range(1, 6)}, "test_batch": 8}.items():
        pixels, labels = images(count, 3, 32, 32)
        (batches / name).write_bytes(pickle.dumps({"data": pixels.reshape(count, -1), "labels": labels.tolist()}))
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {i}" for i in range(10)]}))
    return {"folder": str(folder), "validation_images": 12}


@maker("npz")
def _(folder: Path) -> dict[str, Any]:
    parts = {
        f"{part}_{name}": array
        for part, count in (("train", 40), ("test", 8))
        for name, array in zip(("images", "labels"), images(count, 8, 8), strict=True)
    }
    np.savez(folder / "data.npz", **parts)
    return {"path": str(folder / "data.npz"), "validation_fraction": 0.3}


@maker("image_folder")
def _(folder: Path) -> dict[str, Any]:
    for part, count in (("train", 40), ("test", 8)):
        for number, (pixels, label) in enumerate(zip(*images(count, 12, 10, 3), strict=True)):
            path = folder / part / ("cat", "dog")[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return {"folder": str(folder), "size": 8, "validation_fraction": 0.3}


@maker("ptb")
def _(folder: Path) -> dict[str, Any]:
    for part, lines in (("train", 40), ("valid", 10), ("test", 10)):
        (folder / f"ptb.{part}.txt").write_text(story(lines))
    return {"folder": str(folder)}


@maker("text")
def _(folder: Path) -> dict[str, Any]:
    for part, lines in (("train", 40), ("validation", 10), ("test", 10)):
        (folder / f"{part}.txt").write_text(story(lines))
    return {f"{part}_file": str(folder / f"{part}.txt") for part in ("train", "validation", "test")}


@maker("python_docs")
def _(folder: Path) -> dict[str, Any]:
    return {}


@maker("table")
def _(folder: Path) -> dict[str, Any]:
    spec = load_spec(EXAMPLES["table"])
    names = spec.dataset.operations  # type: ignore[attr-defined]
    rows = (
        f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|,{number % 97},{number % 89}"
        for number, (a, b, c, d, e, f) in enumerate(itertools.product(names, repeat=6))
    )
    (folder / "table.csv").write_text("\n".join(["arch,validation,test", *rows]) + "\n")
    return {"path": str(folder / "table.csv")}


def cut_down(name: str, folder: Path) -> SearchSpec:
    """An example as a search of seconds: four small children, and of each list in its grid the first value."""
    document = yaml.safe_load(EXAMPLES[name].read_text())
    document["name"] = f"example-{uuid4().hex[:8]}"
    document["dataset"] |= MAKERS[document["dataset"]["kind"]](folder)
    document["loop"] |= {"children": 4, "children_per_round": 2, "children_per_batch": 2}
    for section, fields in SMALL[document["space"]["kind"]].items():
        document[section] = document.get(section, {}) | fields
    if final := document.get("finalize"):
        final["grid"] = {field: values[:1] for field, values in final.get("grid", {}).items()}
        final["retrain"] = {"epochs": 2}
    return parse_spec(document, name)


def run_inline(settings: StoreSettings, spec: SearchSpec) -> None:
    inline()
    run_steps(settings, spec)


@pytest.fixture(autouse=True)
def _little_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sections of Python's reference; and so few images are not CIFAR-10: nobody must compare checksums."""
    monkeypatch.setattr("pydoc_data.topics.topics", dict(list(topics.items())[:4]))
    cifar10 = torchvision.datasets.CIFAR10
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(cifar10, part, [(name, None) for name, _ in getattr(cifar10, part)])
    monkeypatch.setattr(cifar10, "meta", cifar10.meta | {"md5": None})


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_runs_from_its_first_round_to_its_test(name: str, bucket: Bucket, tmp_path: Path) -> None:
    spec = cut_down(name, tmp_path)
    assert in_process(run_inline, bucket.settings, spec) == 0
    ledger = open_search(bucket, spec.name)
    version = ledger.version()
    assert (version.children, version.failed) == (4, 0)
    if spec.final is not None:
        final = find_final(ledger)
        assert final is not None
        assert final.record is not None
        assert [model.reference for model in final.record.models] == ["", *spec.final.references]
        assert all(model.test for model in final.record.models), [model.reason for model in final.record.models]


def test_every_kind_of_data_has_an_example() -> None:
    assert {load_spec(path).dataset.kind for path in EXAMPLES.values()} == set(DATASETS) == set(MAKERS)


def test_about_a_third_of_the_networks_are_within_the_limit_of_the_small_digits() -> None:
    spec = load_spec(EXAMPLES["digits-small"])
    decisions, generator = spec.space.decisions(0), random.Random(0)
    sizes = [
        spec.space.features(draw(decisions, generator)[0], DataShape("images", 10, 8, 8, 1)).sizes for _ in range(1000)
    ]
    assert 0.28 < sum(not spec.objective.excess(size) for size in sizes) / 1000 < 0.39
