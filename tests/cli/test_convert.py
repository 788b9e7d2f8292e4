"""`rlnas convert` as a person uses it: the spec on standard output or in a file, all that is said on standard error."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from katib_experiments import darts, enas

from rlnas.cli import common
from rlnas.spec import load_spec, parse_spec


def test_the_spec_is_on_standard_output_and_the_table_on_standard_error(rlnas: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(enas()))
    status, out, err = rlnas("convert", "mine.yaml")
    assert status == 0
    assert parse_spec(yaml.safe_load(out)).name == "enas-mine"
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in err.splitlines() if line.startswith("│")]
    assert ["maxTrialCount", "approximated", "loop.children: 6; whole rounds of 2"] in lines
    assert {fate for field, fate, _ in lines if field} == {"kept", "approximated", "refused"}
    assert err.endswith("next: rlnas validate SPEC  (checks the spec and its data)\n")
    assert not common.console.stderr


@pytest.mark.parametrize("document", [enas(), darts()], ids=["enas", "darts"])
def test_the_spec_in_a_file_is_valid(
    rlnas: Any, tmp_path: Path, document: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # no CIFAR-10 there
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
    status, out, err = rlnas("convert", "mine.yaml", "-o", "new/spec.yaml")
    assert (status, out) == (0, "")
    assert "spec: new/spec.yaml\nnext: rlnas validate new/spec.yaml" in err
    status, out, err = rlnas("validate", "new/spec.yaml")
    assert (status, err) == (0, "")
    assert out.startswith(f"new/spec.yaml is valid: search {load_spec('new/spec.yaml').name}, ")


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (None, (), "mine.yaml: cannot be read: No such file or directory"),
        ("spec: [", (), "mine.yaml: not YAML: "),
        ("a: 1\na: 2", (), "mine.yaml: a is there twice, in line 1 and in line 2; allowed: once"),
        (
            "name: digits",
            (),
            "mine.yaml: apiVersion is missing; allowed: an Experiment of Katib (kubeflow.org/v1beta1)",
        ),
        (yaml.safe_dump(enas()), ("-o", "."), ".: cannot be written: Is a directory"),
    ],
)
def test_wrong_input_is_one_line(
    rlnas: Any, tmp_path: Path, content: str | None, arguments: tuple[str, ...], words: str
) -> None:
    if content is not None:
        (tmp_path / "mine.yaml").write_text(content)
    status, out, err = rlnas("convert", "mine.yaml", *arguments)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"rlnas: {words}")
    assert err.count("\n") == 1
