"""The parts of an `Experiment` of Katib that mean something here; what else it has is kept by name."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlnas.errors import UserError


class Part(BaseModel):
    """A part of an experiment. What it has beside these fields is refused, by `REFUSED`."""

    model_config = ConfigDict(extra="allow")


Text = str | int | float


class Setting(Part):
    name: str
    value: Text


class Feasible(Part):
    list: tuple[Text, ...] = ()
    min: Text = ""
    max: Text = ""
    step: Text = 1


class Parameter(Part):
    name: str
    parameterType: Literal["categorical", "discrete", "int", "double"]
    feasibleSpace: Feasible


class Operation(Part):
    operationType: str
    parameters: tuple[Parameter, ...] = ()


class Graph(Part):
    numLayers: int = Field(ge=1)
    inputSizes: tuple[int, ...] = ()
    outputSizes: tuple[int, ...] = ()


class NasConfig(Part):
    graphConfig: Graph
    operations: tuple[Operation, ...] = Field(min_length=1)


class Objective(Part):
    type: Literal["maximize", "minimize"] = "maximize"
    objectiveMetricName: str = ""


class Algorithm(Part):
    algorithmName: Literal["enas", "darts"]
    algorithmSettings: tuple[Setting, ...] = ()


class Spec(Part):
    objective: Objective = Objective()
    algorithm: Algorithm
    parallelTrialCount: int = Field(default=3, ge=1)
    maxTrialCount: int | None = Field(default=None, ge=1)
    nasConfig: NasConfig
    trialTemplate: dict[str, Any] = Field(default_factory=dict)


class Metadata(Part):
    name: str = ""
    generateName: str = ""


class Experiment(Part):
    apiVersion: Literal["kubeflow.org/v1beta1"]
    kind: Literal["Experiment"]
    metadata: Metadata = Metadata()
    spec: Spec


ALLOWED = "an Experiment of Katib (kubeflow.org/v1beta1) with a nasConfig"


def read_experiment(document: Any) -> Experiment:
    """Read an experiment from what YAML gave.

    Raises:
        UserError: one line about the first thing that is wrong.
    """
    if not isinstance(document, dict):
        raise UserError(f"a mapping is needed, got {type(document).__name__}; allowed: {ALLOWED}")
    try:
        return Experiment.model_validate(document)
    except ValidationError as error:
        raise UserError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{where} is missing; allowed: {ALLOWED}"
    needed = {"model_type": "a mapping is needed", "dict_type": "a mapping is needed", "tuple_type": "a list is needed"}
    return f"{where}: {needed.get(first['type'], first['msg'])}, got {first['input']!r}"


def others(part: Part, before: str = "") -> Iterator[str]:
    """Return every field that no part of an experiment names, by its path."""
    yield from (f"{before}{name}" for name in part.model_extra or {})
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Part):
            yield from others(value, f"{before}{name}.")
        elif isinstance(value, tuple):
            for entry in value:
                if isinstance(entry, Part):
                    yield from others(entry, f"{before}{name}.")
