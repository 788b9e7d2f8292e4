"""README, docs and examples: every command in them exists, every file they name is there, every example is valid."""

import importlib
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
import yaml
from searches import make_spec, run

from pipelines.compile import compile_all
from pipelines.rounds import Shape, rounds_that_fit
from pipelines.search import ROUNDS_PER_RUN, search_pipeline
from pipelines.size import MOST_PODS, size_of_workers
from rlnas.children import RECIPES
from rlnas.cli.common import app
from rlnas.cluster import run_parameters
from rlnas.controller import SETTINGS
from rlnas.datasets import DATASETS
from rlnas.report.data import read_report
from rlnas.report.page import render
from rlnas.spaces import SPACES
from rlnas.spec import parse_spec
from rlnas.state import Bucket

for part in ("run", "convert", "look", "suggest", "life", "winner", "store", "care", "kubeflow"):
    importlib.import_module(f"rlnas.cli.{part}")  # its commands join the app
ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS += sorted((ROOT / "examples").glob("*.yaml"))  # for what their comments say
TEXTS = {path.name: path.read_text("utf-8") for path in DOCUMENTS}
TOP = "rlnas|docs|examples|tests|components|pipelines|manifests|images|benchmarks"


def script(name: str) -> Any:
    """Import one of the scripts in docs/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def shell_commands(text: str) -> Iterator[tuple[list[str], bool]]:
    """Every command in a shell block or in a line of code, as words; with each, whether it must be complete."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line, comments=True), True
    for code in re.findall(
        r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    ):
        try:
            yield shlex.split(code), False
        except ValueError:  # an apostrophe
            continue


def rlnas_commands(text: str) -> Iterator[tuple[list[str], bool]]:
    for words, whole in shell_commands(text):
        if words and words[0] == "rlnas":
            ends = [at for at, word in enumerate(words) if word in (">", "|", "&", ";", "&&")]
            yield words[1 : min(ends, default=len(words))], whole


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[list[str], bool], str]:
    """Let the command line's own parser read a command, which does nothing; gives its complaint, or nothing.

    An argument may be missing where the command is only spoken of.
    """
    command = typer.main.get_command(app)
    for _, leaf in all_commands(command):
        monkeypatch.setattr(leaf, "callback", lambda **_: None)

    def read(arguments: list[str], whole: bool) -> str:
        with pytest.raises(SystemExit) as ended:
            command.main(arguments or ["--help"], prog_name="rlnas")
        complaint = capsys.readouterr().err
        missing = "Missing" in complaint or "Error" not in complaint  # a group alone explains itself
        return "" if not ended.value.code or (missing and not whole) else complaint or "it is not a whole command"

    return read


def all_commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{before}{name} ")
        else:
            yield before + name, command


@pytest.mark.parametrize("name", TEXTS)
def test_every_rlnas_command_is_one(name: str, parse: Callable[[list[str], bool], str]) -> None:
    for arguments, whole in rlnas_commands(TEXTS[name]):
        assert parse(arguments, whole) == "", f"{name}: rlnas {' '.join(arguments)}"


@pytest.mark.parametrize(
    "wrong", ["rlnas runn SPEC", "rlnas run", "rlnas run SPEC --controll", "rlnas schedule make a b", "rlnas list x"]
)
def test_a_command_that_is_none_would_be_seen(wrong: str, parse: Callable[[list[str], bool], str]) -> None:
    ((arguments, whole),) = rlnas_commands(f"```sh\n{wrong}  # comment\n```\n")
    assert parse(arguments, whole)


def test_every_command_is_explained() -> None:
    said = [" ".join(arguments) + " " for arguments, _ in rlnas_commands(TEXTS["commands.md"])]
    for name, _ in all_commands(typer.main.get_command(app)):
        assert any(command.startswith(f"{name} ") for command in said), f"commands.md does not show rlnas {name}"


@pytest.mark.parametrize("name", TEXTS)
def test_every_make_target_is_one(name: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words, _ in shell_commands(TEXTS[name]):
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if len(words) > 1 and words[0] == "make":
            assert words[1] in targets, f"{name}: make {words[1]}"


@pytest.mark.parametrize("name", TEXTS)
def test_every_file_is_there(name: str) -> None:
    folder = next(path.parent for path in DOCUMENTS if path.name == name)
    text = TEXTS[name]
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert "://" in link or (folder / link).exists(), f"{name} links to {link}"
    for path in re.findall(rf"(?<![\w./:-])(?:{TOP})/[\w./:-]+", text):
        path = path.rstrip(".:")
        assert (ROOT / path).exists(), f"{name} names {path}"


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_within_a_document_has_its_heading(name: str) -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in TEXTS[name].splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXTS[name])) <= headings


@pytest.mark.parametrize("name", TEXTS)
def test_every_shell_block_is_shell(name: str) -> None:
    for block in blocks(TEXTS[name], "sh"):
        read = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert read.returncode == 0, f"{name}: {read.stderr}"


@pytest.mark.parametrize("name", TEXTS)
def test_every_variable_is_read_somewhere(name: str) -> None:
    sources = [
        path.read_text("utf-8")
        for folder in ("rlnas", "pipelines", "tests", "images")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".py", ".sh")
    ]
    for variable in set(re.findall(r"\b(?:RLNAS|KFP)_[A-Z_]+\b(?!\*)", TEXTS[name])):
        assert any(variable.removeprefix("RLNAS_STORE_") in source for source in sources), f"{name}: {variable}"


def test_every_run_parameter_is_one(tmp_path: Path) -> None:
    package = compile_all(tmp_path)[0]
    given = {
        word
        for text in TEXTS.values()
        for words, _ in shell_commands(text)
        for option, word in pairwise(words)
        if option == "--set" and word != "name=value" and "extend" not in words  # which changes fields of a spec
    }
    assert len(given) > 3
    assert run_parameters(package, given)


def test_every_overlay_and_every_object_of_a_namespace_is_explained() -> None:
    """tests/manifests holds what the overlays make."""
    overlays = TEXTS["kubeflow.md"].partition("## Overlays")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \|", overlays, re.MULTILINE)
    assert sorted(rows) == sorted(path.name for path in (ROOT / "manifests/overlays").iterdir())
    objects = re.findall(r"\| `([\w-]+)` \| `(\w+)` \|$", TEXTS["kubeflow.md"], re.MULTILINE)
    defaults = {name: about.default for name, about in search_pipeline.component_spec.inputs.items()}
    assert len(objects) == 5
    assert all(defaults[parameter] == name for name, parameter in objects)


def test_the_specs_that_are_shown_are_valid() -> None:
    documents = blocks(TEXTS["spec.md"], "yaml")
    assert len(documents) == 2
    for document in documents:
        parse_spec(yaml.safe_load(document))


def test_every_section_of_a_spec_has_its_table() -> None:
    shown = re.findall(r"<!-- fields of (\S+) -->", TEXTS["spec.md"])
    models = [*SPACES.values(), *DATASETS.values(), *RECIPES.values(), *SETTINGS.values()]
    models += [f"rlnas.spec:{name}Settings" for name in ("Loop", "Failure", "Final")] + [
        "rlnas.objective:Objective",
        "rlnas.warm_start:WarmStart",
    ]
    assert sorted([*shown, SETTINGS["random"]]) == sorted(models), "random has no fields"
    for kind in DATASETS:
        assert f"### `{kind}`" in TEXTS["spec.md"]


@pytest.mark.parametrize("name", [path.name for path in DOCUMENTS if path.parent.name == "docs"])
def test_tables_are_as_the_code_has_them(name: str) -> None:
    assert script("make_tables").filled_in(TEXTS[name]) == TEXTS[name], "python docs/make_tables.py writes them anew"


def test_the_picture_of_the_loop_is_as_the_pipeline_has_it() -> None:
    drawn = script("make_pictures").loop()
    assert drawn == (ROOT / "docs/loop.svg").read_text("utf-8"), "make docs draws it anew"
    ElementTree.fromstring(drawn)


def test_the_picture_of_a_report_is_drawn_from_a_page(bucket: Bucket) -> None:
    ledger = run(bucket.settings, make_spec("cnn", loop={"children": 4, "children_per_round": 2}))
    drawn = script("make_pictures").report(render(read_report(ledger)))
    for picture in (drawn, (ROOT / "docs/report.svg").read_text("utf-8")):
        texts = {element.text for element in ElementTree.fromstring(picture).iter() if element.text}
        assert {"Best so far", "Reward by child", "Best architecture", "best reward"} <= texts


def test_the_table_of_pods_is_that_of_the_package(tmp_path: Path) -> None:
    documents = list(yaml.safe_load_all(compile_all(tmp_path)[0].read_text()))
    cells = r"((?:\| [\d,]+ )+)\|$"
    batches = [1, 2, 4, 8][::-1]

    def row(beginning: str) -> list[int]:
        found = re.search(rf"^\| {beginning}.*? {cells}", TEXTS["kubeflow.md"], re.MULTILINE)
        assert found is not None, beginning
        return [int(cell.replace(",", "")) for cell in re.findall(r"[\d,]+", found[1])]

    fitting = {few: rounds_that_fit(documents, Shape(few, 2)) for few in batches}
    assert row("rounds that fit into a run") == list(fitting.values())
    assert min(fitting.values()) == ROUNDS_PER_RUN
    for children in (64, 160, 12_800):
        rounds = children // 8
        runs = {few: -(-rounds // most) for few, most in fitting.items()}
        alone = Shape().size(documents, 0).pods  # what a run takes beside its rounds
        pods = [(runs[few] - 1) * alone + Shape(few, 2).size(documents, rounds).pods for few in batches]
        assert row(f"pods in all, {children:,} children") == pods
    assert f"below {MOST_PODS} pods" in TEXTS["kubeflow.md"]


def test_the_pods_of_loop_and_workers_are_those_of_the_packages(tmp_path: Path) -> None:
    compile_all(tmp_path)
    loop, by_workers = (
        list(yaml.safe_load_all((tmp_path / f"{name}.yaml").read_text())) for name in ("search", "workers")
    )
    most, alone = rounds_that_fit(loop, Shape(1, 2)), Shape().size(loop, 0).pods
    run = size_of_workers(by_workers, 8, {}).pods
    for children in (32, 512, 12_800):
        rounds = children // 8
        pods = (-(-rounds // most) - 1) * alone + Shape(1, 2).size(loop, rounds).pods
        runs = -(-children // (8 * 30 * 20))
        assert re.search(rf"^\| {children:,} \| {pods:,} \| {runs * run:,}\b", TEXTS["README.md"], re.MULTILINE)


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) < 140
