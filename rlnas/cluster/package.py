"""Compiled packages before they are sent: labels, run parameters, and what their tasks ask of a node."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rlnas.errors import UserError
from rlnas.yaml_text import read_yaml

QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
"""Labels that Kueue reads on pods: the LocalQueue they wait in, and their WorkloadPriorityClass."""


def queue_labels(queue: str | None, priority_class: str | None) -> dict[str, str]:
    """Return the labels that put a pod into a queue of Kueue's; none if there is no queue.

    Raises:
        UserError: it cannot be a name, or there is a class and no queue.
    """
    if priority_class is not None and queue is None:
        raise UserError(
            f"--priority-class {priority_class}: is a place in a queue, and there is none; allowed: with --queue"
        )
    labels = {}
    for option, label, name in (("--queue", QUEUE, queue), ("--priority-class", PRIORITY, priority_class)):
        if name is None:
            continue
        if len(name) > 63 or not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", name):
            raise UserError(
                f"{option}: {name!r} cannot be a name in Kubernetes; allowed: 1 to 63 of a-z, 0-9, - and ., a letter or"
                " number at both ends and beside each ."
            )
        labels[label] = name
    return labels


def label_package(package: Path, search: str, more: Mapping[str, str] = {}) -> None:
    """Label every pod of a compiled package, which Kubeflow takes at compile time only.

    Args:
        package: compiled.
        search: its name is one of the labels.
        more: labels.
    """
    labels = {"app.kubernetes.io/instance": search, **more}
    spec, platform = yaml.safe_load_all(package.read_text(encoding="utf-8"))
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        executor["podMetadata"]["labels"] |= labels
    package.write_text(yaml.safe_dump_all([spec, platform]), encoding="utf-8")


def run_parameters(package: Path, given: Iterable[str]) -> dict[str, Any]:
    """Read `name=value` texts as run parameters of a package, of the types that it declares.

    Raises:
        UserError: a name that the package does not know, or a value of another type.
    """
    spec, *_ = yaml.safe_load_all(package.read_text(encoding="utf-8"))
    known = spec["root"]["inputDefinitions"]["parameters"]
    settable = [name for name in known if name not in ("search_name", "search_spec")]
    kinds = {"STRING": str, "NUMBER_INTEGER": int, "STRUCT": dict, "LIST": list}
    found = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or name not in settable:
            raise UserError(f"--set {text}: name=value is needed; allowed names: {', '.join(settable)}")
        kind = kinds[known[name]["parameterType"]]
        try:
            found[name] = value if kind is str else read_yaml(value)
        except UserError as error:
            raise UserError(f"--set {text}: {error}; {name} must be a {kind.__name__}, written as JSON") from None
        if not isinstance(found[name], kind):
            raise UserError(f"--set {text}: {name} must be a {kind.__name__}, written as JSON")
    return found


def requests_of(package: Path, arguments: Mapping[str, Any]) -> list[str]:
    """Say what each kind of task asks of a node: a line each, since a pod that finds no such node is pending for ever.

    Args:
        package: compiled.
        arguments: run parameters that differ from the package's defaults.
    """
    spec = next(iter(yaml.safe_load_all(package.read_text(encoding="utf-8"))))
    known = spec["root"]["inputDefinitions"]["parameters"]
    values = {name: parameter.get("defaultValue", "") for name, parameter in known.items()} | dict(arguments)

    def filled(text: str) -> str:
        return re.sub(r"\{\{\$\.inputs\.parameters\['pipelinechannel--(\w+)'\]\}\}", lambda m: str(values[m[1]]), text)

    kinds: dict[str, list[str]] = {}
    for name, executor in spec["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        asks = f"cpu {filled(resources['resourceCpuRequest'])}, memory {filled(resources['resourceMemoryRequest'])}"
        gpu = resources.get("accelerator", {"resourceCount": "0"})
        if (count := filled(gpu["resourceCount"])) != "0":
            asks += f", {count} of {filled(gpu['resourceType'])}"
        kinds.setdefault(asks, []).append(name.removeprefix("exec-"))
    return [
        f"{asks}: {', '.join(sorted(names))}" for asks, names in sorted(kinds.items(), key=lambda kind: len(kind[1]))
    ]
