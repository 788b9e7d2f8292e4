"""What a search will see of images or texts, as lines for a person: facts, and what looks wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import TYPE_CHECKING

from rlnas.datasets.base import Survey
from rlnas.spaces import DataShape

if TYPE_CHECKING:
    import numpy as np

NAMED = 10  # so many classes are counted one by one
FEW = 10  # images of a class, of which an accuracy says little
DARK = 32  # of 255: what was meant for another range of values stays below


@dataclass(frozen=True)
class Part:
    """A part of labelled images, each image as its hash.

    Args:
        labels: int [N].
        digests: of the images.
        name: what a person calls the image at an index.
        plain: indices of images of one single colour.
        brightest: the largest value of all pixels.
        origin: where the part comes from, if that is not plain.
    """

    labels: "np.ndarray"
    digests: Sequence[object]
    name: Callable[[int], str]
    plain: Sequence[int]
    brightest: int
    origin: str = ""

    def at(self, indices: "np.ndarray", origin: str = "") -> "Part":
        """Return a part of this part."""
        import numpy as np

        return Part(
            self.labels[indices],
            [self.digests[index] for index in indices],
            lambda index: self.name(int(indices[index])),
            np.flatnonzero(np.isin(indices, self.plain)).tolist(),
            self.brightest,
            origin,
        )


def part_of(pixels: "np.ndarray", labels: "np.ndarray", name: str, origin: str = "") -> Part:
    """Look through images in memory.

    Args:
        pixels: uint8 [N, height, width, channels].
        labels: int [N].
        name: of the array, for the images' names.
        origin: where they come from.
    """
    import numpy as np

    flat = pixels.reshape(len(pixels), -1, pixels.shape[-1])
    plain = np.flatnonzero((flat.max(1) == flat.min(1)).all(1)).tolist()
    digests = [blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in flat]
    return Part(labels, digests, lambda index: f"{name}[{index}]", plain, int(pixels.max()), origin)


def survey_images(shape: DataShape, parts: Mapping[str, Part], names: Sequence[str] = ()) -> Survey:
    """Look at labelled images.

    Args:
        shape: of the data.
        parts: by name: train, validation, test.
        names: of the classes; empty: their labels.
    """
    import numpy as np

    names = names or [str(label) for label in range(shape.classes)]
    counts = {name: np.bincount(part.labels, minlength=shape.classes) for name, part in parts.items()}
    facts = [f"images: {shape.height}x{shape.width}, {_count(shape.channels, 'channel')}, {shape.classes} classes"]
    for name, part in parts.items():
        origin = f", {part.origin}" if part.origin else ""
        facts.append(f"{name}: {_count(len(part.labels), 'image')}{origin} ({_by_class(counts[name], names)})")
    warnings = [*_scarce(counts, names), *_pixels(parts)]
    twice = _twice(parts, names)
    return Survey(tuple(facts + ["no image is in two parts"] * (not twice)), tuple(warnings + twice))


def survey_texts(parts: Mapping[str, Sequence[str]], vocabulary: Mapping[str, int], end: str, unknown: str) -> Survey:
    """Look at texts.

    Args:
        parts: by name, each as words.
        vocabulary: of the training text.
        end: the word at the end of each line.
        unknown: the word that stands for those that are not in the vocabulary.
    """
    facts, warnings = [f"vocabulary: {_count(len(vocabulary), 'word')}, from the training text"], []
    lines = {name: _lines(words, end) for name, words in parts.items()}
    for name, words in parts.items():
        strange = sum(word not in vocabulary or word == unknown for word in words) / len(words)
        facts.append(f"{name}: {_count(len(words), 'token')}, {strange:.1%} of them {unknown}")
        if strange > 0.2:
            warnings.append(
                f"{strange:.0%} of the {name} text is {unknown}: little is left to foresee; a larger vocabulary_limit,"
                " a longer training text, or texts of one kind would help"
            )
        if len(words) - words.count(end) < 1.5 * sum(map(bool, lines[name])):
            warnings.append(
                f"the {name} text has hardly any spaces, so that each line is one word; put spaces between words (or"
                " between characters)"
            )
        if name != "train" and len(words) < 1000:
            warnings.append(f"the {name} text has only {_count(len(words), 'token')}: its score is much by chance")
    for first, second in combinations(parts, 2):
        known = {line for line in lines[first] if len(line) >= 5}
        long = [line for line in lines[second] if len(line) >= 5]
        if (shared := sum(line in known for line in long)) > 0.1 * len(long):
            warnings.append(
                f"{shared} of {len(long)} lines of at least 5 words in the {second} text are also in the {first} text:"
                " its score will be too good; keep each line in one part"
            )
    return Survey(tuple(facts), tuple(warnings))


def _by_class(counts: "np.ndarray", names: Sequence[str]) -> str:
    if len(names) <= NAMED:
        return ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    low, high = int(counts.argmin()), int(counts.argmax())
    if counts[low] == counts[high]:
        return f"{counts[low]:,} a class"
    return f"from {counts[low]:,} ({names[low]}) to {counts[high]:,} ({names[high]}) a class"


def _scarce(counts: "Mapping[str, np.ndarray]", names: Sequence[str]) -> list[str]:
    """Warn of classes with few images, or none."""
    import numpy as np

    learnt = counts["train"] + counts["validation"]
    lines = []
    missing = np.flatnonzero(learnt == 0)
    if missing.tolist() == [0]:
        lines.append("no training image has the label 0: where labels start at 1, subtract 1 from all")
    elif len(missing):
        lines.append(
            f"no training image is of {_some(missing, names, 'label')}: labels that leave holes make classes that are"
            " never right; number the classes from 0 (numpy.unique(labels, return_inverse=True)[1] does)"
        )
    few = np.flatnonzero((learnt > 0) & (learnt < FEW))
    if len(few):
        least = few[learnt[few].argmin()]
        lines.append(
            f"{_some(few, names)} {'has' if len(few) == 1 else 'have'} fewer than {FEW} training and validation images"
            f" (the smallest, {names[least]}, {learnt[least]}): scores are much by chance"
        )
    for part, says in (("validation", "rewards say"), ("test", "the final test says")):
        none = np.flatnonzero((counts[part] == 0) & (learnt > 0))
        if len(none):
            lines.append(f"no {part} image is of {_some(none, names)}: {says} nothing of it")
    return lines


def _pixels(parts: Mapping[str, Part]) -> list[str]:
    lines = []
    for name, part in parts.items():
        if count := len(part.plain):
            lines.append(
                f"{count} of {len(part.labels)} {name} images are of one single colour (such as"
                f" {part.name(part.plain[0])}): look at them"
            )
    brightest = max(part.brightest for part in parts.values())
    if 0 < brightest < DARK:
        lines.append(
            f"no pixel is above {brightest} of 255: nearly black. Values from 0 to 1 must be multiplied by 255; for 12"
            " bits in files of 16, set dataset.white: 4095"
        )
    return lines


def _twice(parts: Mapping[str, Part], names: Sequence[str]) -> list[str]:
    """Warn of images that are in two parts, or of two classes."""
    lines = []
    for first, second in combinations(parts, 2):
        place = {digest: index for index, digest in enumerate(parts[first].digests)}
        both = [index for index, digest in enumerate(parts[second].digests) if digest in place]
        if both:
            copy, other = parts[second].name(both[0]), parts[first].name(place[parts[second].digests[both[0]]])
            lines.append(
                f"{len(both)} of {len(parts[second].labels)} {second} images are also {first} images (such as {copy}"
                f" and {other}): scores will be too good; keep each image in one part"
            )
    seen: dict[object, tuple[int, str]] = {}
    split = []
    for part in parts.values():
        for index, (digest, label) in enumerate(zip(part.digests, part.labels.tolist(), strict=True)):
            known, name = seen.setdefault(digest, (label, part.name(index)))
            if known != label:
                split.append(f"{name} is {names[known]}, {part.name(index)} is {names[label]}")
    if split:
        lines.append(f"{_count(len(split), 'image')} of one class can be found in another, too (such as: {split[0]})")
    return lines


def _some(labels: "np.ndarray", names: Sequence[str], noun: str = "class") -> str:
    """Say which classes, in few words."""
    if len(labels) == 1:
        return f"{noun} {names[labels[0]]}"
    plural = "classes" if noun == "class" else f"{noun}s"
    return f"{len(labels)} {plural} (such as {names[labels[0]]})"


def _lines(words: Sequence[str], end: str) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    start = 0
    for place, word in enumerate(words):
        if word == end:
            lines.append(tuple(words[start:place]))
            start = place + 1
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
