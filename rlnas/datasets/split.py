"""How examples are divided: by a seed alone, so that every process and every machine divides them alike."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from rlnas.datasets.base import Images
from rlnas.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SplitSeed = Annotated[int, Field(ge=0, lt=2**32, description="the same seed draws the same split, everywhere")]
Fraction = Annotated[float, Field(gt=0, lt=1)]


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

    sizes = (count - sum(held_out), *held_out)
    if min(sizes) < 1:
        parts = " + ".join(str(size) for size in sizes)
        raise UserError(f"dataset: {count} examples would be split into {parts}; allowed: at least 1 in every part")
    # RandomState, because numpy promises that its stream never changes; that of default_rng may, between versions.
    order = np.random.RandomState(seed).permutation(count).astype(np.int64)
    return [np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def take(pixels: "np.ndarray", labels: "np.ndarray", indices: "np.ndarray") -> Images:
    """Copy the images (uint8 [N, height, width, channels]) and labels at `indices` into tensors."""
    import torch

    return Images(torch.from_numpy(pixels[indices]), torch.from_numpy(labels[indices].astype("int64")))
