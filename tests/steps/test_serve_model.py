"""An exported winner for KServe: the document is one of its kind, and Triton finds the model where it says."""

import jsonschema
import pytest
import searches
import yaml
from searches import make_spec

from rlnas import steps
from rlnas.errors import UserError
from rlnas.report import card_of
from rlnas.state import Ledger, StoreSettings, delete_search

QUANTITY = {"type": "string", "pattern": r"^[0-9]+(m|[KMG]i?)?$"}
RESOURCES = {"type": "object", "required": ["cpu", "memory"], "additionalProperties": QUANTITY}


def exactly(**properties: dict) -> dict:
    """A mapping with all of these keys and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


# What we use of serving.kserve.io/v1beta1, by hand: the whole schema of KServe has 2 MB. The rule for names is that of
# its webhook.
SCHEMA = exactly(
    apiVersion={"const": "serving.kserve.io/v1beta1"},
    kind={"const": "InferenceService"},
    metadata=exactly(
        name={"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
        annotations=exactly(**{"serving.kserve.io/storageSecretName": {"type": "string"}}),
    ),
    spec=exactly(
        predictor=exactly(
            model=exactly(
                modelFormat=exactly(name={"const": "onnx"}, version={"const": "1"}),
                protocolVersion={"const": "v2"},
                runtime={"const": "kserve-tritonserver"},
                storageUri={"type": "string", "pattern": "^s3://[^/?]+/[^?]+/$"},
                resources=exactly(requests=RESOURCES, limits=RESOURCES),
            )
        )
    ),
)


@pytest.fixture(scope="module")
def ledger(store_settings: StoreSettings) -> Ledger:
    """A search whose winner is tested and exported; its name begins with a digit."""
    ledger = searches.run(store_settings, make_spec("cnn", finalize={}).model_copy(update={"name": "2-layers"}))
    steps.export_model(ledger, card_of)
    return ledger


def test_it_is_an_inference_service_and_names_no_secret_but_by_its_name(ledger):
    text = steps.inference_service(ledger, secret="my-keys")
    document = yaml.safe_load(text)
    jsonschema.validate(document, SCHEMA)
    assert document["metadata"]["annotations"] == {"serving.kserve.io/storageSecretName": "my-keys"}
    for secret in (ledger.bucket.settings.access_key, ledger.bucket.settings.secret_key):
        assert secret not in text


def test_the_check_would_see_a_typing_error(ledger):
    document = yaml.safe_load(steps.inference_service(ledger))
    document["spec"]["predictor"]["model"]["storageURI"] = document["spec"]["predictor"]["model"].pop("storageUri")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_triton_finds_the_exported_model_below_its_address_under_the_name_of_the_service(ledger):
    documents = [yaml.safe_load(steps.inference_service(ledger)) for _ in range(2)]
    assert documents[0] == documents[1]
    bucket, _, prefix = documents[0]["spec"]["predictor"]["model"]["storageUri"].removeprefix("s3://").partition("/")
    assert bucket == ledger.bucket.settings.bucket
    (key,) = ledger.bucket.list_all(prefix)
    assert key.removeprefix(prefix) == f"{documents[0]['metadata']['name']}/1/model.onnx"
    winner = ledger.final(0).winner
    assert ledger.bucket.get(key) == ledger.bucket.get(ledger.model_key(winner, "model.onnx"))
    assert set(ledger.model_files(winner)) == set(steps.read_model(ledger, winner)), "it is no file of the export"


def test_memory_is_for_the_server_and_the_model(ledger):
    resources = yaml.safe_load(steps.inference_service(ledger))["spec"]["predictor"]["model"]["resources"]
    size = len(ledger.bucket.get(ledger.model_key(ledger.final(0).winner, "model.onnx")).data)
    for part in ("requests", "limits"):
        spare = int(resources[part]["memory"].removesuffix("Mi")) * 2**20 - 2**30 - 4 * size
        assert 0 <= spare < 2**20


def test_a_deleted_search_leaves_nothing_to_serve(bucket):
    ledger = searches.run(bucket.settings, make_spec("cnn", finalize={}))
    with pytest.raises(UserError, match=f"^search {ledger.name}: this child is not exported; `rlnas export"):
        steps.inference_service(ledger)
    steps.export_model(ledger, card_of)
    steps.inference_service(ledger)
    delete_search(ledger)
    assert not list(bucket.list_all(ledger.root))


@pytest.mark.parametrize("secret", ["", "My", "a/b", "-a", "a.", "a" * 254])
def test_what_cannot_name_a_secret_is_one_line(ledger, secret):
    with pytest.raises(UserError, match="cannot name a secret; allowed: "):
        steps.inference_service(ledger, secret=secret)
