"""The real store for every test that remembers something."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # heeded by onnxruntime when it is imported, which tests do, too
from proxy import FaultyProxy

from rlnas import cli
from rlnas.cli import common
from rlnas.state.bucket import Bucket
from rlnas.state.embedded import EmbeddedStore
from rlnas.state.settings import StoreSettings


@pytest.fixture
def watched_home(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment for a process that may leave nothing at home: onnxruntime's telemetry would.

    Nothing in it hinders the telemetry: neither a setting, nor a sign of a test or of continuous integration.
    """
    home = tmp_path / "home"
    home.mkdir()
    hindrances = ("ORT_", "CI", "GITHUB_", "TF_BUILD", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hindrances)}
    yield kept | {"HOME": str(home), "TMPDIR": str(home)}
    assert not [path for path in home.rglob("*") if path.is_file()]


# Files go whole to one of the processes: the longest first, lest one is left alone with them at the end.
LONGEST = (
    "pipelines/test_local.py",
    "test_cli.py",
    "pipelines/test_searchers.py",
    "cli/test_store.py",
    "state/test_conformance.py",
    "steps/test_every_searcher.py",
    "steps/test_interruptions.py",
    "steps/test_finalize.py",
    "steps/test_train_child.py",
    "pipelines/test_secrets.py",
    "report/test_page.py",
    "children/test_export.py",
    "steps/test_ask_tell.py",
    "state/test_history.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files."""
    order = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a package as pip would: `my_rlnas_plugin`, and metadata with entry points, group -> name -> class."""

    def install(source: str, entries: dict[str, dict[str, str]]) -> None:
        (tmp_path / "my_rlnas_plugin.py").write_text(source)
        metadata = tmp_path / "my_rlnas_plugin-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-rlnas-plugin\nVersion: 1.0\n")
        lines = [
            line
            for group, names in entries.items()
            for line in (f"[{group}]", *(f"{name} = my_rlnas_plugin:{value}" for name, value in names.items()))
        ]
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    sys.modules.pop("my_rlnas_plugin", None)


@pytest.fixture(scope="session")
def store_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSettings]:
    """A real server, for the whole session."""
    store = EmbeddedStore(tmp_path_factory.mktemp("store") / Path(".rlnas"))
    yield store.start()
    store.stop()


@pytest.fixture
def bucket(store_settings: StoreSettings) -> Iterator[Bucket]:
    """A bucket of the test's own."""
    bucket = Bucket(replace(store_settings, bucket=f"test-{uuid4().hex[:12]}"))
    bucket.ensure()
    bucket.put("warm", b"")  # SeaweedFS makes room for a bucket with its first object, which takes a while
    bucket.delete(["warm"])
    bucket.requests.clear()
    yield bucket
    bucket._client.remove_bucket(bucket.settings.bucket)  # else the server runs out of volumes: each bucket takes some


@pytest.fixture
def proxy(store_settings: StoreSettings) -> Iterator[FaultyProxy]:
    """A `FaultyProxy` before the real server; without faults until its attributes are set."""
    with FaultyProxy(store_settings.endpoint) as proxy:
        yield proxy


@pytest.fixture
def proxied(bucket: Bucket, proxy: FaultyProxy) -> Bucket:
    """The bucket of the test, as it is reached through `proxy`."""
    return Bucket(replace(bucket.settings, endpoint=proxy.endpoint), patience=1)


@pytest.fixture
def rlnas(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Run a command against the test's bucket; gives exit status, standard output and standard error."""
    for name, value in bucket.settings.to_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(common.console, "width", 120)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["rlnas", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run
