"""Every searcher through Kubeflow's local runner: a round proposed from one of before, on images and on text."""

from pathlib import Path

import pytest
from searches import in_process, make_small_spec, outcome, renamed, run_apart

import rlnas
from rlnas import steps
from rlnas.controller import SEARCHERS
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, StoreSettings, open_search

# A run takes half a minute of a core: one that learns from rewards, and one that reads the history. All the others go
# the same ways, with `make test-slow`; what is their own is tried by their steps, in steps/test_every_searcher.py.
HERE = (("reinforce", "cnn"), ("guided", "rnn"))
CASES = [
    pytest.param(searcher, kind, marks=[] if (searcher, kind) in HERE else [pytest.mark.slow])
    for searcher in sorted(SEARCHERS)
    for kind in ("cnn", "rnn")
]


def first_round(settings: StoreSettings, spec: SearchSpec) -> None:
    ledger = steps.open_search(Bucket(settings), spec.name, spec)
    for batch in steps.sample_architecture(ledger):
        steps.train_child(ledger, batch, "first")
        steps.evaluate(ledger, batch)
    steps.update_controller(ledger)


@pytest.mark.parametrize(("searcher", "kind"), CASES)
def test_a_search_goes_on_through_the_pipeline_as_by_its_steps(
    searcher: str, kind: str, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # for the logs
    spec, twin = (renamed(make_small_spec(searcher, kind)) for _ in range(2))
    undisturbed = outcome(run_apart(bucket, twin))
    assert in_process(first_round, bucket.settings, spec) == 0
    status = rlnas.search(spec, store=bucket.settings).run()
    assert (status.round, status.complete) == (2, True)
    assert outcome(open_search(bucket, spec.name)) == undisturbed
