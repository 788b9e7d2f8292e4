"""`rlnas export`: files, an InferenceService, or both."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from searches import make_spec, run

from rlnas.state import Bucket, StoreSettings


@pytest.fixture(scope="module")
def name(store_settings: StoreSettings) -> str:
    """A search whose winner is tested."""
    return run(store_settings, make_spec("cnn", finalize={})).name


@pytest.fixture
def bucket(store_settings: StoreSettings) -> Bucket:
    return Bucket(store_settings)


def test_a_model_is_exported_and_served(rlnas: Any, name: str) -> None:
    status, out, err = rlnas("export", name, "--kserve", "deep/serve it.yaml", "--storage-secret", "keys")
    assert (status, err) == (0, "")
    assert "InferenceService: deep/serve it.yaml; it needs the secret keys\n" in out
    assert "next: kubectl apply -f 'deep/serve it.yaml'  (serves the model)" in out
    document = yaml.safe_load(Path("deep/serve it.yaml").read_text())
    assert document["metadata"]["annotations"]["serving.kserve.io/storageSecretName"] == "keys"
    assert not Path("model").exists()
    status, out, _ = rlnas("export", name, "--to", "model", "--kserve", "serve.yaml")
    assert status == 0
    assert Path("model/model.onnx").exists()
    assert "exported: README.md, architecture.json, model.onnx" in out
    assert yaml.safe_load(Path("serve.yaml").read_text())["metadata"]["annotations"].popitem()[1] == "rlnas-kserve"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to write; allowed: --to DIR, --kserve FILE, or both"),
        (("--to", "model", "--storage-secret", "keys"), "--storage-secret is what --kserve names; allowed: with"),
        (("--kserve", "x.yaml", "--storage-secret", "a/b"), "'a/b' cannot name a secret; allowed: "),
        (("--kserve", "/proc/no/x.yaml"), "/proc/no/x.yaml: cannot be written: "),
        (("9", "--kserve", "x.yaml"), "child: '9' is not a child; allowed: "),
    ],
)
def test_wrong_use_is_one_line(rlnas: Any, name: str, options: tuple[str, ...], said: str) -> None:
    status, out, err = rlnas("export", name, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"rlnas: {said}")
    assert not Path("x.yaml").exists()
