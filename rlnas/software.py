"""The versions of the software that decides a model's numbers."""

import platform
from functools import cache
from importlib.metadata import version

PACKAGES = ("rlnas", "torch", "onnx", "numpy")


def versions() -> dict[str, str]:
    """Return those of Python and of the packages, by name."""
    return {"python": platform.python_version()} | {package: _version(package) for package in PACKAGES}


_version = cache(version)
