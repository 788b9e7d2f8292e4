"""Compile every pipeline into a package: `python -m pipelines.compile [FOLDER]`."""

import sys
from pathlib import Path

from kfp import compiler

from pipelines.search import search_pipeline

PIPELINES = {"search": search_pipeline}


def compile_all(folder: Path) -> list[Path]:
    """Write one YAML package a pipeline and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pipeline in PIPELINES.items():
        paths.append(folder / f"{name}.yaml")
        compiler.Compiler().compile(pipeline, str(paths[-1]))
    return paths


if __name__ == "__main__":
    for path in compile_all(Path(sys.argv[1] if len(sys.argv) > 1 else "build/pipelines")):
        print(path)
