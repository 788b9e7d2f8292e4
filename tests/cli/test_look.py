"""The views of a search: who proposed what, the best at each size, and what its searcher is."""

import json
import os
import socket
from typing import Any

import pytest
from searches import make_spec, run

from rlnas import steps
from rlnas.cli.common import fate_of
from rlnas.report import fronts
from rlnas.state import Bucket, Ledger, Result, claim
from rlnas.state.leases import release

GUIDED = {"kind": "guided", "first": 2, "samples": 8}


@pytest.fixture
def guided(bucket: Bucket) -> Ledger:
    """A guided search under an objective, whose first child somebody suggested."""
    spec = make_spec("cnn", controller=GUIDED, objective={"soft": {"flops": {"target": 5000}}})
    ledger = steps.open_search(bucket, spec.name, spec)
    steps.suggest(ledger, [spec.space.encode(spec.space.decode([0] * 7))], "random")
    return run(bucket.settings, spec)


def test_status_and_run_say_what_the_searcher_is(rlnas: Any, guided: Ledger) -> None:
    status, out, _ = rlnas("status", guided.name)
    assert status == 0
    assert "guided: not the paper's REINFORCE" in " ".join(out.replace("│", " ").split())
    shown = json.loads(rlnas("status", guided.name, "--json")[1])
    assert (shown["controller"], shown["label"]) == ("guided", guided.spec.controller.label)


def test_status_says_who_trains(rlnas: Any, bucket: Bucket) -> None:
    spec = make_spec()
    ledger = steps.open_search(bucket, spec.name, spec)
    steps.sample_architecture(ledger)
    claims = [claim(ledger, f"000000-00{i}", "a task") for i in range(2)]
    assert claims[0]
    assert claims[1]
    release(ledger, claims[1])
    lines = " ".join(rlnas("status", spec.name)[1].replace("│", " ").split())
    assert f"training 000000-000: {socket.gethostname()}, process {os.getpid()} (attempt 1, from epoch 0)" in lines
    assert "training 000000-001: given back; waits (attempt 1, from epoch 0)" in lines
    found = json.loads(rlnas("status", spec.name, "--json")[1])["trainings"]
    assert [(t["child"], t["state"], t["owner"]["pid"]) for t in found] == [
        ("000000-000", "active", os.getpid()),
        ("000000-001", "released", os.getpid()),
    ]


def test_the_leaderboard_tells_proposers_apart(rlnas: Any, guided: Ledger) -> None:
    """One who calls himself as a part of the searcher is called, is not taken for it."""
    found = fronts.proposers(guided.summaries())
    assert {(p.name, p.suggested) for p in found} >= {("random", False), ("random", True)}
    status, out, err = rlnas("leaderboard", guided.name)
    assert (status, err) == (0, "")
    for p in found:
        line = next(line for line in out.splitlines() if f" {p.name}{', who suggested them' * p.suggested} " in line)
        assert [cell.strip() for cell in line.strip("│").split("│")][:4] == [
            str(p.count),
            str(p.scored),
            f"{p.best:.4f}",
            f"{p.mean:.4f}",
        ]
    assert json.loads(rlnas("leaderboard", guided.name, "--proposers", "--json")[1]) == [vars(p) for p in found]
    shown = json.loads(rlnas("show", guided.name, "000000-000", "--json")[1])
    assert (shown["by"], shown["suggested"]) == ("random", True)
    assert "proposed by random, who suggested it" in rlnas("show", guided.name, "000000-000")[1]


def test_the_best_at_each_size_are_those_of_the_objectives_size(rlnas: Any, guided: Ledger) -> None:
    front = fronts.pareto(guided.summaries(), "flops", guided.spec.objective)
    found = json.loads(rlnas("leaderboard", guided.name, "--pareto", "--json")[1])
    assert [(c["child"], c["score"], c["reward"], c["size"]) for c in found] == [
        (c.child, c.score, c.reward, c.size) for c in front
    ]
    status, out, _ = rlnas("leaderboard", guided.name, "--pareto")
    assert status == 0
    assert " flops " in out
    out = rlnas("leaderboard", guided.name, "--pareto", "--size", "weight")[1]
    assert "has a reward and weight; known of its children: accuracy, flops, parameters" in " ".join(out.split())


@pytest.mark.parametrize("options", [("--pareto", "--proposers"), ("--size", "flops"), ("--pareto", "--top", "3")])
def test_views_that_do_not_go_together_are_one_line(rlnas: Any, guided: Ledger, options: tuple[str, ...]) -> None:
    status, out, err = rlnas("leaderboard", guided.name, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "; allowed: " in err


def test_why_a_child_was_stopped_is_said() -> None:
    result = Result(status="ok", reward=0.3, seconds=1.0, history=(0.3,), rungs={1: 0.2, 2: 0.00099}, stopped=2)
    assert fate_of(result, {1: None, 2: 0.00102}).endswith("stopped after epoch 2: 0.00099 there, 0.00102 needed")
    assert fate_of(result).endswith("stopped after epoch 2")
