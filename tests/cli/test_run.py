"""A search as a person starts it: with another searcher, under another name, as a control."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from searches import make_spec, run

from rlnas import local
from rlnas.controller import SETTINGS
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, list_searches, open_search
from rlnas.steps import open_search as begin


@pytest.fixture
def started(rlnas: Any, monkeypatch: pytest.MonkeyPatch) -> list[SearchSpec]:
    """The specs of which `run` starts a search: it is begun, and no round is run, as tests/test_cli.py does."""
    specs: list[SearchSpec] = []

    def run_search(bucket: Bucket, spec: SearchSpec, *_: Any) -> Any:
        specs.append(spec)
        return local.read_status(begin(bucket, spec.name, spec))

    monkeypatch.setattr(local, "run_search", run_search)
    return specs


@pytest.fixture
def path(tmp_path: Path) -> str:
    document = make_spec("cnn", controller={"kind": "reinforce", "learning_rate": 0.02}).document | {"name": "mine"}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(document))
    return "spec.yaml"


def test_another_searcher_runs_by_its_defaults_and_what_is_left_out_is_said(
    rlnas: Any, started: list[SearchSpec], path: str
) -> None:
    status, out, err = rlnas("run", path, "--searcher", "guided")
    assert (status, err) == (0, "")
    assert (
        out.splitlines()[0]
        == "warning: controller.learning_rate of the spec left out: searcher guided has no such setting"
    )
    assert f"next: rlnas run {path} --searcher guided  (continues the search)" in out
    assert (started[0].name, started[0].document["controller"]) == ("mine", {"kind": "guided"})
    assert "warning" not in rlnas("run", path, "--searcher", "reinforce", "--name", "other")[1]
    assert started[1].controller.learning_rate == 0.02


def test_a_search_that_has_another_searcher_says_what_to_do(rlnas: Any, started: list[SearchSpec], path: str) -> None:
    assert rlnas("run", path)[0] == 0
    status, _, err = rlnas("run", path, "--searcher", "guided")
    assert status == 2
    assert err == (
        "rlnas: search mine exists with another spec (controller.kind: guided, not reinforce); allowed: its own spec,"
        " or another name: in the spec, or by --name NAME\n"
    )
    status, out, err = rlnas("run", path, "--searcher", "guided", "--name", "mine-guided")
    assert (status, err) == (0, "")
    assert f"next: rlnas run {path} --searcher guided --name mine-guided  (continues" in out
    assert started[-1].name == "mine-guided"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--searcher", "bayes"), f"searcher of mine: unknown kind 'bayes'; allowed: {', '.join(sorted(SETTINGS))}"),
        (("--control", "larges"), "control of mine: 'larges' is no control; allowed: random, largest"),
        (("--control=guided",), "control of mine: 'guided' is no control; allowed: random, largest"),
        (("--name", "No"), "mine as No: name: 'No' cannot name a search; allowed: "),
    ],
)
@pytest.mark.parametrize("command", ["run", "submit"])
def test_what_is_no_searcher_control_or_name_is_one_line_and_starts_nothing(
    rlnas: Any, bucket: Bucket, started: list[SearchSpec], path: str, command: str, options: tuple[str, ...], words: str
) -> None:
    status, _, err = rlnas(command, path, *options)
    assert (status, err.count("\n")) == (2, 1), err
    assert err.startswith(f"rlnas: {words}")
    assert list_searches(bucket) == []


@pytest.mark.parametrize(
    ("options", "name", "kind"),
    [
        (("SPEC", "--control"), "mine-control", "random"),
        (("--control", "SPEC"), "mine-control", "random"),
        (("--control", "random", "SPEC"), "mine-control", "random"),
        (("SPEC", "--control", "--seed", "5"), "mine-s5-control", "random"),
        (("SPEC", "--control", "largest"), "mine-largest", "largest"),
        (("SPEC", "--control=largest", "--seed", "5"), "mine-s5-largest", "largest"),
        (("SPEC", "--searcher", "guided", "--name", "other", "--control"), "other-control", "random"),
    ],
)
def test_a_control_stands_beside_its_search(
    rlnas: Any, bucket: Bucket, started: list[SearchSpec], path: str, options: tuple[str, ...], name: str, kind: str
) -> None:
    status, out, err = rlnas("run", *(path if option == "SPEC" else option for option in options))
    assert (status, err) == (0, "")
    assert f" --control {kind}  (continues the search)" in out
    assert (started[0].name, started[0].controller.kind, started[0].finalize) == (name, kind, None)
    assert open_search(bucket, name).spec == started[0]


def test_a_control_that_would_mean_nothing_is_one_line(rlnas: Any, bucket: Bucket, tmp_path: Path) -> None:
    spec = make_spec()
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec.document))
    status, out, err = rlnas("run", "spec.yaml", "--control", "largest")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "largest means nothing in space tabular, which tells no architectures apart by their parameters" in err
    assert list_searches(bucket) == []


def test_a_report_names_both_controls(rlnas: Any, bucket: Bucket, started: list[SearchSpec], path: str) -> None:
    for options in ((), ("--control",), ("--control", "largest")):
        rlnas("run", path, *options)
        run(bucket.settings, started[-1])
    assert rlnas("report", "mine", "-o", "here.html")[0] == 0
    page = Path("here.html").read_text()
    few = "fewer than 16 children on a side."
    assert f"Not distinguishable from random: {few} Not distinguishable from largest: {few}" in page
