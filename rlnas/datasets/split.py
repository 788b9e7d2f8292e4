"""How examples are divided: by a seed alone, so that every process and every machine divides them alike."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from rlnas.datasets.base import Images
from rlnas.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SplitSeed = Annotated[int, Field(ge=0, lt=2**32, description="the same seed draws the same split, everywhere")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Stratify = Annotated[
    bool,
    Field(
        description="each class has its share of every part; false: drawn from all images at random",
        json_schema_extra={"earlier": False},
    ),
]


def split(count: int, seed: int, *held_out: int) -> "list[np.ndarray]":
    """Draw disjoint index sets at random.

    Args:
        count: number of examples.
        seed: of the draw.
        held_out: sizes of the sets to draw; what they leave comes first.

    Returns:
        Sorted indices int64: the rest, then one array for each size. Together they are all of `range(count)`.

    Raises:
        UserError: a set, or the rest, would be empty.
    """
    import numpy as np

    sizes = _sizes(count, *held_out)
    return [np.sort(part) for part in np.split(_order(count, seed), np.cumsum(sizes)[:-1])]


def split_classes(labels: "np.ndarray", seed: int, *held_out: int) -> "list[np.ndarray]":
    """Draw disjoint index sets at random, each with its share of every class.

    A class with as many examples as there are sets is in all of them; for that a set may become larger than was asked.
    What is in the last set does not depend on the sizes of the others.

    Args:
        labels: of the examples, whole numbers from 0, [N].
        seed: of the draw.
        held_out: sizes of the sets to draw; what they leave comes first.

    Returns:
        Sorted indices int64, as `split` does.

    Raises:
        UserError: a set, or the rest, would be empty.
    """
    import numpy as np

    _sizes(len(labels), *held_out)
    _, labels = np.unique(labels, return_inverse=True)  # without holes, whatever the labels are
    order = _order(len(labels), seed)
    order = order[np.argsort(labels[order], kind="stable")]  # class after class, each in random order
    counts = np.bincount(labels)
    left = counts.copy()  # of each class
    part_of = np.zeros(len(labels), np.int64)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its class
    for part in range(len(held_out), 0, -1):
        taken = _shares(left, counts, held_out[part - 1], spare=part)
        end, left = left, left - taken
        part_of[(place >= np.repeat(left, counts)) & (place < np.repeat(end, counts))] = part
    parts = [np.sort(order[part_of == part]) for part in range(len(held_out) + 1)]
    _sizes(len(labels), *(len(part) for part in parts[1:]))
    return parts


def divide(labels: "np.ndarray", stratify: bool, seed: int, *held_out: int) -> "list[np.ndarray]":
    """Draw as `split_classes` or as `split` does, as a spec's field says."""
    return split_classes(labels, seed, *held_out) if stratify else split(len(labels), seed, *held_out)


def _sizes(count: int, *held_out: int) -> tuple[int, ...]:
    sizes = (count - sum(held_out), *held_out)
    if min(sizes) < 1:
        parts = " + ".join(str(size) for size in sizes)
        raise UserError(f"dataset: {count} examples would be split into {parts}; allowed: at least 1 in every part")
    return sizes


def _order(count: int, seed: int) -> "np.ndarray":
    import numpy as np

    # RandomState, because numpy promises that its stream never changes; that of default_rng may, between versions.
    return np.random.RandomState(seed).permutation(count).astype(np.int64)


def _shares(left: "np.ndarray", counts: "np.ndarray", size: int, spare: int) -> "np.ndarray":
    """Say how many of each class a set of `size` takes, in proportion to `counts`, in whole numbers throughout.

    Of each class at least one, and `spare` are left for the sets that come after it, if there are so many.
    """
    import numpy as np

    exact = counts.astype(np.int64) * size
    share, rest = exact // counts.sum(), exact % counts.sum()
    share[np.argsort(-rest, kind="stable")[: size - share.sum()]] += 1
    most = np.maximum(left - spare, 0)
    return np.clip(share, np.minimum(1, most), most)


def take(pixels: "np.ndarray", labels: "np.ndarray", indices: "np.ndarray") -> Images:
    """Copy the images (uint8 [N, height, width, channels]) and labels at `indices` into tensors."""
    import torch

    return Images(torch.from_numpy(pixels[indices]), torch.from_numpy(labels[indices].astype("int64")))
