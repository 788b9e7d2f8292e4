"""rlnas: neural architecture search with reinforcement learning (Zoph & Le, ICLR 2017) on Kubeflow.

The Python interface is `rlnas.api`, whose names are here too; it is imported when first used, so that light things
stay light.
"""

from typing import Any

__all__ = ["Search", "open", "search"]  # noqa: F822 - by __getattr__


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'rlnas' has no attribute {name!r}")
    from rlnas import api

    return getattr(api, name)
