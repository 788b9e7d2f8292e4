"""Every component's own function, called as a task calls it: with short parameters, the store in the environment."""

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import searches
import watched
from kfp import dsl, local
from searches import make_spec

import components
from rlnas import steps
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, open_search
from rlnas.state.records import Lease
from rlnas.steps.common import Batch

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "components").glob("*.py") if path.stem != "__init__")


@pytest.fixture
def spec(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> SearchSpec:
    """Of a search that is not in the store yet, whose address is in the environment."""
    for name, value in bucket.settings.to_environment().items():
        monkeypatch.setenv(name, value)
    return make_spec(loop={"children": 8, "children_per_round": 4, "children_per_batch": 2, "window": 2, "replicas": 2})


@pytest.fixture
def ledger(bucket: Bucket, spec: SearchSpec) -> Ledger:
    """The same search, opened by its component."""
    components.open_search.python_func(spec.name, spec.model_dump(mode="json"), "")
    return open_search(bucket, spec.name)


class Numbers(dsl.Metrics):
    """As a task gets them; where Kubeflow writes them into MLflow, that takes no other names."""

    def log_metric(self, metric: str, value: float) -> None:
        assert re.fullmatch(r"[\w\-./: ]{1,250}", metric, re.ASCII), metric
        super().log_metric(metric, value)


def metrics() -> dsl.Metrics:
    return Numbers(name="metrics", uri="/nowhere", metadata={})


def page(folder: Path) -> dsl.HTML:
    return dsl.HTML(name="page", uri=str(folder / "page.html"), metadata={})


def test_the_package_is_not_hidden_by_the_folder_of_its_tests():
    assert Path(components.__file__) == ROOT / "components/__init__.py"


@pytest.mark.parametrize("module", MODULES)
def test_a_component_is_small_and_only_carries_its_step(module):
    lines = (ROOT / "components" / f"{module}.py").read_text().splitlines()
    assert len(lines) < 40, f"{len(lines)} lines: what it does belongs into rlnas/steps"


def test_open_search(bucket: Bucket, spec: SearchSpec):
    document = spec.model_dump(mode="json")
    assert components.open_search.python_func(spec.name, document, "") == [0, 1]
    assert open_search(bucket, spec.name).spec == spec
    assert components.open_search.python_func(spec.name, {}, "") == [0, 1]


def test_open_search_logs_what_the_search_sees_of_its_data(
    bucket: Bucket, spec: SearchSpec, install_plugin: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture
):
    watched.install(install_plugin)
    spec = watched.watched_spec(watched.make_folder(tmp_path / "data"))
    for document in (spec.document, {}):
        components.open_search.python_func(spec.name, document, "")
        assert "3 files\nwarning: the smallest class has 1 image\n" in capfd.readouterr().out


def test_plan_rounds(ledger: Ledger):
    assert components.plan_rounds.python_func(ledger.name, 0, 0, "") == [{"slot": 0, "turn": 0}]
    assert components.plan_rounds.python_func(ledger.name, 1.0, 1.0, "") == [
        {"slot": 1, "turn": 0}
    ]  # numbers travel as floats


def test_prepare_data(ledger: Ledger, spec: SearchSpec, capfd: pytest.CaptureFixture[str]):
    assert components.prepare_data.python_func(ledger.name, {}, "") == "table: read where it is"
    assert "table: read where it is" in capfd.readouterr().out


def test_a_round_from_its_sampling_to_the_end_of_the_run(
    ledger: Ledger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    batches = components.sample_architecture.python_func(ledger.name, {"slot": 0.0, "turn": 0.0}, "")
    assert [json.loads(batch) for batch in batches] == [
        {"round": 0, "children": [0, 1]},
        {"round": 0, "children": [2, 3]},
    ]
    plan, scored = ledger.plan(0), {}
    for number, batch in enumerate(batches):
        assert components.train_child.python_func(ledger.name, batch, f"run/{number}", "") == batch
        assert ledger.trained_children(0) >= set(Batch.parse(batch).names)
        written = metrics()
        assert components.evaluate.python_func(ledger.name, batch, "", written) == 2
        scored |= written.metadata
    rewards = [ledger.result(f"000000-{i:03d}").reward for i in range(4)]
    assert scored == {f"reward 000000-{i:03d}": reward for i, reward in enumerate(rewards)} | {"failed": 0}
    assert len(plan.children) == 4

    written = metrics()
    updated = page(tmp_path / "updated")
    assert components.update_controller.python_func(ledger.name, [2, 2], "", written, updated) == 1
    assert "Leaderboard" in Path(updated.path).read_text()
    version = ledger.version()
    assert (version.version, version.children) == (1, 4)
    expected = {"children": 4, "failed": 0, "best reward": max(rewards)}
    assert written.metadata == {**version.numbers, **expected}

    written = metrics()
    finished = page(tmp_path / "finished")
    capfd.readouterr()
    assert components.finish.python_func(ledger.name, "", written, finished) is False
    assert (
        f"search {ledger.name}: 4 children, 1 round is left; the next run goes on from here" in capfd.readouterr().out
    )
    assert "Of this search, 1 round is left: the next run goes on from here" in Path(finished.path).read_text()
    assert Path(finished.path).read_text() == Path(updated.path).read_text()
    assert written.metadata == expected


@pytest.mark.filterwarnings("ignore:.*DockerRunner")
def test_a_task_that_is_told_to_stop_gives_its_child_back_and_succeeds(
    spec: SearchSpec, bucket: Bucket, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """By Kubeflow's local runner, in processes as in a pod: what has no output is a failure there."""
    spec = make_spec("cnn", child={"epochs": 3000}, loop={"children": 1, "children_per_round": 1})
    ledger = steps.open_search(bucket, spec.name, spec)
    (batch,) = steps.sample_architecture(ledger)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path), enable_caching=False)

    def stop() -> None:
        while (found := bucket.get(ledger.lease_key("000000-000"))) is None:
            time.sleep(0.05)
        psutil.Process(Lease.from_bytes(found.data, "lease").owner.pid).parent().terminate()

    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    task = components.train_child(search_name=spec.name, batch=str(batch), task_name="run/0", placement="")
    stopper.join()
    assert task.output == str(batch)
    assert "told to stop: what is not finished is given back" in capfd.readouterr().out
    lease = Lease.from_bytes(bucket.get(ledger.lease_key("000000-000")).data, "lease")
    assert lease.state == "released"
    assert not ledger.trained_children(0)
    assert [str(again) for again in steps.sample_architecture(ledger)] == [str(batch)], "the next round takes it up"


def test_a_batch_with_nothing_to_do(ledger: Ledger):
    nothing = '{"round": 0, "children": []}'
    assert components.train_child.python_func(ledger.name, nothing, "run/0", "") == nothing
    written = metrics()
    assert components.evaluate.python_func(ledger.name, nothing, "", written) == 0
    assert written.metadata == {"failed": 0}


@pytest.mark.parametrize(
    ("component", "arguments"),
    [
        ("open_search", ({}, "")),
        ("prepare_data", ({}, "")),
        ("plan_rounds", (0, 0, "")),
        ("sample_architecture", ({"slot": 0, "turn": 0}, "")),
        ("train_child", ('{"round": 0, "children": [0]}', "run/0", "")),
        ("evaluate", ('{"round": 0, "children": [0]}', "", None)),
        ("update_controller", ([], "", None, None)),
        ("finish", ("", None, None)),
    ],
)
def test_what_a_person_can_mend_ends_a_task_with_one_line(
    spec: SearchSpec, capfd: pytest.CaptureFixture[str], component: str, arguments: tuple
):
    with pytest.raises(SystemExit) as ended:
        getattr(components, component).python_func("none", *arguments)
    assert ended.value.code == 2
    assert capfd.readouterr().out == "rlnas error: no search 'none' in the store; `rlnas list` shows what there is\n"


def test_a_winner_from_its_grid_to_its_files(
    spec: SearchSpec, bucket: Bucket, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    name = make_spec("cnn").name
    ledger = searches.run(
        bucket.settings, make_spec("cnn", finalize={"references": []}).model_copy(update={"name": name})
    )
    first, *_, child = ledger.version().leaders
    assert first.tokens != child.tokens
    for batch in components.plan_grid.python_func(name, child.child, "no_skips", ""):
        components.train_child.python_func(name, batch, "grid", "")
        components.evaluate.python_func(name, batch, "", metrics())
    for batch in components.plan_retraining.python_func(name, child.child, ""):
        components.train_child.python_func(name, batch, "last", "")
    written = metrics()
    assert components.final_test.python_func(name, "", written, child.child) is True
    assert written.metadata["winner accuracy"] == ledger.final(1).models[0].test["accuracy"]
    assert "no_skips accuracy" in written.metadata
    model = dsl.Model(name="model", uri=str(tmp_path / "model"), metadata={})
    shown = page(tmp_path / "exported")
    assert "model.onnx" in components.export_model.python_func(name, "", model, shown, child.child)
    assert f"{written.metadata['winner accuracy']:.4f}" in Path(shown.path).read_text(), "what test data said"
    assert "no model registry is configured" in capfd.readouterr().out
    assert (tmp_path / "model" / "model.onnx").read_bytes()
    assert f"/serving/{child.child}/\n" in (tmp_path / "model" / "inference-service.yaml").read_text()
