"""A compiled package, walked at every depth."""

from collections.abc import Iterator
from typing import Any

TYPES = {str: "STRING", bool: "BOOLEAN", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", dict: "STRUCT", list: "LIST"}


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


def type_mismatches(package: dict[str, Any]) -> list[str]:
    """Compare the type of every parameter with the one that its consumer asks for, as a real driver does.

    Looked at, at every depth: what a task is handed (a parameter of the DAG it stands in, an item of its loop, another
    task's output, a constant), and what a DAG hands out.
    """
    found = []

    def compare(where: str, given: str, asked: str) -> None:
        if given != asked:
            found.append(f"{where}: expects {asked}, got {given}")

    loops = [
        package["components"][task["componentRef"]["name"]]["dag"]
        for _, task, _ in tasks(package)
        if "parameterIterator" in task
    ]
    for component in [package["root"], *package["components"].values()]:
        dag = component.get("dag", {"tasks": {}})
        inputs, outputs = (component.get(f"{way}Definitions", {}).get("parameters", {}) for way in ("input", "output"))

        def output(producer: str, key: str, dag: dict[str, Any] = dag) -> str:
            component = package["components"][dag["tasks"][producer]["componentRef"]["name"]]
            return component["outputDefinitions"]["parameters"][key]["parameterType"]

        for name, task in dag["tasks"].items():
            component = package["components"][task["componentRef"]["name"]]
            asked = component.get("inputDefinitions", {}).get("parameters", {})
            for parameter, value in task.get("inputs", {}).get("parameters", {}).items():
                if source := value.get("componentInputParameter"):
                    given = inputs[source]["parameterType"]
                elif source := value.get("taskOutputParameter"):
                    given = output(source["producerTask"], source["outputParameterKey"])
                else:
                    given = TYPES[type(value["runtimeValue"]["constant"])]
                if parameter in asked:  # else it only fills placeholders of other values
                    compare(f"{name}: {parameter}", given, asked[parameter]["parameterType"])
        for key, value in dag.get("outputs", {}).get("parameters", {}).items():
            source = value["valueFromParameter"]
            given = output(source["producerSubtask"], source["outputParameterKey"])
            compare(f"output {key}", "LIST" if dag in loops else given, outputs[key]["parameterType"])
    return found
