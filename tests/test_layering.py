"""Which room may know which: the architecture, held by the imports (those within functions and for types included)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A room is a module or package of rlnas, or a top-level package. Those of one line know nothing of the house.
LEAVES = {"errors", "orphans", "registry", "section", "seeds", "software", "tensors", "yaml_text"}
KNOWS: dict[str, set[str]] = {
    "errors": set(),
    "orphans": set(),
    "registry": {"errors"},
    "section": {"errors"},
    "seeds": set(),
    "software": set(),
    "tensors": set(),
    "yaml_text": {"errors"},
    # From here on every room may know the leaves as well; what stands to the right stands below.
    "adam": set(),
    "objective": set(),
    "spaces": set(),
    "datasets": {"spaces"},
    "controller": {"adam", "spaces"},
    "children": {"adam", "spaces", "datasets"},
    "warm_start": {"controller"},
    "spec": {"objective", "warm_start", "spaces", "datasets", "controller", "children"},
    "variants": {"controller", "spec"},
    "katib": {"spec"},
    "state": {"spaces", "datasets", "controller", "children", "spec"},
    "steps": {"spaces", "datasets", "controller", "children", "spec", "state"},
    # These look on from the side: no room above knows them.
    "report": {"objective", "spaces", "datasets", "controller", "children", "spec", "variants", "state"},
    "local": {"spec", "state", "steps", "report", "pipelines"},
    "cluster": {"steps"},
    "api": {"spaces", "spec", "state", "steps", "report", "local"},
    "cli": {
        "spaces",
        "datasets",
        "controller",
        "children",
        "spec",
        "variants",
        "katib",
        "state",
        "steps",
        "report",
        "local",
        "cluster",
        "pipelines",
    },
    # And these carry the steps to Kubeflow.
    "components": {"spec", "state", "steps", "report"},
    "pipelines": {"spec", "components"},
}

# Packages of others that only some may know.
RESERVED: dict[str, set[str]] = {
    "kfp": {"components", "pipelines", "cluster"},
    "kfp_server_api": {"cluster"},
    "kubernetes": {"cluster"},
    "minio": {"rlnas/state/answers.py", "rlnas/state/bucket.py"},
    "typer": {"cli"},
    "matplotlib": {"report"},
    "prometheus_client": {"report"},
    "mlflow": {"report"},
    "torch": {
        "adam",
        "datasets",
        "controller",
        "children",
        "state",
        "steps",
        "tensors",
    },  # a space describes; it builds nothing
}

FILES = sorted(
    path.relative_to(ROOT) for top in ("rlnas", "components", "pipelines") for path in (ROOT / top).rglob("*.py")
)


def room_of(parts: tuple[str, ...]) -> str:
    """`rlnas/spaces/cnn.py` is in spaces, `rlnas/spec.py` is spec, `components/finish.py` in components."""
    return Path(parts[1] if parts[0] == "rlnas" else parts[0]).stem


def imports(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Every imported name, as its parts: `from rlnas import steps` is ("rlnas", "steps")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            yield from ((*(node.module or "").split("."), alias.name) for alias in node.names)


def trespasses(file: Path, source: str) -> list[str]:
    """What a file imports and may not."""
    room, found = room_of(file.parts), []
    for name in imports(ast.parse(source)):
        if name[0] in ("rlnas", "components", "pipelines"):
            if name in (("rlnas",), ("rlnas", "__version__")):
                continue
            other = room_of(name)
            leaf = other in LEAVES and room not in LEAVES
            if other != room and other not in KNOWS[room] and not leaf:
                found.append(f"{file}: {room} may not know {other}")
        elif name[0] in RESERVED and not {room, str(file)} & RESERVED[name[0]]:
            found.append(f"{file}: {room} may not know {name[0]}")
    return found


@pytest.mark.parametrize("file", [f for f in FILES if f.parts != ("rlnas", "__init__.py")], ids=str)
def test_a_file_knows_only_what_its_room_may_know(file):
    assert room_of(file.parts) in KNOWS, f"{file}: a new room; say in KNOWS what it may know"
    assert not trespasses(file, (ROOT / file).read_text())


def test_the_package_itself_imports_only_its_interface_and_that_when_asked():
    tree = ast.parse((ROOT / "rlnas/__init__.py").read_text())
    assert set(imports(tree)) == {("typing", "Any"), ("rlnas", "api")}
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in at_once] == ["from typing import Any"]


def test_rooms_never_know_one_another_in_a_circle():
    below: set[str] = set(LEAVES)
    waiting = set(KNOWS) - below
    while ready := {room for room in waiting if KNOWS[room] <= below}:
        below |= ready
        waiting -= ready
    assert not waiting


def test_only_the_final_evaluation_opens_the_test_data():
    callers = {
        str(file)
        for file in FILES
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "open_test"
    }
    assert callers <= {"rlnas/steps/finalize.py"}


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("rlnas/spaces/new.py", "import torch", "spaces may not know torch"),
        ("rlnas/spaces/new.py", "from rlnas.datasets import Dataset", "spaces may not know datasets"),
        ("rlnas/controller/new.py", "def f():\n    from rlnas import state", "controller may not know state"),
        ("rlnas/children/new.py", "import rlnas.report.drawing", "children may not know report"),
        ("rlnas/errors.py", "from rlnas.seeds import derive_seed", "errors may not know seeds"),
        ("rlnas/steps/new.py", "from kfp import dsl", "steps may not know kfp"),
        ("rlnas/state/new.py", "from minio import Minio", "state may not know minio"),
        ("components/new.py", "from pipelines.search import search", "components may not know pipelines"),
        ("rlnas/state/bucket.py", "from minio import Minio", None),
        ("rlnas/spaces/new.py", "from rlnas.errors import UserError\nfrom rlnas.spaces.base import Space", None),
        ("components/new.py", "def f():\n    from rlnas import steps", None),
    ],
)
def test_the_rule_sees_what_it_should(file, source, expected):
    assert trespasses(Path(file), source) == ([f"{file}: {expected}"] if expected else [])
