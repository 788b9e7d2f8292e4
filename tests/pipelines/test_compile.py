"""Every compiled package, held against the traps of Kubeflow Pipelines that the local runner does not show."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import components as kfp_components
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from packages import is_leaf, tasks

import components
from pipelines.compile import PIPELINES
from rlnas.state import StoreSettings

LISTS_NEVER_EMPTY = {
    "open-search",
    "plan-rounds",
    "sample-architecture",
    "plan-grid",
    "plan-retraining",
    "plan-workers",
}
HOLD_CHILDREN = ("train-child", "evaluate", "work", "final-test")
READ_DATA = (*HOLD_CHILDREN, "open-search", "prepare-data", "export-model")
"""Tasks whose lists hold at least one item, as the tests of their steps show."""


def task_of(executor: str) -> str:
    """`exec-train-child-2` belongs to the second task of that name."""
    return re.sub(r"-\d+$", "", executor.removeprefix("exec-"))


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_a_package_is_small_whatever_the_number_of_rounds(folder: Path, name: str) -> None:
    text = (folder / f"{name}.yaml").read_text()
    assert len(text.encode()) < 100_000
    assert len((folder / f"{name}-resources.yaml").read_bytes()) < 100_000
    assert text.count("exec-train-child:") <= 2, "rounds and children are loops, not copies; once in each document"


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_two_compilations_are_equal_and_kfp_loads_them(folder: Path, name: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "pipelines.compile", tmp_path], check=True)  # with other hash seeds
    for file in (f"{name}.yaml", f"{name}-resources.yaml"):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()
    text = (folder / f"{name}.yaml").read_text()
    loaded = kfp_components.load_component_from_text(text)
    assert loaded.pipeline_spec.root.dag.tasks
    assert loaded.platform_spec.platforms["kubernetes"]


def test_every_field_is_in_the_schemas(documents: list[dict[str, Any]], pods: dict[str, dict[str, Any]]) -> None:
    """The loader and the backend skip unknown fields; here none is allowed."""
    spec, platform = documents
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    for config in pods.values():
        json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_the_resources_hold_the_same_as_the_package(folder: Path, name: str) -> None:
    pipeline, version = yaml.safe_load_all((folder / f"{name}-resources.yaml").read_text())
    spec, platform = yaml.safe_load_all((folder / f"{name}.yaml").read_text())
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"]
    assert version["spec"]["pipelineSpec"] == spec
    assert version["spec"]["platformSpec"] == platform


def test_no_task_at_any_depth_is_cached(package: dict[str, Any]) -> None:
    leaves = [(name, task) for name, task, _ in tasks(package) if is_leaf(package, task)]
    assert len(leaves) >= len(package["deploymentSpec"]["executors"])
    for name, task in leaves:
        assert not task["cachingOptions"].get("enableCache", False), name


def test_no_parameter_name_is_part_of_a_loop_items_name(package: dict[str, Any]) -> None:
    parameters = set(package["root"]["inputDefinitions"]["parameters"])
    items = {task["parameterIterator"]["itemInput"] for _, task, _ in tasks(package) if "parameterIterator" in task}
    assert items
    for item in items:
        assert not [name for name in parameters if name in item.removeprefix("pipelinechannel--")], item


def test_loops_run_over_lists_that_are_never_empty(package: dict[str, Any]) -> None:
    iterators = [task["parameterIterator"] for _, task, _ in tasks(package) if "parameterIterator" in task]
    assert iterators
    for iterator in iterators:
        producer = re.fullmatch(r"pipelinechannel--([a-z-]+)-Output", iterator["items"]["inputParameter"])
        assert producer, f"{iterator}: the local runner loops only over a task's unnamed output"
        assert producer[1] in LISTS_NEVER_EMPTY


def test_every_loop_uses_its_item(package: dict[str, Any]) -> None:
    """Otherwise the compiler drops the loop's dependency on the task that made the list."""
    for name, task, _ in tasks(package):
        if "parameterIterator" in task:
            item = task["parameterIterator"]["itemInput"]
            body = package["components"][task["componentRef"]["name"]]["dag"]["tasks"]
            assert item in yaml.safe_dump(body), name


def test_no_task_needs_the_items_of_two_loops(package: dict[str, Any]) -> None:
    """The local runner gives the item of the innermost loop for both."""
    for name, task, _ in tasks(package):
        items = [key for key in task.get("inputs", {}).get("parameters", {}) if key.endswith("-loop-item")]
        assert len(items) <= 1, name


def test_rounds_run_one_after_another(package: dict[str, Any]) -> None:
    limits = {
        task["parameterIterator"]["items"]["inputParameter"]: task.get("iteratorPolicy", {}).get("parallelismLimit")
        for _, task, _ in tasks(package)
        if "parameterIterator" in task
    }
    if "exec-plan-rounds" in package["deploymentSpec"]["executors"]:
        assert limits["pipelinechannel--plan-rounds-Output"] == 1
    else:
        side_by_side = "plan-workers" if "exec-work" in package["deploymentSpec"]["executors"] else "plan-grid"
        assert limits[f"pipelinechannel--{side_by_side}-Output"] is None
        assert set(limits.values()) == {None}


def test_every_input_of_a_task_reaches_the_dag_it_stands_in(package: dict[str, Any]) -> None:
    """A run parameter that only a resource request mentions is not handed into a loop, and the run fails."""
    for name, task, inputs in tasks(package):
        own = task.get("parameterIterator", {}).get("itemInput")
        for value in task.get("inputs", {}).get("parameters", {}).values():
            needed = value.get("componentInputParameter")
            assert needed is None or needed in inputs or needed == own, f"{name}: {needed}"
        for placeholder in re.findall(r"inputs\.parameters\['+([\w-]+)'+\]", yaml.safe_dump(task)):
            assert placeholder in task["inputs"]["parameters"], f"{name}: {placeholder}"


def test_every_run_parameter_of_a_pod_reaches_the_dag_its_task_stands_in(
    package: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    """A pod's secrets, selectors and volumes are looked up among the inputs of the DAG, not of the task."""
    seen = set()
    for name, task, inputs in tasks(package):
        executor = package["components"][task["componentRef"]["name"]].get("executorLabel")
        for needed in re.findall(r"componentInputParameter: (\S+)", yaml.safe_dump(pods.get(executor, {}))):
            seen.add(executor)
            assert needed in inputs, f"{name}: {needed}"
    assert seen == set(package["deploymentSpec"]["executors"])


def test_what_the_backend_fills_in_stands_by_itself(package: dict[str, Any]) -> None:
    """`{{$.pipeline_task_uuid}}` is replaced only where nothing else is in the text; the local runner is kinder."""
    found = []
    for _, task, _ in tasks(package):
        for value in task.get("inputs", {}).get("parameters", {}).values():
            constant = value.get("runtimeValue", {}).get("constant")
            if isinstance(constant, str) and "{{$.pipeline_" in constant:
                found.append(constant)
    assert "{{$.pipeline_task_uuid}}" in found, "train-child must know its attempts from other tasks"
    for text in found:
        assert re.fullmatch(r"\{\{\$\.\w+\}\}", text), text


def test_only_short_plain_text_is_filled_into_longer_text(package: dict[str, Any]) -> None:
    """A list or mapping that is filled into a text arrives with bare quotes, and the task cannot read its input."""
    for name, task, inputs in tasks(package):
        for value in task.get("inputs", {}).get("parameters", {}).values():
            constant = str(value.get("runtimeValue", {}).get("constant", ""))
            for channel in re.findall(r"inputs\.parameters\['([\w-]+)'\]", constant):
                source = task["inputs"]["parameters"][channel]["componentInputParameter"]
                assert inputs[source]["parameterType"] == "STRING", f"{name}: {channel}"


def test_only_training_and_evaluation_may_ask_for_a_gpu(package: dict[str, Any]) -> None:
    executors = package["deploymentSpec"]["executors"]
    with_gpu = {
        name for name, executor in executors.items() if "accelerator" in executor["container"].get("resources", {})
    }
    assert with_gpu == {name for name in executors if task_of(name) in HOLD_CHILDREN}
    assert "exec-final-test" in with_gpu
    assert with_gpu & {"exec-train-child", "exec-work"}
    for name, executor in executors.items():
        resources = executor["container"]["resources"]
        assert {"resourceCpuRequest", "resourceMemoryRequest"} <= set(resources), name
        assert "container_image" in executor["container"]["image"], name


def test_every_task_is_retried(package: dict[str, Any]) -> None:
    for name, task, _ in tasks(package):
        if is_leaf(package, task):
            assert task["retryPolicy"]["maxRetryCount"] >= 1, name


def test_every_pod_has_what_it_needs(package: dict[str, Any], pods: dict[str, dict[str, Any]]) -> None:
    assert set(pods) == set(package["deploymentSpec"]["executors"])
    for name, pod in pods.items():
        (secret,), (config,), (authorities,) = pod["secretAsEnv"], pod["configMapAsEnv"], pod["configMapAsVolume"]
        names = {key["envVar"] for key in (*secret["keyToEnv"], *config["keyToEnv"])}
        settings = StoreSettings("h:1", "a", "b", ca_file=__file__).to_environment()
        assert set(settings) <= names, name
        assert {key["secretKey"] for key in secret["keyToEnv"]} == {"accesskey", "secretkey"}
        # The task itself says what is missing; a pod that waits for a secret says nothing to anybody.
        assert all(part["optional"] for part in (secret, config, authorities)), name
        assert int(pod["activeDeadlineSeconds"]) > 0
        assert pod["securityContext"] == {"runAsNonRoot": True}
        assert pod["imagePullPolicy"] == "IfNotPresent", "images loaded onto nodes have no registry to be pulled from"
        assert pod["imagePullSecret"]
        assert pod["nodeSelector"]["nodeSelectorJson"]
        assert pod["tolerations"][0]["tolerationJson"]
        labels = pod["podMetadata"]["labels"]
        assert labels == {
            "app.kubernetes.io/part-of": "rlnas",
            "app.kubernetes.io/component": task_of(name),
        }
        assert ("emptyDirMounts" in pod) == (task_of(name) in HOLD_CHILDREN)
        assert ("pvcMount" in pod) == (task_of(name) in READ_DATA)


def test_runs_end_and_are_cleared_away(documents: list[dict[str, Any]]) -> None:
    config = documents[1]["platforms"]["kubernetes"]["pipelineConfig"]
    assert config["activeDeadlineSeconds"] > config["resourceTtlOnCompletion"] > 0


def test_data_is_prepared_before_anything_else(package: dict[str, Any]) -> None:
    root = package["root"]["dag"]["tasks"]
    first = "prepare-data" if "prepare-data" in root else "plan-grid"
    assert [name for name, task in root.items() if not task.get("dependentTasks")] == [first]
    assert "open-search" not in root or "prepare-data" in root["open-search"]["dependentTasks"]


@pytest.mark.parametrize("name", sorted(components.__all__))
def test_a_component_is_thin(name: str) -> None:
    """It parses, calls one step and writes artifacts; under 30 lines without its docstring."""
    lines, _ = inspect.getsourcelines(getattr(components, name).python_func)
    text = re.sub(r'""".*?"""', "", "".join(lines), flags=re.DOTALL)
    assert len(text.splitlines()) < 30
    assert "install_kfp_package=False" in text
    assert re.search(r"^    from rlnas", text, re.MULTILINE)
    assert not re.search(r"^    import torch", text, re.MULTILINE)


def test_pods_carry_no_explanations(package: dict[str, Any]) -> None:
    """Argo keeps source and descriptions several times for each pod, in an object of 1 MiB: they stand above it."""
    for name, executor in package["deploymentSpec"]["executors"].items():
        assert '"""' not in executor["container"]["command"][-1], name
    for name, component in package["components"].items():
        parts = yaml.safe_dump([component.get(f"{way}Definitions", {}) for way in ("input", "output")])
        assert "description:" not in parts, name


def test_no_credential_of_the_environment_gets_into_a_package(tmp_path: Path) -> None:
    planted = {"RLNAS_STORE_ACCESS_KEY": "planted-access", "RLNAS_STORE_SECRET_KEY": "planted-secret"}
    environment = os.environ | planted | {"RLNAS_STORE_ENDPOINT": "planted-host:1"}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.compile", tmp_path], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for text in (done.stdout, done.stderr, *(path.read_text() for path in tmp_path.iterdir())):
        assert "planted" not in text


def test_the_name_is_the_only_parameter_without_a_default(package: dict[str, Any]) -> None:
    parameters = package["root"]["inputDefinitions"]["parameters"]
    required = [name for name, parameter in parameters.items() if not parameter.get("isOptional")]
    assert required == ["search_name"]
    assert parameters["search_name"]["parameterType"] == "STRING"
