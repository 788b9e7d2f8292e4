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
        UserError: nothing is registered under that name, or it cannot be imported.
    """
    if isinstance(kind, str) and kind in table:
        module, _, attribute = table[kind].partition(":")
        return getattr(import_module(module), attribute)
    plugins = {entry.name: entry for entry in entry_points(group=group)}
    if isinstance(kind, str) and kind in plugins:
        try:
            return plugins[kind].load()
        except Exception as error:  # whatever another package raises while it is imported
            what = f"{type(error).__name__}: {error}"
            raise UserError(f"{kind!r} cannot be imported from {plugins[kind].value}: {what}") from error
    raise UserError(f"unknown kind {kind!r}; allowed: {', '.join(kinds(table, group))}")


def kinds(table: Mapping[str, str], group: str) -> list[str]:
    """Return every name that `resolve` knows."""
    return sorted({*table, *(entry.name for entry in entry_points(group=group))})
