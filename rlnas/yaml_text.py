"""YAML that a person wrote: read as PyYAML does, but what would mean something else than it seems is refused.

A key that is there twice, of which the last would win; 010, which would be 8; 1:30, which would be 90.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from rlnas.errors import UserError

SPECIAL = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
"""Of the keys `<<` and `=`, which stand for themselves."""
INTEGER = "tag:yaml.org,2002:int"


def read_yaml(text: str | bytes) -> Any:
    """Return what a YAML (or JSON) document says; None for an empty one.

    Raises:
        UserError: it is not YAML; or at some depth a key is twice in one mapping, or a number is another than it seems.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(loader, node, "", set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except UserError:
        raise
    except Exception as error:  # the loader lets through what int(), datetime() and deep recursion raise
        raise UserError(f"not YAML: {' '.join(str(error).split())[:200]}") from None


def _check(loader: yaml.SafeLoader, node: yaml.Node, path: str, seen: set[int]) -> None:
    """Look at keys as they are written: what `<<` merges into a mapping may be overridden there."""
    if id(node) in seen:  # by an alias; it may even hold itself
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode) and node.tag == INTEGER and re.match(r"[-+]?0[_\d]|.*:", node.value):
        line, number = node.start_mark.line + 1, loader.construct_object(node)
        where = f"{path}: " if path else ""
        raise UserError(f"{where}{node.value}, in line {line}, is {number} in YAML; allowed: no leading 0, no colon")
    if isinstance(node, yaml.SequenceNode):
        for place, entry in enumerate(node.value):
            _check(loader, entry, f"{path}.{place}" if path else str(place), seen)
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
            _check(loader, value, inner, seen)
