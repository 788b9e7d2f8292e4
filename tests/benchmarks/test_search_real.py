"""The measure of searchers where children are trained: what is remembered, above the limit, and compared."""

import json

import numpy as np
import pytest

from benchmarks import search_real
from benchmarks.search_quality import Entrant
from benchmarks.search_real import SPACES, Children, figures, main, run
from rlnas.children.images import ImageTrainer
from rlnas.errors import ChildFailure
from rlnas.spec import load_spec, parse_spec

SMALL = {
    "name": "tiny",
    "space": {"kind": "cnn", "layers": 1, "filter_heights": [1, 3], "filter_widths": [1, 3], "filters": [1, 2, 8]},
    "dataset": {"kind": "digits"},
    "child": {"epochs": 1, "batch": 512, "upsample_by": None, "flip": False, "snapshots": 1},
    "objective": {"limit": {"parameters": 100}},
    "loop": {"children": 8},
}
SMALLEST, LARGEST = (0, 0, 0), (1, 1, 2)


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setattr(search_real, "MEMORY", tmp_path / "memory")
    monkeypatch.setattr(search_real, "OUT", tmp_path / "out.json")
    return parse_spec(SMALL)


@pytest.fixture
def trainings(monkeypatch):
    seeds, train = [], ImageTrainer.train

    def counted(self, architecture, data, seed, checkpoint, monitor):
        seeds.append(seed)
        return train(self, architecture, data, seed, checkpoint, monitor)

    monkeypatch.setattr(ImageTrainer, "train", counted)
    return seeds


def test_a_child_is_trained_once_with_the_seed_of_its_architecture(spec, trainings):
    reward = Children(spec).reward(SMALLEST)
    assert Children(spec).reward(SMALLEST) == reward
    assert len(trainings) == 1
    for file in Children(spec).folder.iterdir():
        file.unlink()
    assert Children(spec).reward(SMALLEST) == reward
    assert trainings[0] == trainings[1]
    Children(spec).reward((0, 0, 1))
    assert trainings[2] != trainings[0]


def test_another_recipe_has_a_memory_of_its_own_and_another_searcher_has_not(spec):
    recipe = spec.child.vary({"learning_rate": 0.01})
    assert Children(spec.model_copy(update={"child": recipe})).folder != Children(spec).folder
    assert Children(parse_spec(SMALL | {"controller": {"kind": "random"}})).folder == Children(spec).folder


def test_one_above_the_limit_is_not_trained(spec, trainings):
    assert Children(spec).reward(LARGEST) == spec.failures.reward
    assert not trainings


def test_a_child_that_fails_gets_the_reward_of_failures_and_is_remembered(spec, monkeypatch):
    def diverge(*_):
        raise ChildFailure("diverged", "at once")

    monkeypatch.setattr(ImageTrainer, "train", diverge)
    assert Children(spec).reward(SMALLEST) == spec.failures.reward
    assert Children(spec).trained(SMALLEST)["reason"] == "diverged"


def test_differences_are_of_pairs():
    ours, theirs = np.zeros((3, 48)), np.zeros((3, 48))
    ours[:, 15], ours[:, 47], theirs[:, 47] = [0.5, 0.6, 0.7], [0.8, 0.9, 1.0], [0.7, 0.8, 0.9]
    rows = figures("digits", {"guided": ours, "random": theirs})
    assert rows[2]["mean"] == pytest.approx(0.9)
    assert rows[2]["guided_minus_it"] is None
    assert rows[-1]["guided_minus_it"] == pytest.approx({"mean": 0.1, "se": 0.0})
    assert rows[-1]["guided_after_16_minus_it"] == pytest.approx({"mean": -0.2, "se": 0.0})


def test_runs_every_searcher_and_writes_what_it_found(spec, trainings, monkeypatch, capsys):
    entrants = tuple(Entrant(kind, kind) for kind in ("guided", "largest", "evolution", "reinforce", "random"))
    monkeypatch.setattr(search_real, "SPACES", {"tiny": ("tiny.yaml", entrants)})
    monkeypatch.setattr(search_real, "load_spec", lambda path: spec)
    monkeypatch.setattr(search_real, "BUDGETS", (4, 12))
    monkeypatch.setattr(search_real, "compete", _here)
    search_real.OUT.write_text(json.dumps([{"space": "other"}, {"space": "tiny", "old": True}]))
    main(["tiny", "--seeds", "2"])
    entries = json.loads(search_real.OUT.read_text())
    assert [entry["space"] for entry in entries] == ["other"] + ["tiny"] * 10
    assert {(entry["searcher"], entry["budget"]) for entry in entries[1:]} == {
        (e.name, b) for e in entrants for b in (4, 12)
    }
    assert "| random | " in capsys.readouterr().out
    assert len(trainings) <= 2 * 2 * 3  # all networks there are
    with pytest.raises(SystemExit):
        main(["nowhere"])
    for flags in (["--seeds", "1"], ["--processes", "0"]):
        with pytest.raises(SystemExit):
            main(flags)


def test_the_spaces_are_examples_and_a_limit_is_where_the_largest_competes():
    for file, entrants in SPACES.values():
        spec = load_spec(search_real.EXAMPLES / file)
        assert any(entrant.kind == "largest" for entrant in entrants) == bool(spec.objective.limit)


def _here(space, seeds, processes):
    for entrant in search_real.SPACES[space][1]:
        yield entrant, np.array([run((space, entrant, seed)) for seed in range(seeds)])
