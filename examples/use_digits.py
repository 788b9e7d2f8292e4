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

# What examples/digits.yaml leaves at its defaults: validation_fraction, test_fraction and split_seed of the dataset.
HELD_OUT, SPLIT_SEED = 0.2, 0


def test_images() -> tuple[np.ndarray, np.ndarray]:
    """Draw the test images as rlnas does; return pixels uint8 [N, 8, 8, 1] and labels [N]."""
    digits = load_digits()
    size = round(len(digits.target) * HELD_OUT)
    test = np.sort(np.random.RandomState(SPLIT_SEED).permutation(len(digits.target))[-size:])
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)
    return pixels[test, :, :, None], digits.target[test]


session = onnxruntime.InferenceSession(Path(sys.argv[1]) / "model.onnx")
known = session.get_modelmeta().custom_metadata_map
names = json.loads(known.get("class_names", '"0123456789"'))  # in the order of the logits; older exports have none
pixels, labels = test_images()
(logits,) = session.run(["logits"], {"pixels": pixels})
found = logits.argmax(axis=1)
print(f"test accuracy {np.mean(found == labels):.4f} of {len(labels)} images")
print(f"read from the first ten images: {' '.join(names[label] for label in found[:10])}")
