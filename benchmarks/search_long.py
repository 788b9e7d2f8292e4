"""Whether found cells beat the LSTM: `python -m benchmarks.search_long [--seeds N]`.

Runs examples/text-rnn-long.yaml through the pipeline, once for each seed, in the store of the folder `.rlnas` here.
Each winner and PyTorch's LSTM with equally many weights go through the same grid and the same last training, and are
tested once. Prints how they compare, and writes build/search_long.json. A run that was stopped goes on.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rlnas
from rlnas.api import HOME
from rlnas.spec import SearchSpec, load_spec
from rlnas.state import Bucket, EmbeddedStore, FinalRecord, open_search
from rlnas.steps import find_final
from rlnas.variants import with_seed

OUT = Path("build/search_long.json")
SPEC = Path(__file__).parents[1] / "examples" / "text-rnn-long.yaml"
SEEDS = 3


def variants(spec: SearchSpec, seeds: int) -> list[SearchSpec]:
    """Return the search with so many seeds, its own first."""
    return [spec, *(with_seed(spec, seed) for seed in range(spec.seed + 1, spec.seed + seeds))]


def row(search: str, record: FinalRecord) -> dict[str, Any]:
    """Return the perplexities of a winner, and of the reference that went the same way."""
    found: dict[str, Any] = {"search": search, "winner": record.winner}
    for name, model in zip(("cell", "lstm"), record.models, strict=True):
        found |= {f"{name}_validation": model.validation.get("perplexity"), f"{name}_test": model.test["perplexity"]}
        found |= {f"{name}_recipe": model.recipe}
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Write the perplexities as Markdown, and below them the mean difference of the tests."""
    keys = ("cell_validation", "lstm_validation", "cell_test", "lstm_test")
    lines = [
        "| search | winner | " + " | ".join(key.replace("_", ", ") for key in keys) + " |",
        "|---|---|---|---|---|---|",
    ]
    for found in rows:
        lines.append(f"| {found['search']} | {found['winner']} | " + " | ".join(f"{found[k]:.2f}" for k in keys) + " |")
    gains = [found["cell_test"] - found["lstm_test"] for found in rows]
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    lines.append(f"\ntest perplexity, cell minus LSTM: {statistics.mean(gains):+.2f} ± {error:.2f}, {len(gains)} seeds")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Run the searches."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"searches; {SEEDS} unless given")
    seeds = parser.parse_args(arguments).seeds
    if seeds < 2:
        parser.error("--seeds: a standard error takes two; allowed: 2 or more")
    store, rows = EmbeddedStore(HOME).start(), []
    for spec in variants(load_spec(SPEC), seeds):
        rlnas.search(spec, store).run()
        final = find_final(open_search(Bucket(store), spec.name))
        assert final is not None
        if final.record is None or any(not model.test for model in final.record.models):
            sys.exit(f"search {spec.name}: the winner or the LSTM has no test; see rlnas report {spec.name}")
        rows.append(row(spec.name, final.record))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(f"{table(rows)}\nwritten: {OUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
