"""Names to classes: the built-in rooms, and those of other packages through entry points.

A new space, dataset or child trainer is one new file and one line in its room's table; a user's own comes from
their own package through an entry-point group such as `rlnas.spaces` or `rlnas.datasets`.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from rlnas.errors import UserError


def resolve(table: Mapping[str, str], kind: object, group: str) -> Any:
    """Return the class registered as `kind`, importing its module only now.

    Args:
        table: kind -> `module:attribute` of the built-in ones.
        kind: the name, as written in a spec.
        group: the entry-point group to look into as well.

    Raises:
        UserError: nothing is registered under that name.
    """
    if isinstance(kind, str) and kind in table:
        module, _, attribute = table[kind].partition(":")
        return getattr(import_module(module), attribute)
    plugins = {entry.name: entry for entry in entry_points(group=group)}
    if isinstance(kind, str) and kind in plugins:
        return plugins[kind].load()
    allowed = ", ".join(sorted({*table, *plugins}))
    raise UserError(f"unknown kind {kind!r}; allowed: {allowed}")
