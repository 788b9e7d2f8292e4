"""YAML that a person wrote: read as PyYAML does, but what is there twice is refused instead of the last one winning."""

from collections.abc import Hashable
from typing import Any

import yaml

from rlnas.errors import UserError

SPECIAL = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
"""Of the keys `<<` and `=`, which stand for themselves."""


def read_yaml(text: str | bytes) -> Any:
    """Return what a YAML (or JSON) document says; None for an empty one.

    Raises:
        UserError: it is not YAML, or a key is twice in one mapping, at any depth.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_keys(loader, node, "", set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except UserError:
        raise
    except Exception as error:  # the loader lets through what int(), datetime() and deep recursion raise
        raise UserError(f"not YAML: {' '.join(str(error).split())[:200]}") from None


def _check_keys(loader: yaml.SafeLoader, node: yaml.Node, path: str, seen: set[int]) -> None:
    """Look at keys as they are written: what `<<` merges into a mapping may be overridden there."""
    if id(node) in seen:  # by an alias; it may even hold itself
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for place, entry in enumerate(node.value):
            _check_keys(loader, entry, f"{path}.{place}" if path else str(place), seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[Hashable, int] = {}
        for key, value in node.value:
            inner = f"{path}.{key.value}" if path else str(key.value)
            if isinstance(key, yaml.ScalarNode):
                line, special = key.start_mark.line + 1, key.tag in SPECIAL
                known = key.value if special else loader.construct_object(key)
                if known in lines:
                    raise UserError(f"{inner} is there twice, in line {lines[known]} and in line {line}; allowed: once")
                lines[known] = line
            _check_keys(loader, value, inner, seen)
