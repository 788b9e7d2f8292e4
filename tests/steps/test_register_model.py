"""An exported winner is made known to a model registry: once, whatever fails on the way, and without its secrets."""

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import searches
from model_registry_stand_in import ModelRegistry, running
from searches import make_spec

from rlnas import steps
from rlnas.errors import UserError
from rlnas.report import card_of
from rlnas.state import Ledger, StoreSettings


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelRegistry]:
    """A registry that the environment names, and the token of a service account."""
    token = tmp_path / "token"
    token.write_text("a-secret-token")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    with running() as started:
        monkeypatch.setenv("RLNAS_MODEL_REGISTRY", started.address)
        yield started


@pytest.fixture(scope="module")
def ledger(store_settings: StoreSettings) -> Ledger:
    """A search whose winner is tested and exported."""
    ledger = searches.run(store_settings, make_spec("cnn", finalize={}))
    steps.export_model(ledger, card_of)
    return ledger


def test_nothing_is_told_and_no_client_needed_where_no_registry_is_configured(ledger, monkeypatch):
    monkeypatch.delenv("RLNAS_MODEL_REGISTRY", raising=False)
    monkeypatch.setitem(sys.modules, "model_registry", None)
    assert steps.register_model(ledger) == (
        "no model registry is configured, so none is told; RLNAS_MODEL_REGISTRY=URL names one"
    )


def test_a_model_is_registered_once_it_is_exported_and_only_once(bucket, registry):
    ledger = searches.run(bucket.settings, make_spec("cnn", finalize={}))
    assert steps.register_model(ledger) == ""
    assert not registry.kept["registered_models"]

    files, record = steps.export_model(ledger, card_of), ledger.final(0)
    said = [steps.register_model(ledger) for _ in range(2)]
    (model,), (version,), (artifact,) = registry.kept.values()
    assert said[0] == said[1]
    assert f"version {version['name']} of model {ledger.name} is registered at {registry.address}" in said[0]
    assert (model["name"], version["registeredModelId"], artifact["parent"]) == (ledger.name, model["id"], "1")
    assert version["name"].startswith(f"{record.winner}-")
    facts = {name: list(value.values()) for name, value in version["customProperties"].items()}
    assert record.models[0].test["accuracy"] in facts["test_accuracy"]
    assert ledger.name in facts["search"]
    assert (artifact["modelFormatName"], artifact["modelFormatVersion"]) == ("onnx", "1")
    assert registry.tokens == {"Bearer a-secret-token"}

    address, settings = urlsplit(artifact["uri"]), ledger.bucket.settings
    assert (address.scheme, address.netloc) == ("s3", settings.bucket)
    assert parse_qs(address.query) == {"endpoint": [f"http://{settings.endpoint}"], "defaultRegion": [settings.region]}
    assert ledger.bucket.get(address.path.removeprefix("/")).data == files["model.onnx"]


def test_a_registration_that_was_cut_off_is_completed(ledger, registry):
    registry.refuse = {"artifacts": 500}
    with pytest.raises(UserError, match=r"model registry at .* cannot be used: 500 .*`rlnas register SEARCH` tries"):
        steps.register_model(ledger)
    assert len(registry.kept["model_versions"]) == 1
    registry.refuse = {}
    steps.register_model(ledger)
    assert [len(kept) for kept in registry.kept.values()] == [1, 1, 1]


def test_a_search_made_anew_under_its_name_adds_a_version(ledger, registry, bucket):
    steps.register_model(ledger)
    anew = Ledger(bucket, ledger.record.model_copy(update={"incarnation": "f" * 16}))
    for key in ledger.bucket.list_all(ledger.root):
        bucket.put(anew.root + key.removeprefix(ledger.root), ledger.bucket.get(key).data)
    steps.register_model(anew)
    assert [len(kept) for kept in registry.kept.values()] == [1, 2, 2]


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_one_line_without_the_token(ledger, registry, status):
    registry.refuse = {"registered_models": status}
    with pytest.raises(UserError, match=f"cannot be used: {status}") as refused:
        steps.register_model(ledger)
    assert "a-secret-token" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9", r"the model registry at http://127.0.0.1:9 cannot be used: .*Cannot connect"),
        ("registry:8080", "RLNAS_MODEL_REGISTRY: must be http:// or https://"),
        ("ftp://registry", "RLNAS_MODEL_REGISTRY: must be http:// or https://"),
        ("http://me:word@registry", "RLNAS_MODEL_REGISTRY: must be http:// or https://"),
        ("http://me:word@[registry", "RLNAS_MODEL_REGISTRY: must be http:// or https://"),
        ("http://[::1]:9", r"the model registry at http://\[::1\]:9 cannot be used: .*Cannot connect"),
        ("http://registry/api", "RLNAS_MODEL_REGISTRY: must be http:// or https://"),
    ],
)
def test_an_address_that_is_none_or_where_nobody_answers_is_one_line(ledger, registry, monkeypatch, address, said):
    monkeypatch.setenv("RLNAS_MODEL_REGISTRY", address)
    with pytest.raises(UserError, match=said) as refused:
        steps.register_model(ledger)
    assert "word" not in str(refused.value)


def test_a_missing_file_of_authorities_and_a_missing_client_are_one_line(ledger, registry, monkeypatch):
    monkeypatch.setenv("RLNAS_MODEL_REGISTRY_CA_FILE", "/nowhere/ca.pem")
    with pytest.raises(UserError, match=r"RLNAS_MODEL_REGISTRY_CA_FILE: '/nowhere/ca\.pem' is not a file"):
        steps.register_model(ledger)
    monkeypatch.delenv("RLNAS_MODEL_REGISTRY_CA_FILE")
    monkeypatch.setitem(sys.modules, "model_registry", None)
    with pytest.raises(UserError, match=r"needs the registry's client; pip install 'rlnas\[registry\]'"):
        steps.register_model(ledger)
