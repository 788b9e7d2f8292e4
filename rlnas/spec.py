"""SearchSpec: the one document a person writes. Everything that decides a search's outcome is in it."""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rlnas.children import RECIPES, EpochRecipe, Recipe
from rlnas.controller import SETTINGS, ControllerSettings
from rlnas.datasets import DATASETS, Dataset
from rlnas.errors import UserError
from rlnas.objective import Objective
from rlnas.registry import resolve
from rlnas.section import EARLIER, Section, newer, wrong
from rlnas.spaces import SPACES, Space
from rlnas.warm_start import WarmStart
from rlnas.yaml_text import read_yaml

MOST_GRID_POINTS = 1000
MOST_ROUNDS = 900_000
"""What lies beyond are the numbers of rounds that finalize winners."""
KINDS = ("space", "dataset", "child", "controller")
"""Sections whose `kind` decides which fields they have."""


def _section(name: str, table: dict[str, str], group: str, base: type[BaseModel]) -> BeforeValidator:
    """Let a section's `kind` decide which model reads it."""

    def read(value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, base):
            return value
        if not isinstance(value, dict):
            raise UserError(f"{name}: a mapping with a kind is needed, got {value!r}")
        try:
            model = resolve(table, value.get("kind"), group)
        except UserError as error:
            raise UserError(f"{name}.kind: {error}") from None
        if not (isinstance(model, type) and issubclass(model, base)):
            raise UserError(f"{name}.kind: {value.get('kind')!r} is {model!r}; allowed: a {base.__name__}")
        try:
            return model.model_validate(value, context=info.context)
        except ValidationError as error:
            raise UserError(wrong(error, model, f"{name}.")) from None

    return BeforeValidator(read)


class LoopSettings(Section):
    """How many children, and how they are grouped. Of several budgets, the first that is reached ends the search.

    Args:
        children: the budget of the search: children in all; a multiple of `children_per_round`.
        children_per_round: children that the controller proposes together, before it learns from them; the paper's m.
        children_per_batch: children of a round that share a task, and so a pod and its GPU.
        rounds_per_update: rounds whose gradients are added up before the controller changes; the paper has 1 for
            NAS-CNN and 10 for NAS-RNN.
        window: rounds that may be under way at the same time; 1 is synchronous and reproducible.
        replicas: loops of rounds that run side by side; the paper's K.
        learn_from: the children whose rewards change the controller: all, or only those that were trained to the end
            (`finished`), see `child.rungs`.
        hours: the search ends so many hours after it was created; pauses count. Null: no limit.
        device_hours: the search ends when the children of complete rounds have taken so many hours in all, the short
            trials that chose them included. Null: no limit.
    """

    children: int = Field(ge=1, le=1_000_000)
    children_per_round: int = Field(default=8, ge=1, le=1000)
    children_per_batch: int = Field(default=8, ge=1, le=1000)
    rounds_per_update: int = Field(default=1, ge=1, le=1000)
    window: int = Field(default=1, ge=1, le=900)
    replicas: int = Field(default=1, ge=1, le=400)
    learn_from: Literal["all", "finished"] = "all"
    hours: float | None = Field(default=None, gt=0)
    device_hours: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> "LoopSettings":
        if self.children % self.children_per_round:
            below = self.children - self.children % self.children_per_round
            raise ValueError(
                f"children: {self.children} is not a multiple of children_per_round, {self.children_per_round};"
                f" allowed: {f'{below} or ' if below else ''}{below + self.children_per_round}"
            )
        if self.rounds > MOST_ROUNDS:
            raise ValueError(f"children: {self.children} are {self.rounds} rounds; allowed: {MOST_ROUNDS:,} rounds")
        if self.window < self.replicas:
            raise ValueError(f"window: {self.window} is less than replicas, {self.replicas}: some would never work")
        if self.window < self.rounds_per_update:
            raise ValueError(f"window: {self.window} is less than rounds_per_update, {self.rounds_per_update}")
        return self

    @property
    def rounds(self) -> int:
        """Rounds in the whole search."""
        return self.children // self.children_per_round


LARGEST_REWARD = 1e6
"""Either way, of a failure and of what is told. What is far beyond leaves the numbers that a controller learns in."""


class FailureSettings(Section):
    """What becomes of children that cannot be scored.

    Args:
        reward: what the controller gets for a child that failed: not finite, out of memory, impossible shape, timeout.
        lost: a child is lost if its process was killed `attempts` times without progress. With `penalty` it gets
            `reward`: this is what a child that needs too much memory looks like. With `neutral` it counts for nothing.
        attempts: attempts without progress after which a child is given up as lost. An attempt counts once it has begun
            to train.
        lease_seconds: if the process that trains a child shows no sign of life for so many seconds, another one takes
            the child over.
    """

    reward: float = Field(default=0.0, ge=-LARGEST_REWARD, le=LARGEST_REWARD)
    lost: Annotated[str, Field(pattern="^(penalty|neutral)$")] = "penalty"
    attempts: int = Field(default=5, ge=1, le=100)
    lease_seconds: float = Field(default=600, ge=1)


class FinalSettings(Section):
    """What becomes of the winner: a small grid of recipes, then the last training (Zoph & Le 2017, Sections 4.1, 4.2).

    Args:
        grid: fields of `child`, each with the values to try. Every combination trains the winner once; the best on
            validation data is chosen. Empty: `child` as it is. A learning rate of the grid goes before one that the
            winner predicts.
        retrain: fields of `child` that are different in the last training, such as `epochs`. It has no time limit
            unless one is given here.
        data: the data of the last training.
        references: known models that go through the same grid, training and test, for comparison.
    """

    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    retrain: dict[str, Any] = Field(default_factory=dict)
    data: Literal["train", "train_and_validation"] = "train_and_validation"
    references: tuple[str, ...] = ()

    @field_validator("grid")
    @classmethod
    def _values_to_try(cls, grid: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for name, values in grid.items():
            if not values:
                raise ValueError(f"{name}: no value to try; allowed: a list of values")
        if math.prod(len(values) for values in grid.values()) > MOST_GRID_POINTS:
            raise ValueError(f"more than {MOST_GRID_POINTS} combinations; allowed: fewer values")
        return grid

    @field_validator("references")
    @classmethod
    def _each_once(cls, references: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [name for name in references if references.count(name) > 1]:
            raise ValueError(f"{twice[0]} is there twice; allowed: each once")
        return references

    @property
    def points(self) -> list[dict[str, Any]]:
        """The combinations of the grid, as changes to the `child` section."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]

    def last(self, recipe: Recipe) -> dict[str, Any]:
        """Return the changes of the last training; of its weights only the last are kept: test data must not choose."""
        unlimited = {"time_limit": None} if recipe.time_limit else {}  # it was meant for shorter trainings
        snapshot = {"snapshots": 1} if "snapshots" in type(recipe).model_fields else {}
        return unlimited | self.retrain | snapshot


class SearchSpec(Section):
    """A search.

    Args:
        name: of the search, and of its folder in the store.
        seed: of everything random in it.
        space: what can be found.
        dataset: what children are trained and scored on.
        child: how a child is trained; its kind is the space's unless given.
        controller: how architectures are proposed.
        loop: how many, and in what groups.
        objective: what is maximised beside the score, and within what limits.
        warm_start: an earlier search whose knowledge this one begins with; null: none.
        failures: what becomes of sick children.
        finalize: what becomes of the winner when the budget is reached; null: nothing.
    """

    name: str
    seed: int = Field(default=0, ge=0, lt=2**31)
    space: Annotated[SerializeAsAny[Space], _section("space", SPACES, "rlnas.spaces", Space)]
    dataset: Annotated[SerializeAsAny[Dataset], _section("dataset", DATASETS, "rlnas.datasets", Dataset)]
    child: Annotated[SerializeAsAny[Recipe], _section("child", RECIPES, "rlnas.recipes", Recipe)]
    controller: Annotated[
        SerializeAsAny[ControllerSettings],
        _section("controller", SETTINGS, "rlnas.controller_settings", ControllerSettings),
    ] = Field(default={"kind": "reinforce"}, validate_default=True)
    loop: LoopSettings
    objective: Objective = Objective()
    warm_start: WarmStart | None = None
    failures: FailureSettings = FailureSettings()
    finalize: FinalSettings | None = FinalSettings()

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        space, child = document.get("space"), document.get("child", {})
        if isinstance(space, dict) and isinstance(child, dict):
            child = {"kind": space.get("kind")} | child
        controller = document.get("controller")
        if isinstance(controller, dict):
            document = document | {"controller": {"kind": "reinforce"} | controller}
        return document | {"child": child}

    @field_validator("name")
    @classmethod
    def _name_is_a_key(cls, name: str) -> str:
        return check_name(name)

    @model_validator(mode="after")
    def _warm_start_is_of_use(self) -> "SearchSpec":
        if self.warm_start:
            self.warm_start.check(self.name, self.controller)
        return self

    @model_validator(mode="after")
    def _rungs_are_before_the_end(self) -> "SearchSpec":
        if isinstance(self.child, EpochRecipe) and self.child.rungs and self.child.rungs[-1] >= self.child.epochs:
            raise UserError(
                f"child.rungs: after epoch {self.child.rungs[-1]} no training is left of {self.child.epochs};"
                f" allowed: epochs from 1 to {self.child.epochs - 1}"
            )
        return self

    @model_validator(mode="after")
    def _final_trainings_are_possible(self) -> "SearchSpec":
        if self.final is None:
            return self
        for section, changes in [
            *(("grid", point) for point in self.final.points),
            ("retrain", self.final.last(self.child)),
        ]:
            try:
                self.child.vary(changes)
            except ValidationError as error:
                raise UserError(f"finalize.{section}: {wrong(error, type(self.child), 'child.')}") from None
        check_references(self.child, self.final.references)
        return self

    @property
    def final(self) -> FinalSettings | None:
        """What becomes of the winner; None where nothing does, or where children are not trained at all."""
        return self.finalize if self.child.trains else None

    @property
    def label(self) -> str:
        """What the searcher is, in a line for people."""
        begun = self.warm_start is not None and self.warm_start.controller
        return (self.controller.begun_label if begun else "") or self.controller.label

    @property
    def limits(self) -> str:
        """What ends the search, or a child of it, before its budget of children does, in a line; empty: nothing."""
        loop, child = self.loop, self.child.time_limit
        hours = [
            *([f"{loop.hours:g} hours after its creation"] if loop.hours else []),
            *([f"after {loop.device_hours:g} device hours"] if loop.device_hours else []),
        ]
        ends = [f"it ends {' or '.join(hours)}, if that is before its {loop.children:,} children"] if hours else []
        return "; ".join(ends + ([f"a child fails after {child:g} s of training"] if child else []))

    @property
    def recipes(self) -> Iterator[Recipe]:
        """Every recipe that a child of the search, or its winner, may be trained by."""
        yield self.child
        final = self.final
        if final is None:
            return
        for point in final.points:
            yield self.child.vary(point)
            yield self.child.vary(point | final.last(self.child))

    @property
    def sha256(self) -> str:
        """Of the whole document, defaults filled in."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @property
    def document(self) -> dict[str, Any]:
        """What a person may write for this spec: what was left at its default stays open."""
        written = self.model_dump(mode="json", exclude_unset=True)
        return written | {name: {"kind": getattr(self, name).kind} | written.get(name, {}) for name in KINDS}

    @property
    def fields(self) -> dict[str, Any]:
        """Every field, named like `loop.children`, with its value."""
        return dict(_flat(self.model_dump(mode="json")))

    def with_data_at(self, other: "SearchSpec") -> "SearchSpec":
        """Return this spec with its data where another one of the same kind of data has it."""
        if type(self.dataset) is not type(other.dataset):
            return self
        where = {field: getattr(other.dataset, field) for field in self.dataset.location}
        return self.model_copy(update={"dataset": self.dataset.model_copy(update=where)})

    def differences(self, other: "SearchSpec") -> list[str]:
        """Name the fields in which two specs differ, as `field: mine, not theirs`.

        What this one leaves open may be as it was in searches that began before there was such a field.
        """
        if self == other:
            return []
        earlier = parse_spec(self.document, self.name, earlier=True)
        mine, before, theirs = (spec.fields for spec in (self, earlier, other))
        keys = [*mine, *(key for key in theirs if key not in mine)]
        differing = [key for key in keys if theirs.get(key) not in (mine.get(key), before.get(key))]
        # Of sections of two kinds, all fields differ: the kind says it.
        others = tuple(f"{section}." for section in KINDS if f"{section}.kind" in differing)
        return [
            f"{key}: {mine.get(key, 'unset')}, not {theirs.get(key, 'unset')}"
            for key in differing
            if key.endswith(".kind") or not key.startswith(others)
        ]


def check_references(recipe: Recipe, names: Iterable[str]) -> None:
    """Raise `UserError` unless a trainer knows all these reference models."""
    for name in names:
        if name not in recipe.references:
            allowed = ", ".join(recipe.references) or "none"
            raise UserError(
                f"finalize.references: {name!r} is no reference of {recipe.kind} children; allowed: {allowed}"
            )


def check_name(name: str) -> str:
    """Return a search's name if it can be a folder of an S3 store and the name of a Kubernetes label.

    Raises:
        UserError: it cannot.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise UserError(f"name: {name!r} cannot name a search; allowed: 1 to 63 of a-z, 0-9 and -, no - at either end")
    return name


def parse_spec(document: Any, source: str = "spec", earlier: bool = False) -> SearchSpec:
    """Read a spec from what YAML or JSON gave.

    Args:
        document: a mapping.
        source: what it was read from, for the error message.
        earlier: of a search in the store: fields that it lacks were not there yet when it began, see `Section`.

    Raises:
        UserError: one line about the first thing that is wrong.
    """
    if not isinstance(document, dict):
        raise UserError(f"{source}: a mapping is needed, got {type(document).__name__}; see examples/digits.yaml")
    try:
        return SearchSpec.model_validate(document, context=EARLIER if earlier else None)
    except ValidationError as error:
        words = newer(error) if earlier else ""
        raise UserError(f"{source}: {words or wrong(error, SearchSpec)}") from None


def load_spec(path: str | Path) -> SearchSpec:
    """Read a spec from a YAML (or JSON) file.

    Raises:
        UserError: the file cannot be read, or is not a spec.
    """
    try:
        document = read_yaml(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return parse_spec(document, str(path))


def with_field(document: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """Return a document with another value in a field, which is named like `loop.children`."""
    first, _, rest = field.partition(".")
    return document | {first: with_field(document.get(first) or {}, rest, value) if rest else value}


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every field of a document, named like `loop.children`, with its value."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _flat(entry, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
