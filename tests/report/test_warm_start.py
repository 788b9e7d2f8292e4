"""What a search began with, wherever a person looks for it, and what it is compared with all the same."""

import searches
from searches import make_spec, run

from rlnas.report import read_status
from rlnas.report.data import read_report
from rlnas.report.page import render
from rlnas.spec import parse_spec
from rlnas.variants import control_of, with_seed


def test_it_is_told_and_a_control_that_began_with_nothing_counts(bucket, monkeypatch):
    for step in (searches.TRAIN, searches.EVALUATE):
        monkeypatch.setattr(step, "run_in_processes", searches.run_inline)
    earlier = run(bucket.settings, make_spec())
    spec = parse_spec(make_spec().document | {"warm_start": {"search": earlier.name}})
    ledger = run(bucket.settings, spec)
    for other in (control_of(spec), with_seed(spec, 5)):
        run(bucket.settings, other)
    begun = f"4 children of search {earlier.name} and its controller, version 2"
    data = read_report(ledger)
    assert dict(data.facts)["begins with"] == begun
    assert begun in render(data)
    assert data.label.endswith("so this is not the paper's search")
    assert [control.tracks[0].name for control in data.beside.controls] == [f"{spec.name}-control"]
    assert [track.name for track in data.beside.own] == [spec.name, f"{spec.name}-s5"]
    assert data.children == len(data.beside.own[0].rewards) == 4, "its own"
    status = read_status(ledger)
    assert str(status.warm_start) == begun
    assert status.to_json()["warm_start"]["children"] == 4
    cold = read_status(earlier)
    assert cold.warm_start is None
    assert "begins with" not in dict(read_report(earlier).facts)
