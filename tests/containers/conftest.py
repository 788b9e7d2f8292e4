"""The image, the network with its store, and the runner of all container tests."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import engine
from containers.engine import IMAGE, ROOT, Runner, podman

from rlnas.state import Bucket, StoreSettings


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    """What was measured, printed at the end."""
    found: dict[str, Any] = {}
    yield found
    print("\n\n" + "\n".join(f"{name:<28} {value}" for name, value in found.items()))


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, figures: dict[str, Any]) -> None:
    """The image, built from a base made on the spot."""
    engine.configure(tmp_path_factory.mktemp("podman"))
    figures["base image"] = f"{engine.make_base():.0f} s (0: left by an earlier run)"
    seconds, said = engine.build(ROOT, IMAGE)
    figures["image build"] = f"{seconds:.0f} s, {said.count('Using cache')} steps from the cache"
    size = int(podman("image", "inspect", "--format", "{{.Size}}", IMAGE))
    figures["image size"] = f"{size / 1e9:.2f} GB"
    layers = podman("history", "--format", "{{.Size}}", IMAGE).splitlines()
    figures["layers"] = ", ".join(layer for layer in layers if not layer.startswith("0 B"))


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, StoreSettings]]:
    """The network, and the store in it."""
    name = f"rlnas-{secrets.token_hex(4)}"
    keys = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
    folder = tmp_path_factory.mktemp("service")
    with engine.network(name), engine.store(name, f"{name}-store", *keys) as endpoint, engine.service(folder):
        found = StoreSettings(endpoint.removeprefix("http://"), *keys)
        Bucket(found, patience=60).ensure()
        yield name, found


@pytest.fixture
def runner(settings: tuple[str, StoreSettings], tmp_path: Path) -> Iterator[Runner]:
    """The runner; whatever ran, the keys are in no log, no artifact and nothing that is stored."""
    network, store = settings
    runner = Runner(network, store.to_environment(), tmp_path / "root")
    yield runner
    bucket = Bucket(store)
    found = [task.log.encode() for task in runner.tasks]
    found += [path.read_bytes() for path in runner.root.rglob("*") if path.is_file()]
    assert found
    found += [item.data for key in bucket.list_all("") if (item := bucket.get(key)) is not None]
    for data in found:
        assert store.secret_key.encode() not in data
        assert store.access_key.encode() not in data


@pytest.fixture
def bucket(settings: tuple[str, StoreSettings]) -> Bucket:
    return Bucket(settings[1])
