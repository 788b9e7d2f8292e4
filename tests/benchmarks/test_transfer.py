"""The measure of warm starts: what the rows of its table begin with."""

import json

import numpy as np
import pytest
import torch

from benchmarks import search_quality, transfer
from rlnas.spaces.tabular import TabularSpace

SPACE = TabularSpace(choices=(3,) * 4)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A table of 81 cells, whose two columns are alike."""
    long = {tokens: float(sum(tokens)) for tokens in np.ndindex(*SPACE.choices)}
    short = {tokens: value + 0.1 * tokens[0] for tokens, value in long.items()}
    arena = search_quality.Arena("small", SPACE, search_quality.TABLE, (10,), 1, (), search_quality.cells)
    monkeypatch.setattr(transfer, "ARENAS", (arena,))
    monkeypatch.setattr(transfer, "nas_bench_201", lambda: (short, long))
    monkeypatch.setattr(transfer, "GOAL", 8.0)
    monkeypatch.setattr(transfer, "CHILDREN", 30)
    monkeypatch.setattr(transfer, "OUT", tmp_path / "transfer.json")


def test_a_search_ends_at_its_goal_and_an_earlier_one_saves_most_of_it(small):
    needed = np.array([transfer.run(seed) for seed in range(3)])
    assert needed.shape == (3, len(transfer.ROWS))
    cold, warm = needed[:, 0], needed[:, 1]
    assert warm.mean() <= cold.mean() / 2
    assert (needed >= 1).all()


def test_the_controller_is_the_one_that_the_earlier_search_left(small):
    paid = [((0, 1, 2, 0), 3.0), ((2, 2, 2, 2), 8.0)]
    taught = transfer.taught(paid, 5)
    start = transfer.guided().initial(transfer.derive_seed("controller", 5)).tensors
    assert set(taught) == set(start)
    assert not torch.equal(taught["policy/head.weight"], start["policy/head.weight"])


def test_the_table_is_written(small, monkeypatch, capsys):
    needed = np.array([[50 + seed, 5, 6, 40, 52] for seed in range(4)], dtype=float)
    monkeypatch.setattr(transfer, "needed_by", lambda seeds: needed[:seeds])
    transfer.main(["--seeds", "4"])
    entries = json.loads(transfer.OUT.read_text())
    assert [entry["begins"] for entry in entries] == list(transfer.ROWS)
    assert entries[0]["median"] == 51.5
    assert "| warm | 5.0 | 5.0 ± 0.0 | 5 | -46.5 [" in capsys.readouterr().out
