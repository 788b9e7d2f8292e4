"""The example of a queue, built by kubectl and held against what Kueue's definitions allow; no Kueue is here."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from rlnas.cluster import queue_labels

ROOT = Path(__file__).parents[2]
NAME = {
    "type": "string",
    "maxLength": 253,
    "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
}
QUANTITY = {
    "type": ["string", "integer"],
    "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
}


def closed(*required: str, **properties: Any) -> dict[str, Any]:
    """A mapping of these fields and no others."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def listed(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


def one_of(*values: str) -> dict[str, Any]:
    return {"enum": list(values)}


def kind(*required: str, **fields: Any) -> dict[str, Any]:
    labels = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}}
    metadata = closed("name", name=NAME, namespace=NAME, labels=labels)
    about = {"apiVersion": {"const": "kueue.x-k8s.io/v1beta2"}, "kind": {"type": "string"}, "metadata": metadata}
    return closed("apiVersion", "kind", "metadata", *required, **about, **fields)


STOP_POLICY = one_of("None", "Hold", "HoldAndDrain")
RESOURCE = closed(
    "name",
    "nominalQuota",
    name={"type": "string"},
    nominalQuota=QUANTITY,
    borrowingLimit=QUANTITY,
    lendingLimit=QUANTITY,
)
GROUP = closed(
    "coveredResources",
    "flavors",
    coveredResources=listed({"type": "string"}, 64),
    flavors=listed(closed("name", "resources", name=NAME, resources=listed(RESOURCE, 64)), 64),
)
SCHEMAS = {
    "ResourceFlavor": kind(spec=closed(nodeLabels={"type": "object", "additionalProperties": {"type": "string"}})),
    "ClusterQueue": kind(
        spec=closed(
            namespaceSelector={"type": "object"},
            cohortName=NAME,
            queueingStrategy=one_of("StrictFIFO", "BestEffortFIFO"),
            resourceGroups=listed(GROUP, 16),
            preemption=closed(
                withinClusterQueue=one_of("Never", "LowerPriority", "LowerOrNewerEqualPriority"),
                reclaimWithinCohort=one_of("Never", "LowerPriority", "Any"),
            ),
            stopPolicy=STOP_POLICY,
        )
    ),
    "LocalQueue": kind(spec=closed(clusterQueue=NAME, stopPolicy=STOP_POLICY)),
    "WorkloadPriorityClass": kind(
        "value", value={"type": "integer"}, description={"type": "string", "maxLength": 2048}
    ),
}
"""Of each kind the fields that one needs to begin with, written by hand after Kueue's definitions (v1beta2 of 0.19)."""
NAMESPACED = {"LocalQueue"}


@pytest.fixture(scope="module")
def objects() -> dict[str, dict[str, Any]]:
    """What `manifests/kueue` makes, by kind."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl, which is not on the PATH")
    command = ["kubectl", "kustomize", str(ROOT / "manifests/kueue")]
    built = subprocess.run(command, capture_output=True, text=True, check=True)
    found = list(yaml.safe_load_all(built.stdout))
    assert len({item["kind"] for item in found}) == len(found)
    return {item["kind"]: item for item in found}


def test_kueue_accepts_every_field(objects: dict[str, dict[str, Any]]) -> None:
    assert set(objects) == set(SCHEMAS)
    for name, item in objects.items():
        Draft202012Validator(SCHEMAS[name]).validate(item)
        assert ("namespace" in item["metadata"]) == (name in NAMESPACED), name
        assert item["metadata"]["labels"] == {"app.kubernetes.io/part-of": "rlnas"}


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("LocalQueue", ("spec", "clusterqueue"), "rlnas"),
        ("LocalQueue", ("spec", "stopPolicy"), "Stop"),
        ("ClusterQueue", ("spec", "cohort"), "team"),  # so it was called in v1beta1
        ("ClusterQueue", ("spec", "resourceGroups", 0, "flavors", 0, "resources", 0, "nominalQuota"), "many"),
        ("WorkloadPriorityClass", ("value",), "low"),
    ],
)
def test_the_check_would_see_a_typing_error(
    objects: dict[str, dict[str, Any]], name: str, path: tuple[Any, ...], value: str
) -> None:
    item = yaml.safe_load(yaml.safe_dump(objects[name]))
    place = item
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMAS[name]).validate(item)


def test_the_queue_leads_to_all_that_tasks_ask_for(objects: dict[str, dict[str, Any]]) -> None:
    local, cluster = objects["LocalQueue"], objects["ClusterQueue"]
    assert local["spec"]["clusterQueue"] == cluster["metadata"]["name"]
    (group,) = cluster["spec"]["resourceGroups"]
    (flavor,) = group["flavors"]
    assert flavor["name"] == objects["ResourceFlavor"]["metadata"]["name"]
    assert [resource["name"] for resource in flavor["resources"]] == group["coveredResources"]
    assert group["coveredResources"] == ["cpu", "memory", "nvidia.com/gpu"], "what a Placement asks for"
    names = (local["metadata"]["name"], objects["WorkloadPriorityClass"]["metadata"]["name"])
    assert tuple(queue_labels(*names).values()) == names
    assert all(f"`{name}`" in (ROOT / "docs/kubeflow.md").read_text("utf-8") for name in names)
