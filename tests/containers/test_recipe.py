"""What can be seen of the image without building it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pins(file: str) -> dict[str, str]:
    lines = [line.split("==") for line in (ROOT / file).read_text().splitlines()]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in lines}


def test_the_image_holds_what_was_tested():
    tested, held = pins("requirements.lock"), pins("images/requirements.lock")
    assert {name: version for name, version in held.items() if tested.get(name) != version}.keys() == {"setuptools"}
    assert not {"pytest", "mypy", "ruff"} & set(held)


def test_every_direct_dependency_is_locked():
    text = (ROOT / "pyproject.toml").read_text()
    listed = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    names = re.findall(r'^    "([\w-]+)', listed, re.MULTILINE)
    assert "torch" in names
    assert set(names) <= set(pins("images/requirements.lock"))


def test_the_recipe_names_no_registry_and_keeps_to_the_standard():
    recipe = (ROOT / "Dockerfile").read_text()
    code = "\n".join(line for line in recipe.splitlines() if not line.startswith("#"))
    assert not re.search(r"https?://|\w+\.\w+/\w|ENTRYPOINT|USER root|USER 0", code)
    assert re.search(r"^USER [1-9]\d*:\d+$", code, re.MULTILINE)
    for line in re.findall(r"pip (?:install|wheel)[^&\n]*", code):
        assert "--no-cache-dir" in line


def test_the_image_switches_telemetry_off():
    assert re.search(r"^\s+ORT_DISABLE_TELEMETRY=1 ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("given", ["VERSION", "COMMIT", "SOURCE", "CREATED"])
def test_the_image_says_where_it_comes_from(given):
    assert f'="${{{given}}}"' in (ROOT / "Dockerfile").read_text()
    assert f'"{given}=$' in (ROOT / "images/build.sh").read_text()


def test_a_password_does_not_come_into_the_labels(tmp_path):
    (tmp_path / "docker").write_text("#!/bin/sh\necho $@\n")
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "config").write_text('[remote "origin"]\nurl = https://me:secret@example.org/team/rlnas\n')
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ENGINE": "docker", "GIT_CONFIG_GLOBAL": f"{tmp_path}/config"}
    environment |= {"GIT_DIR": f"{tmp_path}/none"}
    done = subprocess.run([str(ROOT / "images/build.sh")], env=environment, capture_output=True, text=True, check=True)
    assert "SOURCE=https://example.org/team/rlnas" in done.stdout
    assert "secret" not in done.stdout


@pytest.mark.parametrize("engine", ["docker", "podman", "buildah"])
def test_the_script_builds_tags_and_pushes_with_any_engine(tmp_path, engine):
    """With an engine that only writes down what it is told."""
    log = tmp_path / "log"
    tool = tmp_path / engine
    tool.write_text(f'#!/bin/sh\n[ "$1" = info ] || echo "$@" >> {log}\n')
    tool.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "ENGINE": engine,
        "IMAGE": "host:5000/team/rlnas",
        "BASE_IMAGE": "base:1",
        "PIP_INDEX_URL": "https://index",
        "WHEELS": "/wheels",
        "SOURCE_DATE_EPOCH": "0",
        "PUSH": "true",
    }
    done = subprocess.run([str(ROOT / "images/build.sh")], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    build, *pushes = log.read_text().splitlines()
    tags = ["host:5000/team/rlnas:latest", "host:5000/team/rlnas:0.1.0"]
    for part in (
        "BASE_IMAGE=base:1",
        "PIP_INDEX_URL=https://index",
        "wheels=/wheels",
        "VERSION=0.1.0",
        "CREATED=1970-01-01T00:00:00Z",
    ):
        assert part in build
    assert all(f"--tag {tag}" in build for tag in tags)
    assert pushes == [f"push {tag}" for tag in tags]
    assert done.stdout.split()[-2:] == tags


@pytest.mark.parametrize(("arguments", "said"), [(["cpu"], "takes no argument"), ([], "neither docker")])
def test_the_script_says_in_one_line_what_is_wrong(tmp_path, arguments, said):
    for tool in ("dirname", "sed", "git", "bash", "env"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    done = subprocess.run(
        ["/usr/bin/bash", str(ROOT / "images/build.sh"), *arguments],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert os.access(ROOT / "images/build.sh", os.X_OK)
