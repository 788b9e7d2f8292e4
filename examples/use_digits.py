"""Use the model that the digits search exported, and test it: python examples/use_digits.py FOLDER

Needs numpy, onnxruntime and scikit-learn (the images come with it); neither torch nor rlnas.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime sends some by default, from its import on
import onnxruntime
from sklearn.datasets import load_digits

# What examples/digits.yaml leaves at its defaults: test_fraction and split_seed of the dataset; and stratify, true.
TEST_FRACTION, SPLIT_SEED = 0.2, 0


def test_images() -> tuple[np.ndarray, np.ndarray]:
    """Draw the test images as rlnas does; return pixels uint8 [N, 8, 8, 1] and labels [N]."""
    digits = load_digits()
    count = len(digits.target)
    size = round(count * TEST_FRACTION)
    order = np.random.RandomState(SPLIT_SEED).permutation(count)
    order = order[np.argsort(digits.target[order], kind="stable")]  # class after class, each in random order
    images_of = np.bincount(digits.target)
    share, rest = np.divmod(images_of * size, count)  # of each class for the test, in proportion
    share[np.argsort(-rest, kind="stable")[: size - share.sum()]] += 1
    ends = np.cumsum(images_of)
    test = np.sort(np.concatenate([order[end - taken : end] for end, taken in zip(ends, share, strict=True)]))
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)
    return pixels[test, :, :, None], digits.target[test]


session = onnxruntime.InferenceSession(Path(sys.argv[1]) / "model.onnx")
known = session.get_modelmeta().custom_metadata_map
if "class_names" not in known:
    sys.exit("an earlier version of rlnas exported this model; its search drew other test images, so these say nothing")
names = json.loads(known["class_names"])  # in the order of the logits
pixels, labels = test_images()
(logits,) = session.run(["logits"], {"pixels": pixels})
found = logits.argmax(axis=1)
print(f"test accuracy {np.mean(found == labels):.4f} of {len(labels)} images")
print(f"read from the first ten images: {' '.join(names[label] for label in found[:10])}")
