"""Names to classes, built-in and from other packages."""

from importlib.metadata import entry_points

import pytest

from rlnas.errors import UserError
from rlnas.registry import resolve

TABLE = {"ordered": "collections:OrderedDict"}


@pytest.fixture
def plugin(install_plugin):
    install_plugin("class Mine:\n    pass\n", {"rlnas.spaces": {"mine": "Mine"}})


def test_built_in():
    from collections import OrderedDict

    assert resolve(TABLE, "ordered", "rlnas.spaces") is OrderedDict


def test_plugin(plugin):
    assert [entry.name for entry in entry_points(group="rlnas.spaces")] == ["mine"]
    assert resolve(TABLE, "mine", "rlnas.spaces").__name__ == "Mine"
    assert resolve({"mine": TABLE["ordered"]}, "mine", "rlnas.spaces").__name__ == "OrderedDict"  # built-in ones win
    with pytest.raises(UserError, match="unknown kind 'mine'; allowed: ordered"):
        resolve(TABLE, "mine", "rlnas.datasets")


@pytest.mark.parametrize("kind", ["other", None, 3, ["ordered"], {}])
def test_unknown(kind, plugin):
    with pytest.raises(UserError) as caught:
        resolve(TABLE, kind, "rlnas.spaces")
    assert str(caught.value) == f"unknown kind {kind!r}; allowed: mine, ordered"


@pytest.mark.parametrize("source", ["import nothing_of_that_name", "1 / 0", "class Other: pass"])
def test_a_plugin_that_cannot_be_imported_is_named(install_plugin, source):
    install_plugin(source, {"rlnas.spaces": {"mine": "Mine"}})
    with pytest.raises(UserError, match=r"'mine' cannot be imported from my_rlnas_plugin:Mine: \w+Error: "):
        resolve(TABLE, "mine", "rlnas.spaces")
