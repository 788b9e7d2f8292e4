"""What tasks are handed has the type that they ask for: a real driver refuses all else, the local runner nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl
from packages import type_mismatches

import components


def made_of(hint: Any) -> Callable[..., Any]:
    """A component whose items are numbers, and which says so or does not."""

    def numbers() -> list:
        return [1, 2]

    numbers.__annotations__["return"] = hint
    return dsl.component(numbers, base_image="image", install_kfp_package=False)


@dsl.component(base_image="image", install_kfp_package=False)
def double(number: int) -> int:
    return 2 * number


@dsl.component(base_image="image", install_kfp_package=False)
def total(numbers: list) -> int:
    return sum(numbers)


def compiled(folder: Path, hint: Any) -> dict[str, Any]:
    producer = made_of(hint)

    @dsl.pipeline(name="loop")
    def pipeline() -> None:
        with dsl.ParallelFor(producer().output) as number:
            doubled = double(number=number)
        total(numbers=dsl.Collected(doubled.output))

    compiler.Compiler().compile(pipeline, str(folder / "loop.yaml"))
    return yaml.safe_load((folder / "loop.yaml").read_text())


def test_every_parameter_has_the_type_that_its_consumer_asks_for(package: dict[str, Any]) -> None:
    assert type_mismatches(package) == []


@pytest.mark.parametrize(
    ("hint", "found"),
    [
        (list[int], []),
        (list, ["double: number: expects NUMBER_INTEGER, got STRING"]),
        (list[str], ["double: number: expects NUMBER_INTEGER, got STRING"]),
    ],
)
def test_a_list_that_does_not_say_what_it_holds_is_found(tmp_path: Path, hint: Any, found: list[str]) -> None:
    assert type_mismatches(compiled(tmp_path, hint)) == found


def test_the_search_as_it_once_was_is_found(documents: list[dict[str, Any]]) -> None:
    """Its lists did not say what they hold, and no run on a cluster got past its second task."""
    package = documents[0]
    for component in package["components"].values():
        for name, parameter in component.get("inputDefinitions", {}).get("parameters", {}).items():
            if name.endswith("-loop-item"):
                parameter["parameterType"] = "STRING"
    wrong = {
        "comp-plan-rounds": "plan-rounds: slot: expects NUMBER_INTEGER, got STRING",
        "comp-sample-architecture": "sample-architecture: turn: expects STRUCT, got STRING",
        "comp-work": "work: share: expects STRUCT, got STRING",
    }
    looped = set(wrong) & set(package["components"]) if "comp-plan-grid" not in package["components"] else set()
    assert set(type_mismatches(package)) == {wrong[component] for component in looped}


def test_a_constant_of_another_type_is_found(package: dict[str, Any]) -> None:
    root = package["root"]["dag"]["tasks"]
    name = next(name for name in root if name.startswith("p"))  # prepare-data, plan-grid
    root[name]["inputs"]["parameters"]["search_name"] = {"runtimeValue": {"constant": 3.0}}
    assert type_mismatches(package) == [f"{name}: search_name: expects STRING, got NUMBER_DOUBLE"]


@pytest.mark.parametrize("name", sorted(components.__all__))
def test_every_list_of_a_component_says_what_it_holds(name: str) -> None:
    for parameter, hint in getattr(components, name).python_func.__annotations__.items():
        assert hint is not list, f"{name}: {parameter}"
