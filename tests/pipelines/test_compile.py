"""Every compiled package, held against the traps of Kubeflow Pipelines that the local runner does not show."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import components as kfp_components

from pipelines.compile import PIPELINES, compile_all

LISTS_NEVER_EMPTY = {"open-search", "plan-rounds", "sample-architecture"}
"""Tasks whose lists hold at least one item, as the tests of their steps show."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packages")
    compile_all(path)
    return path


@pytest.fixture(params=sorted(PIPELINES))
def package(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    return next(iter(yaml.safe_load_all((folder / f"{request.param}.yaml").read_text())))


def dags(package: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every DAG with its own inputs, at every depth."""
    for component in [package["root"], *package["components"].values()]:
        if "dag" in component:
            yield component["dag"], component.get("inputDefinitions", {}).get("parameters", {})


def tasks(package: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every task with its name and the inputs of the DAG it stands in."""
    for dag, inputs in dags(package):
        for name, task in dag["tasks"].items():
            yield name, task, inputs


def is_leaf(package: dict[str, Any], task: dict[str, Any]) -> bool:
    return "executorLabel" in package["components"][task["componentRef"]["name"]]


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_a_package_is_small_whatever_the_number_of_rounds(folder: Path, name: str) -> None:
    text = (folder / f"{name}.yaml").read_text()
    assert len(text.encode()) < 100_000
    assert text.count("exec-train-child:") <= 1, "rounds and children are loops, not copies"


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_two_compilations_are_equal_and_kfp_loads_them(folder: Path, name: str, tmp_path: Path) -> None:
    text = (folder / f"{name}.yaml").read_text()
    compile_all(tmp_path)
    assert (tmp_path / f"{name}.yaml").read_text() == text
    assert kfp_components.load_component_from_text(text).pipeline_spec.root.dag.tasks


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


def test_rounds_run_one_after_another(package: dict[str, Any]) -> None:
    limits = {
        task["parameterIterator"]["items"]["inputParameter"]: task.get("iteratorPolicy", {}).get("parallelismLimit")
        for _, task, _ in tasks(package)
        if "parameterIterator" in task
    }
    assert limits.get("pipelinechannel--plan-rounds-Output") == 1


def test_every_input_of_a_task_reaches_the_dag_it_stands_in(package: dict[str, Any]) -> None:
    """A run parameter that only a resource request mentions is not handed into a loop, and the run fails."""
    for name, task, inputs in tasks(package):
        own = task.get("parameterIterator", {}).get("itemInput")
        for value in task.get("inputs", {}).get("parameters", {}).values():
            needed = value.get("componentInputParameter")
            assert needed is None or needed in inputs or needed == own, f"{name}: {needed}"
        for placeholder in re.findall(r"inputs\.parameters\['+([\w-]+)'+\]", yaml.safe_dump(task)):
            assert placeholder in task["inputs"]["parameters"], f"{name}: {placeholder}"


def test_only_training_and_evaluation_may_ask_for_a_gpu(package: dict[str, Any]) -> None:
    executors = package["deploymentSpec"]["executors"]
    with_gpu = {
        name for name, executor in executors.items() if "accelerator" in executor["container"].get("resources", {})
    }
    assert with_gpu == {"exec-train-child", "exec-evaluate"}
    for name, executor in executors.items():
        resources = executor["container"]["resources"]
        assert {"resourceCpuRequest", "resourceMemoryRequest"} <= set(resources), name
        assert "container_image" in executor["container"]["image"], name


def test_the_name_is_the_only_parameter_without_a_default(package: dict[str, Any]) -> None:
    parameters = package["root"]["inputDefinitions"]["parameters"]
    required = [name for name, parameter in parameters.items() if not parameter.get("isOptional")]
    assert required == ["search_name"]
    assert parameters["search_name"]["parameterType"] == "STRING"
