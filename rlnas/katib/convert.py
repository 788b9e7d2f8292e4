"""From an experiment to a spec, field by field."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from rlnas.errors import UserError
from rlnas.katib.experiment import Algorithm, Metadata, Objective, Operation, Parameter, Spec, others, read_experiment
from rlnas.katib.mapping import (
    ALGORITHMS,
    BUDGET,
    MOST_OPTIONS,
    NETWORK,
    OPERATIONS,
    POOLINGS,
    REDUCTION_TYPE,
    REFUSED,
    SEPARATELY,
    SETTINGS,
    UNLESS_GIVEN,
)
from rlnas.spec import SearchSpec, parse_spec

Fate = Literal["kept", "approximated", "refused"]


@dataclass(frozen=True)
class Row:
    """What became of a field of the experiment.

    Args:
        field: its name.
        fate: kept, approximated or refused.
        words: the field of the spec, what is different there, or why there is none.
    """

    field: str
    fate: Fate
    words: str


@dataclass(frozen=True)
class Conversion:
    """A spec, and what became of each field of the experiment."""

    spec: SearchSpec
    rows: tuple[Row, ...]

    @property
    def text(self) -> str:
        """The spec as YAML."""
        return yaml.dump(self.spec.document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes lists in one line."""


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True))


class _Draft:
    """The spec as it grows, and the rows."""

    def __init__(self) -> None:
        self.sections: dict[str, Any] = {
            "name": "",
            "space": {"kind": "cnn", "grow_every": None},
            "dataset": {},
            "child": {},
            "controller": {},
            "loop": {},
        }
        self.rows: list[Row] = []

    def put(self, target: str, value: Any) -> None:
        """Set a field of a section."""
        section, _, field = target.partition(".")
        self.sections[section][field] = value

    def take(self, field: str, target: str, value: Any, different: str = "") -> None:
        """Take a field of the experiment for one of the spec; with a difference it is approximated."""
        self.put(target, value)
        self.keep(field, f"{target}: {value}", different)

    def keep(self, field: str, words: str, different: str = "") -> None:
        """Say where a field went."""
        self.rows.append(
            Row(field, "approximated" if different else "kept", "; ".join(filter(None, (words, different))))
        )

    def refuse(self, field: str, why: str) -> None:
        """Say that a field has no like here."""
        self.rows.append(Row(field, "refused", why))


def convert(document: Any, source: str) -> Conversion:
    """Turn an experiment into a spec.

    Args:
        document: what YAML gave.
        source: what it was read from, for the error message.

    Raises:
        UserError: it is no NAS experiment, or no spec comes of it; one line.
    """
    draft = _Draft()
    try:
        experiment = read_experiment(document)
        _name(draft, experiment.metadata)
        network = _settings(draft, experiment.spec.algorithm)
        _trials(draft, experiment.spec)
        _objective(draft, experiment.spec.objective)
        _graph(draft, experiment.spec, network)
        _operations(draft, experiment.spec, network)
        _template(draft, experiment.spec)
        for path in dict.fromkeys(others(experiment)):
            draft.refuse(path.removeprefix("spec."), REFUSED.get(path, "not known here"))
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return Conversion(parse_spec(draft.sections, f"{source}, as a spec"), tuple(draft.rows))


def _name(draft: _Draft, metadata: Metadata) -> None:
    written = metadata.name or metadata.generateName
    name = re.sub(r"[^a-z0-9-]", "-", written.lower())[:63].strip("-")
    if not name:
        raise UserError("metadata.name is missing; allowed: a name with letters or digits")
    draft.sections["name"] = name
    field = "metadata.name" if metadata.name else "metadata.generateName"
    draft.keep(field, f"name: {name}", "" if name == written else "of a-z, 0-9 and -")


def _settings(draft: _Draft, algorithm: Algorithm) -> dict[str, int]:
    """Take the algorithm and its settings; return those of DARTS that say how large its network is."""
    name, network = algorithm.algorithmName, {}
    different = "" if name == "enas" else "one operation a layer, where DARTS weighs all in one network"
    draft.take("algorithmName", "controller.kind", ALGORITHMS[name], different)
    if name == "darts":
        draft.put("child.schedule", "cosine")
    for setting in algorithm.algorithmSettings:
        text = str(setting.value)
        if text == "None":
            draft.refuse(setting.name, "None: the default of rlnas stands")
        elif setting.name in SETTINGS[name]:
            target, kind, different = SETTINGS[name][setting.name]
            draft.take(setting.name, target, _number(setting.name, text, kind), different)
        elif name == "darts" and setting.name in NETWORK:
            network[setting.name] = _number(setting.name, text, int)  # said where it is used
        else:
            draft.refuse(setting.name, REFUSED.get(setting.name, f"unknown of {name}"))
    return network


def _trials(draft: _Draft, spec: Spec) -> None:
    if spec.algorithm.algorithmName == "darts":
        draft.put("loop.children", BUDGET)
        for field in ("parallelTrialCount", "maxTrialCount"):
            if field in spec.model_fields_set:
                draft.refuse(field, f"one trial of DARTS is a whole search; loop.children: {BUDGET}")
        return
    most = spec.maxTrialCount or BUDGET
    together = min(spec.parallelTrialCount, most)
    children = -(-most // together) * together
    draft.sections["loop"] = {"children": children, "children_per_round": together, "children_per_batch": 1}
    if "parallelTrialCount" in spec.model_fields_set:
        words = f"loop.children_per_round: {together}, children_per_batch: 1"
        draft.keep("parallelTrialCount", words, "" if together == spec.parallelTrialCount else "within the budget")
    words = f"loop.children: {children}"
    if spec.maxTrialCount:
        draft.keep("maxTrialCount", words, "" if children == most else f"whole rounds of {together}")
    else:
        draft.keep("maxTrialCount", words, "there is none; a search has a budget")


def _objective(draft: _Draft, objective: Objective) -> None:
    draft.put("child.reward_exponent", 1)
    if "type" in objective.model_fields_set:
        if objective.type == "maximize":
            draft.keep("objective.type", "rewards are always maximised")
        else:
            draft.refuse("objective.type", "rewards are always maximised")
    if metric := objective.objectiveMetricName:
        reward = "the reward is the validation accuracy; child.reward_exponent: 1"
        draft.keep("objectiveMetricName", reward, "" if "acc" in metric.lower() else f"not {metric}")


def _graph(draft: _Draft, spec: Spec, network: dict[str, int]) -> None:
    layers, different = spec.nasConfig.graphConfig.numLayers, "a layer may leave out the one before it"
    if spec.algorithm.algorithmName == "darts":
        cells, nodes = layers, network.get("num_nodes", NETWORK["num_nodes"])
        # DARTS halves the sides in these two cells, if it has so many.
        pools = sorted({cells * third // 3 * nodes for third in (1, 2)} - {0})
        layers, different = cells * nodes, f"{nodes} a cell, each searched by itself"
        if pools:
            draft.put("space.pool_after", pools)
            different += f"; space.pool_after: {pools}"
    draft.put("space.max_layers", layers)
    draft.take("numLayers", "space.layers", layers, different)
    if "num_nodes" in network:
        draft.keep("num_nodes", f"space.layers: {layers}", "layers of a cell, see numLayers")


def _operations(draft: _Draft, spec: Spec, network: dict[str, int]) -> None:
    """Take the layer types, and the options of all operations together: layer types of a family share theirs."""
    darts = spec.algorithm.algorithmName == "darts"
    unless_given = {name: [value] for name, value in UNLESS_GIVEN.items()}
    if darts:
        channels = network.get("init_channels", NETWORK["init_channels"])
        unless_given["num_filter"] = [channels, 2 * channels, 4 * channels]  # it doubles them in two cells
    types: list[str] = []
    options: dict[tuple[str, ...], list[tuple[str, list[int]]]] = {}
    for operation in spec.nasConfig.operations:
        layer_types = _layer_types(draft, operation, darts)
        if not layer_types:
            continue
        types += [layer_type for layer_type in layer_types if layer_type not in types]
        name, given = operation.operationType, {parameter.name: parameter for parameter in operation.parameters}
        parameters = OPERATIONS[name].parameters
        for parameter in given:
            if parameter not in parameters and (name, parameter) != REDUCTION_TYPE:
                draft.refuse(f"{parameter} of {name}", "unknown of this operation")
        found = {parameter: _options(given[parameter], name) for parameter in parameters if parameter in given}
        for parameter, fields in parameters.items():
            source = "pool_size" if name == "reduction" and parameter not in found else parameter  # as Keras has it
            chosen = found.get(source, unless_given[source])
            options.setdefault(fields, []).append((source if source in found else "", chosen))
    if not types:
        raise UserError(f"spec.nasConfig.operations: none is a layer; allowed: {', '.join(OPERATIONS)}")
    draft.put("space.layer_types", types)
    for fields, entries in options.items():
        _take_options(draft, fields, entries)
    if "init_channels" in network:
        if "filters" in draft.sections["space"]:
            draft.keep("init_channels", f"space.filters: {draft.sections['space']['filters']}", "each layer chooses")
        else:
            draft.refuse("init_channels", "no operation has filters")


def _layer_types(draft: _Draft, operation: Operation, darts: bool) -> tuple[str, ...]:
    """Return the layer types that an operation is; none: it was refused, or is no layer."""
    name, field = operation.operationType, f"operation {operation.operationType}"
    if name not in OPERATIONS:
        draft.refuse(field, f"unknown; allowed: {', '.join(OPERATIONS)}")
        return ()
    layer_types, different = OPERATIONS[name].layer_types, ""
    if name == "skip_connection":
        draft.keep(field, "no layer", "a layer chooses its inputs among all layers before it")
        return ()
    if kinds := [parameter for parameter in operation.parameters if (name, parameter.name) == REDUCTION_TYPE]:
        wanted = [str(kind) for kind in kinds[0].feasibleSpace.list]
        layer_types = tuple(POOLINGS[kind] for kind in wanted if kind in POOLINGS)
        others = ", ".join(kind for kind in wanted if kind not in POOLINGS)
        if not layer_types:
            draft.refuse(field, f"reduction_type: none is known; allowed: {', '.join(POOLINGS)}")
            return ()
        draft.keep("reduction_type", f"space.layer_types: {', '.join(layer_types)}", others and f"without {others}")
    if name == "separable_convolution" and darts:
        different = "one, where DARTS has two in a row"
    draft.keep(field, f"space.layer_types: {', '.join(layer_types)}", different)
    return layer_types


def _take_options(draft: _Draft, fields: tuple[str, ...], entries: list[tuple[str, list[int]]]) -> None:
    """Take the options of some fields: of all operations that have them, each with the parameter that gave them."""
    union = sorted({option for _, options in entries for option in options})
    for field in fields:
        draft.put(f"space.{field}", union)
    different = [SEPARATELY[fields]] if fields in SEPARATELY and len(union) > 1 else []
    if any(options != union for _, options in entries):
        different.append("operations share their options")
    for parameter in dict.fromkeys(parameter for parameter, _ in entries if parameter):
        draft.keep(parameter, f"space.{', '.join(fields)}: {union}", "; ".join(different))


def _options(parameter: Parameter, operation: str) -> list[int]:
    """Return the options of a parameter, ascending."""
    where, space = f"{parameter.name} of {operation}", parameter.feasibleSpace
    if parameter.parameterType in ("categorical", "discrete"):
        found = sorted({_number(where, str(option), int) for option in space.list})
    else:
        low, high, step = (_number(where, str(text), int) for text in (space.min, space.max, space.step))
        if step < 1 or (high - low) // step >= MOST_OPTIONS:
            raise UserError(f"{where}: from {low} to {high} by {step}; allowed: at most {MOST_OPTIONS} options")
        found = list(range(low, high + 1, step))
    if not found:
        raise UserError(f"{where}: no option; allowed: a list, or min and max")
    return found


def _number(where: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"{where}: got {text!r}; allowed: a {'whole ' if kind is int else ''}number") from None


def _template(draft: _Draft, spec: Spec) -> None:
    """Take what a trial's template and the graph's sizes say of the data, of the epochs and of GPUs."""
    try:
        text, graph = json.dumps(spec.trialTemplate, default=str), spec.nasConfig.graphConfig
    except ValueError:  # by an alias
        raise UserError("spec.trialTemplate: it holds itself; allowed: a template") from None
    cifar = re.search(r"cifar-?10(?!0)", text, re.IGNORECASE) is not None
    draft.sections["dataset"] = (
        {"kind": "cifar10", "folder": "~/data/cifar10", "download": True}
        if cifar
        else {"kind": "npz", "path": "data.npz"}
    )
    if cifar:
        draft.keep("trialTemplate: data", "dataset.kind: cifar10", "the template names it")
    else:
        draft.refuse("trialTemplate: data", "it is in an image; dataset.path: data.npz stands for a file of yours")
    if graph.inputSizes:
        if cifar and graph.inputSizes == (32, 32, 3):
            draft.keep("inputSizes", "those of dataset cifar10")
        else:
            draft.refuse("inputSizes", "the dataset says them, see rlnas validate")
    if graph.outputSizes:
        if not cifar:
            draft.take("outputSizes", "dataset.classes", graph.outputSizes[-1])
        elif graph.outputSizes[-1] == 10:
            draft.keep("outputSizes", "those of dataset cifar10")
        else:
            draft.refuse("outputSizes", "dataset cifar10 has 10 classes")
    epochs = re.search(r'--(?:num[_-]?)?epochs(?:=|\s+|", ")(\d+)', text)
    if epochs and "epochs" not in draft.sections["child"]:
        draft.take("trialTemplate: epochs", "child.epochs", int(epochs[1]))
    if gpus := re.search(r'"([\w.-]+/gpu)": "?(\d+)', text):
        draft.keep(f"trialTemplate: {gpus[1]}", f"rlnas submit --set accelerator_count={gpus[2]}", "no part of a spec")
    if spec.trialTemplate:
        draft.refuse("trialTemplate", "all else of it: rlnas trains children itself, by the section child")
