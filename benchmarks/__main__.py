"""Print every figure of the README and write build/bench.json: `python -m benchmarks [NAME ...]`."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

BENCHMARKS = ("controller", "child", "store", "overhead", "tasks", "rnn")


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; allowed: {', '.join(BENCHMARKS)}")
    figures: list[dict[str, Any]] = []
    for name in names or BENCHMARKS:
        for figure in import_module(f"benchmarks.{name}").measure():
            figures.append(figure)
            verdict = (
                "no goal"
                if figure["goal"] is None
                else f"goal {figure['goal']}: {'met' if figure['met'] else 'NOT MET'}"
            )
            print(f"{figure['name']}: {figure['value']:.4g} {figure['unit']} ({verdict})", flush=True)
    path = Path("build/bench.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
