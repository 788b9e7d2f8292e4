"""Print every figure of docs/figures.md and write build/bench.json: `python -m benchmarks [NAME ...]`.

What the measured parts print themselves goes into build/bench.log.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

BENCHMARKS = ("controller", "child", "store", "overhead", "tasks", "rnn")
BY_NAME_ONLY = ("workers",)  # takes long
FIGURES, LOG = Path("build/bench.json"), Path("build/bench.log")


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all that are quick."""
    known = (*BENCHMARKS, *BY_NAME_ONLY)
    unknown = sorted(set(names) - set(known))
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; allowed: {', '.join(known)}")
    LOG.parent.mkdir(exist_ok=True)
    terminal = os.fdopen(os.dup(1), "w")
    with LOG.open("w", encoding="utf-8") as log:
        for descriptor in (1, 2):  # not sys.stdout: processes are started, which print too
            os.dup2(log.fileno(), descriptor)
    figures: list[dict[str, Any]] = []
    for name in names or BENCHMARKS:
        try:
            measured = import_module(f"benchmarks.{name}").measure()
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}; log: {LOG}", file=terminal, flush=True)
            raise
        for figure in measured:
            figures.append(figure)
            verdict = (
                "no goal"
                if figure["goal"] is None
                else f"goal {figure['goal']}: {'met' if figure['met'] else 'NOT MET'}"
            )
            value = "" if figure["value"] is None else f"{figure['value']:.4g} "
            print(f"{figure['name']}: {value}{figure['unit']} ({verdict})", file=terminal, flush=True)
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"written: {FIGURES}", file=terminal, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
