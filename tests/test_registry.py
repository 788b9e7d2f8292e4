"""Names to classes, built-in and from other packages."""

import sys
from importlib.metadata import entry_points

import pytest

from rlnas.errors import UserError
from rlnas.registry import resolve

TABLE = {"ordered": "collections:OrderedDict"}


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A package that is installed as pip would: a module, and metadata with an entry point."""
    (tmp_path / "my_rlnas_plugin.py").write_text("class Mine:\n    pass\n")
    metadata = tmp_path / "my_rlnas_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-rlnas-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[rlnas.spaces]\nmine = my_rlnas_plugin:Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_rlnas_plugin", None)


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
