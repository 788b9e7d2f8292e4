"""A child's training loop against an ordinary one: images a second alone, and what two cores gain two children.

The ordinary loop is a torchvision dataset with its usual transforms, a `DataLoader`, the same network and batch, SGD
with Nesterov momentum, and nothing else. It gets the number of loader workers, and for two children the number of
threads, that serve it best here.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import VisionDataset

from benchmarks.rnn import NO_AMX
from rlnas.children.cnn import build_cnn
from rlnas.children.heap import keep_freed_memory
from rlnas.children.images import ImageRun, ImageTrainer, PreparedImages
from rlnas.children.precision import chosen, has_amx
from rlnas.children.recipes import CNNRecipe
from rlnas.children.training import CHECK_EVERY
from rlnas.datasets import Images
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture, Layer

SHAPE = DataShape("images", classes=10, height=32, width=32, channels=3)
RECIPE = CNNRecipe(batch=64)


def _layer(side: int, filters: int, *inputs: int) -> Layer:
    return Layer(filter_height=side, filter_width=side, filters=filters, inputs=inputs)


ARCHITECTURE = CNNArchitecture(
    layers=(
        _layer(3, 36),
        _layer(3, 48, 0),
        _layer(5, 36, 0, 1),
        _layer(3, 48, 2),
        _layer(5, 36, 1, 3),
        _layer(3, 64, 2, 4),
    ),
    pool_after=(1, 3),
)
"""Six layers with skip connections and two pools: mid-sized for the space's first depth."""


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return 5,000 images of CIFAR-10, or as many of noise: uint8 [N, 32, 32, 3] and labels [N]."""
    path = Path(os.environ.get("RLNAS_DATA", "../shared/data"), "cifar10/cifar10-subset.npz")
    if path.exists():
        with np.load(path) as arrays:
            return arrays["train_images"][:5000], arrays["train_labels"][:5000].astype(np.int64)
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(5000, 32, 32, 3), dtype=np.uint8), rng.integers(10, size=5000)


class ArrayImages(VisionDataset):
    """As torchvision's CIFAR10 serves them: a PIL image, transformed."""

    def __init__(self, transform: Callable) -> None:
        super().__init__("", transform=transform)
        self.images, self.labels = data()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def ours(precision: str, device: str = "cpu", batch: int = RECIPE.batch) -> Iterator[None]:
    """Train a child our way, in a process set up as a worker's is; yields after every step."""
    recipe = RECIPE.model_copy(update={"batch": batch})
    keep_freed_memory()
    pixels, labels = map(torch.from_numpy, data())
    model = ImageTrainer(recipe, SHAPE, device)._build(ARCHITECTURE).train()
    images = PreparedImages(Images(pixels, labels), recipe, device)
    run = ImageRun(model, images, recipe, 0.1, SHAPE.classes, 0, precision)
    epoch = 0
    while True:
        run.start_epoch(epoch)
        for step in range(run.steps):
            loss = run.step(step)
            if step % CHECK_EVERY[device] == 0:
                loss.item()
            yield
        epoch += 1


def ordinary(workers: int) -> Iterator[None]:
    """Train the same child the ordinary way; yields after every step."""
    side = SHAPE.height + (RECIPE.upsample_by or 0)
    transform = transforms.Compose(
        [
            transforms.Resize(side),
            transforms.RandomCrop(SHAPE.height),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
        ]
    )
    loader: DataLoader = DataLoader(
        ArrayImages(transform), RECIPE.batch, shuffle=True, drop_last=True, num_workers=workers
    )
    model = build_cnn(ARCHITECTURE, SHAPE).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    while True:
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            yield


class Child:
    """A child in a process of its own, which trains when it is told to.

    Args:
        threads: of torch.
        workers: of the ordinary loop's loader; None: our loop.
        precision, device, batch: of our loop.
    """

    def __init__(
        self,
        threads: int,
        workers: int | None = None,
        precision: str = "float32",
        device: str = "cpu",
        batch: int = RECIPE.batch,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(threads, workers, precision, device, batch, theirs))
        self.process.start()

    def wait(self) -> float:
        """Return what the child answered: 0 when it is ready, then images a second."""
        return self.pipe.recv()

    def close(self) -> None:
        """End the process."""
        self.pipe.send(0)
        self.process.join()


def _serve(threads: int, workers: int | None, precision: str, device: str, batch: int, pipe: Connection) -> None:
    torch.set_num_threads(threads)
    steps = ours(precision, device, batch) if workers is None else ordinary(workers)
    next(steps)
    pipe.send(0.0)
    while seconds := pipe.recv():
        next(steps)  # what the loader prepared while it waited does not count
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            next(steps)
            done += 1
        if device != "cpu":
            torch.cuda.synchronize()
        pipe.send(done * batch / (time.perf_counter() - start))


def images_a_second(children: list[Child], seconds: float) -> float:
    """Let the children train side by side, for so many seconds of whole steps."""
    for child in children:
        child.pipe.send(seconds)
    return sum(child.wait() for child in children)


def compare(mine: list[Child], others: dict[str, list[Child]], windows: int, seconds: float) -> tuple[str, list[float]]:
    """Return which of the others is the fastest, and how many times as fast mine are in each window beside it."""
    everyone = [*mine, *chain(*others.values())]
    try:
        for child in everyone:
            child.wait()
        best = max(others, key=lambda name: images_a_second(others[name], seconds))
        ratios = []
        for _ in range(windows):
            ordinary_rate = images_a_second(others[best], seconds)
            ratios.append(images_a_second(mine, seconds) / ordinary_rate)
        return best, ratios
    finally:
        for child in everyone:
            child.close()


def measure() -> list[dict]:
    """Return the figures: name, value, unit, goal and whether it is met."""
    cores = os.cpu_count() or 1
    figures = []
    for precision, goal in (("float32", 1.4), ("auto", 4.0)):
        name = f"one child on all cores, {precision}"
        if precision == "auto" and not has_amx():
            figures.append({"name": f"CNN training, {name}", "value": None, "unit": NO_AMX, "goal": None, "met": True})
            continue
        loaders = {f"{workers} loader workers": [Child(cores, workers)] for workers in (0, 1)}
        best, ratios = compare([Child(cores, precision=chosen(precision, "cpu"))], loaders, windows=4, seconds=1.5)
        figures.append(_figure(f"{name}, against {best} in float32", ratios, goal))
    # Two children on two cores: ours one thread each, as a search packs them.
    pairs = {
        "no loader workers, 1 thread": [Child(1, 0) for _ in range(2)],
        "torch's own number of threads": [Child(cores, 0) for _ in range(2)],
    }
    best, ratios = compare([Child(1) for _ in range(2)], pairs, windows=3, seconds=2)
    figures.append(_figure(f"two children side by side, against {best}", ratios, goal=None))
    return figures


def _figure(name: str, ratios: list[float], goal: float | None) -> dict:
    value = statistics.median(ratios)
    return {
        "name": f"CNN training, {name}",
        "value": value,
        "unit": "times the images/s of torchvision + DataLoader",
        "goal": goal,
        "met": goal is None or value >= goal,
    }


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure['name']}: {figure['value']:.2f} {figure['unit']} (goal {figure['goal']})")
