"""The store's keys are looked for in all that whole runs leave: what they say, artifacts, and the store itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kfp import local
from searches import make_spec

import components
from pipelines.search import search_pipeline
from rlnas.report import read_status
from rlnas.state import Bucket, StoreSettings, open_search

SPEC = make_spec("cnn", loop={"children": 2}).model_dump(mode="json", exclude_none=True)  # Kubeflow takes no None


class Run:
    """Runs of a pipeline or a component in one folder, and what was left by them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capfd, self._said = folder, monkeypatch, capfd, ""

    def __call__(self, what: Callable[..., Any], settings: StoreSettings, **arguments: Any) -> str:
        """Run it with these keys in the environment and return what was said, errors included."""
        for name, value in settings.to_environment().items():
            self._monkeypatch.setenv(name, value)
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(self.folder), enable_caching=False)
        error = ""
        try:
            what(search_name=SPEC["name"], **arguments)
        except RuntimeError as raised:
            error = repr(raised)
        self._said += error + "".join(self._capfd.readouterr())
        return self._said

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def left(self) -> bytes:
        """All that was said, and all files with their names."""
        files = [str(path).encode() + path.read_bytes() for path in self.files()]
        return b"\n".join([self._said.encode(), *files])


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], bucket: Bucket
) -> Iterator[Run]:
    yield Run(tmp_path, monkeypatch, capfd)
    for key in bucket.list_all(""):
        bucket.delete([key])


@pytest.mark.filterwarnings("ignore:.*no effect in the current local runner", "ignore:.*DockerRunner")
def test_the_keys_are_in_nothing_that_runs_leave(run: Run, bucket: Bucket) -> None:
    run(search_pipeline, bucket.settings, search_spec=SPEC)
    assert read_status(open_search(bucket, SPEC["name"])).complete
    assert b"reward 000000-000" in run.left(), "metrics were looked at"

    wrong = replace(bucket.settings, secret_key="planted-secret-key", session_token="planted-session-token")
    assert "access denied" in run(components.plan_rounds, wrong, rounds_per_run=0, slot=0, placement="")

    objects = [bucket.get(key) for key in bucket.list_all("")]
    assert len(objects) > 10
    everything = run.left() + b"".join(item.data for item in objects if item is not None)
    for secret in (
        bucket.settings.access_key,
        bucket.settings.secret_key,
        "planted-secret-key",
        "planted-session-token",
    ):
        assert secret.encode() not in everything
