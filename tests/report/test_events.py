"""TensorBoard's events, read back by TensorBoard."""

import sys
from pathlib import Path
from typing import Any

import pytest
from report.made_up import make_up, spec_of

from rlnas.errors import UserError
from rlnas.report.data import read_numbers
from rlnas.report.events import write_events
from rlnas.state import Bucket, Ledger


@pytest.fixture
def ledger(bucket: Bucket) -> Ledger:
    return make_up(bucket, spec_of("tabular", "mine", 40), gain=0.2, failing=0.2)


def read(folder: Path) -> Any:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    return found.Reload()


def test_rewards_and_the_controllers_numbers_are_read_back(ledger: Ledger, tmp_path: Path) -> None:
    count = write_events(ledger, tmp_path / "events")
    found = read(tmp_path / "events")
    names = found.Tags()["scalars"]
    assert count == sum(len(found.Scalars(name)) for name in names)
    results = [child.result for summary in ledger.summaries() for child in summary.children]
    rewards = found.Scalars("child/reward")
    assert [event.step for event in rewards] == list(range(1, 41))
    assert [event.value for event in rewards] == pytest.approx([result.reward for result in results])
    best = [event.value for event in found.Scalars("child/best reward so far")]
    assert best == sorted(best)
    assert best[-1] == pytest.approx(max(result.reward for result in results))
    assert sum(event.value for event in found.Scalars("child/failed")) == sum(r.status == "failed" for r in results)
    at, entropy = read_numbers(ledger)["entropy"]
    events = found.Scalars("controller/entropy")
    assert [event.step for event in events] == at.tolist() == [8, 16, 24, 32, 40]
    assert [event.value for event in events] == pytest.approx(entropy.tolist())


def test_events_are_not_mixed_with_others(ledger: Ledger, tmp_path: Path) -> None:
    write_events(ledger, tmp_path)
    with pytest.raises(UserError, match="holds events already"):
        write_events(ledger, tmp_path)


def test_without_tensorboard_it_is_one_line(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'rlnas\[tensorboard\]'"):
        write_events(ledger, tmp_path / "events")
    assert not (tmp_path / "events").exists()
