"""The compiled packages."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.compile import PIPELINES, compile_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packages")
    compile_all(path)
    return path


@pytest.fixture(params=sorted(PIPELINES))
def documents(request: pytest.FixtureRequest, folder: Path) -> list[dict[str, Any]]:
    """The package's two documents: the pipeline, and what is meant for Kubernetes."""
    found = list(yaml.safe_load_all((folder / f"{request.param}.yaml").read_text()))
    assert len(found) == 2
    return found


@pytest.fixture
def package(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


@pytest.fixture
def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each executor's pod is given beyond its container."""
    return documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
