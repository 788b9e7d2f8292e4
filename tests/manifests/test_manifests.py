"""Every overlay as it would be applied: built by kubectl, held against Kubernetes and the restricted standard."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipelines import placement
from rlnas.state import StoreSettings

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(path.name for path in (ROOT / "manifests/overlays").iterdir())
OPTIONAL = {f"dev and {component}": ("dev", component) for component in ("kserve", "metrics")}
"""Components that no overlay has, each with an overlay to try it in."""
NEEDS_KUBECTL = pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl, which is not on the PATH")
OWN_STORE = {"dev", "gpu", "multi-user", *OPTIONAL}
KEYS = {"accesskey", "secretkey"}
# From the oldest Kubernetes that Kubeflow Pipelines 2.14 is used on to the newest that we have schemas of.
VERSIONS = ("1.30", "1.34", kubernetes_validate.latest_version())


@pytest.fixture(scope="module")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The objects that each overlay makes, and each optional component in one."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl, which is not on the PATH")
    found, folders = {}, {name: ROOT / "manifests/overlays" / name for name in OVERLAYS}
    for name, (overlay, component) in OPTIONAL.items():
        folders[name] = tmp_path_factory.mktemp("overlay").resolve()
        document = yaml.safe_load((ROOT / "manifests/overlays" / overlay / "kustomization.yaml").read_text())
        document["components"].append(f"../../components/{component}")
        for part in ("resources", "components"):  # kustomize takes relative paths alone
            paths = [ROOT / "manifests/overlays" / overlay / path for path in document[part]]
            document[part] = [os.path.relpath(path, folders[name]) for path in paths]
        (folders[name] / "kustomization.yaml").write_text(yaml.safe_dump(document))
    for name, folder in folders.items():
        built = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        assert "deprecated" not in built.stderr
        found[name] = list(yaml.safe_load_all(built.stdout))
    return found


@pytest.fixture(params=[*OVERLAYS, *OPTIONAL])
def overlay(
    request: pytest.FixtureRequest, overlays: dict[str, list[dict[str, Any]]]
) -> tuple[str, list[dict[str, Any]]]:
    """An overlay's name and the objects it makes."""
    return request.param, overlays[request.param]


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def values(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at every depth."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield str(key), value
        yield from values(value)


def test_kubernetes_accepts_every_field(overlay):
    for item in overlay[1]:
        for version in VERSIONS:
            kubernetes_validate.validate(item, version, strict=True)


def test_the_validation_would_see_a_typing_error():
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({"apiVersion": "v1", "kind": "ConfigMap", "datta": {}}, VERSIONS[-1], strict=True)


def test_everything_is_in_one_namespace_and_says_whose_it_is(overlay):
    _, objects = overlay
    spaces = {item["metadata"].get("namespace") for item in objects if item["kind"] != "PriorityClass"}
    assert len(spaces) == 1
    for binding in of_kind(objects, "RoleBinding").values():
        assert {subject["namespace"] for subject in binding["subjects"]} == spaces


def test_one_label_is_on_everything_pods_included(overlay):
    for item in overlay[1]:
        for part in (item, item["spec"]["template"] if "template" in item.get("spec", {}) else item):
            assert part["metadata"]["labels"]["app.kubernetes.io/part-of"] == "rlnas", item["metadata"]["name"]


FIXED = {
    "PersistentVolumeClaim": lambda claim: {
        name: value for name, value in claim["spec"].items() if name != "resources"
    },
    "Deployment": lambda deployment: deployment["spec"]["selector"],
    "RoleBinding": lambda binding: binding["roleRef"],
    "PriorityClass": lambda priority: priority["value"],
}
"""What Kubernetes lets nobody change. A claim's size may grow, never shrink."""


@pytest.mark.parametrize("second", OVERLAYS)
@pytest.mark.parametrize("first", OVERLAYS)
def test_an_overlay_can_be_applied_where_another_was(overlays, first, second):
    for kind, fixed in FIXED.items():
        before, after = of_kind(overlays[first], kind), of_kind(overlays[second], kind)
        for name in before.keys() & after.keys():
            assert fixed(before[name]) == fixed(after[name]), f"{kind} {name}"
            if kind == "PersistentVolumeClaim":
                assert before[name]["spec"]["resources"] == after[name]["spec"]["resources"]


def test_what_tasks_look_for_is_there_under_the_names_that_the_pipelines_use(overlay):
    name, objects = overlay
    settings = of_kind(objects, "ConfigMap")["rlnas-store"]["data"]
    assert set(settings) <= set(placement.STORE_CONFIG)
    keys = {"RLNAS_STORE_ACCESS_KEY": "a", "RLNAS_STORE_SECRET_KEY": "b"}
    endpoint = StoreSettings.from_environment(settings | keys).endpoint
    claim = "rlnas-data-shared" if name == "gpu" else "rlnas-data"
    assert claim in of_kind(objects, "PersistentVolumeClaim")
    if name == "gpu":
        assert f"--set data_volume_claim={claim}" in (ROOT / "manifests/overlays/gpu/kustomization.yaml").read_text()
    if name in OWN_STORE:
        host, port = endpoint.split(":")
        assert of_kind(objects, "Service")[host]["spec"]["ports"][0]["port"] == int(port)
    else:
        assert not of_kind(objects, "Service")


def test_the_store_takes_its_keys_from_the_secret_that_tasks_use(overlay):
    name, objects = overlay
    deployments = of_kind(objects, "Deployment")
    assert ("rlnas-store" in deployments) == (name in OWN_STORE)
    for deployment in deployments.values():
        variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        references = [variable["valueFrom"]["secretKeyRef"] for variable in variables]
        assert {reference["key"] for reference in references} == KEYS == set(placement.STORE_SECRET)
        assert {reference["name"] for reference in references} == {"rlnas-store"}


def test_no_secret_is_in_git(overlay):
    _, objects = overlay
    assert not of_kind(objects, "Secret")
    for key, value in values(objects):
        assert not re.search(r"secret_?key|password|token$", key, re.IGNORECASE) or not isinstance(value, str), key
        assert not (isinstance(value, str) and re.search(r"minio123|AKIA|BEGIN", value)), value


def test_pods_keep_to_the_restricted_standard(overlay):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a read-only root."""
    for item in overlay[1]:
        if item["kind"] not in ("Deployment", "Job", "StatefulSet", "Pod"):
            continue
        pod = item["spec"]["template"]["spec"] if "template" in item["spec"] else item["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {kind for volume in pod["volumes"] for kind in volume} <= {
            "name",
            "persistentVolumeClaim",
            "emptyDir",
            "configMap",
            "secret",
        }
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True
            assert {"requests", "limits"} <= set(container["resources"])


def test_the_role_has_no_wildcard_and_reads_no_secret_but_the_launchers(overlay):
    name, objects = overlay
    roles = of_kind(objects, "Role")
    assert bool(roles) == bool(of_kind(objects, "ServiceAccount")) == bool(of_kind(objects, "RoleBinding"))
    assert bool(roles) == (name != "multi-user"), "a profile has its own"
    for role in roles.values():
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"delete", "update", "deletecollection"} & set(rule["verbs"])
            if {"secrets", "configmaps"} & set(rule["resources"]):
                assert rule["resourceNames"]
                assert rule["verbs"] == ["get"]


def test_nobody_calls_a_task_and_only_tasks_call_the_store(overlay):
    name, objects = overlay
    policies = of_kind(objects, "NetworkPolicy")
    tasks = policies["rlnas-tasks"]["spec"]
    assert not tasks.get("ingress")
    allowed = {port["port"] for rule in tasks["egress"] for port in rule["ports"]}
    task = {"app.kubernetes.io/part-of": "rlnas", "app.kubernetes.io/component": "train-child"}
    assert selects(tasks["podSelector"], task)
    if name not in OWN_STORE:
        return
    store = policies["rlnas-store"]["spec"]
    pod = of_kind(objects, "Deployment")["rlnas-store"]["spec"]["template"]["metadata"]["labels"]
    assert selects(store["podSelector"], pod)
    assert not selects(tasks["podSelector"], pod), "the policy of the tasks would hold for the store too"
    assert not selects(store["podSelector"], task)
    (caller,) = store["ingress"][0]["from"]
    assert selects(caller["podSelector"], task)
    assert not selects(caller["podSelector"], {"app.kubernetes.io/part-of": "kubeflow"})
    assert not store.get("egress")
    assert {port["port"] for port in store["ingress"][0]["ports"]} <= allowed


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a policy is about a pod with these labels."""
    rules = selector.get("matchExpressions", [])
    assert {rule["operator"] for rule in rules} <= {"NotIn"}
    unwanted = any(labels.get(rule["key"]) in rule["values"] for rule in rules)
    return selector["matchLabels"].items() <= labels.items() and not unwanted


@NEEDS_KUBECTL
def test_credentials_are_random_and_made_only_once(tmp_path):
    """The real script and the real kubectl, which has no cluster: a `get` finds nothing, a `create` only prints."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\ncase "$*" in *" get "*) [ -e "$EXISTS" ] ;; *" label "*) ;;\n'
        f'*) {shutil.which("kubectl")} "$@" --dry-run=client -o yaml ;; esac\n'
    )
    kubectl.chmod(0o755)
    script = [str(ROOT / "manifests/create-credentials.sh"), "team"]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "EXISTS": str(tmp_path / "no")}
    made = [
        yaml.safe_load(subprocess.run(script, env=environment, capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    ]
    for secret in made:
        assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == ("rlnas-store", "team")
        assert set(secret["data"]) == KEYS
        assert len(secret["data"]["secretkey"]) >= 40
    assert "-n team label secret rlnas-store app.kubernetes.io/part-of=rlnas" in (tmp_path / "asked").read_text()
    assert not set(made[0]["data"].values()) & set(made[1]["data"].values())
    again = subprocess.run(script, env=environment | {"EXISTS": str(kubectl)}, capture_output=True, text=True)
    assert again.returncode == 0
    assert "stays as it is" in again.stdout
    assert "data" not in again.stdout
