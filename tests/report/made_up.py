"""Searches to report on: real small ones, and large ones made up as they would lie in the store."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rlnas.controller.searchers import RandomSearcher
from rlnas.spaces import DataShape
from rlnas.spec import SearchSpec, parse_spec
from rlnas.state import Bucket, Ledger, create_search
from rlnas.state.records import FinishedChild, History, Result, Summary, Version
from rlnas.tensors import pack

SHAPES = {"images": DataShape("images", 10, 32, 32, 3), "text": DataShape("text", 10_000, tokens=1_000_000)}
SECTIONS: dict[str, dict[str, Any]] = {
    "tabular": {"space": {"kind": "tabular", "choices": [5] * 6}, "dataset": {"kind": "table", "path": "none.csv"}},
    "cnn": {"space": {"kind": "cnn", "layers": 8, "layer_types": ["convolution", "max_pool", "dropout"]}}
    | {"dataset": {"kind": "cifar10", "folder": "none"}},
    "rnn": {"space": {"kind": "rnn"}, "dataset": {"kind": "python_docs"}},
}


def spec_of(kind: str, name: str, children: int, **sections: Any) -> SearchSpec:
    """A search of a kind; its data need not be there."""
    loop = {"children": children, "children_per_round": 8, "window": 10}
    return parse_spec(SECTIONS[kind] | {"name": name, "loop": loop} | sections)


def make_up(bucket: Bucket, spec: SearchSpec, gain: float = 0.0, failing: float = 0.05) -> Ledger:
    """Write a finished search into the store: random architectures, rewards that rise by `gain` to its end."""
    ledger = create_search(bucket, spec, SHAPES.get(spec.child.modality, DataShape("table", 0)))
    m, rounds, draw = spec.loop.children_per_round, spec.loop.rounds, random.Random(spec.name)
    searcher = RandomSearcher(spec.space, spec.controller)
    summaries = []
    for r in range(rounds):
        proposals = searcher.propose(searcher.initial(0), r * m, [draw.randrange(2**31) for _ in range(m)])
        children = tuple(
            FinishedChild(
                tokens=proposal.tokens,
                log_probability=proposal.log_probability,
                seed=i,
                result=_result(draw, gain * r / rounds, failing),
            )
            for i, proposal in enumerate(proposals)
        )
        summaries.append(Summary(round=r, policy_version=max(0, r - 3), samples=r * m, children=children))
    objects = {f"summaries/{s.round:06d}.json": s.to_bytes() for s in summaries[rounds // 100 * 100 :]}
    for k in range(rounds // Ledger.HISTORY_ROUNDS):
        bundle = History(summaries=tuple(summaries[k * Ledger.HISTORY_ROUNDS : (k + 1) * Ledger.HISTORY_ROUNDS]))
        objects[f"history/{k:06d}.json"] = bundle.to_bytes()
    for number in range(rounds + 1):
        if number < 20 or rounds - number < 20:
            version = Version(version=number, low_mark=number, children=number * m, numbers=_numbers(number / rounds))
            objects[f"controllers/{number:06d}.safetensors"] = pack({}, version.model_dump(mode="json"))
    objects["head.json"] = str(rounds).encode()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: bucket.put(ledger.key(name), objects[name]), objects))
    return ledger


def _result(draw: random.Random, gain: float, failing: float) -> Result:
    if draw.random() < failing:
        reason = draw.choice(["not_finite", "out_of_memory"])
        return Result(status="failed", reward=0.0, reason=reason, detail="loss is nan at <step> 3 & 4", seconds=1.0)
    accuracy = min(1.0, 0.6 + gain + 0.05 * draw.gauss(0, 1))
    metrics = {"accuracy": accuracy, "parameters": 1e6 * draw.random(), "flops": 1e9 * draw.random()}
    return Result(status="ok", reward=accuracy**3, metrics=metrics, seconds=200 * draw.random())


def _numbers(progress: float) -> dict[str, float]:
    return (
        {"entropy": 20 - 9 * progress, "baseline": progress, "gradient_norm": 0.4, "staleness": 3.0} if progress else {}
    )
