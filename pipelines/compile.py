"""Compile every pipeline: `python -m pipelines.compile [FOLDER]`."""

import sys
from pathlib import Path

from kfp import compiler

from pipelines.finalize import finalize_pipeline
from pipelines.search import search_pipeline
from pipelines.workers import workers_pipeline

PIPELINES = {"search": search_pipeline, "finalize": finalize_pipeline, "workers": workers_pipeline}


def compile_pipeline(name: str, folder: Path) -> Path:
    """Compile one pipeline into `<name>.yaml` of a folder."""
    path = folder / f"{name}.yaml"
    compiler.Compiler().compile(PIPELINES[name], str(path))
    return path


def compile_all(folder: Path) -> list[Path]:
    """Compile every pipeline, twice.

    Returns:
        One package a pipeline, for `kfp` and the UI. Beside each, `<name>-resources.yaml` holds the same as `Pipeline`
        and `PipelineVersion`, for `kubectl apply` where Kubeflow keeps its pipelines in Kubernetes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pipeline in PIPELINES.items():
        paths.append(compile_pipeline(name, folder))
        compiler.Compiler().compile(
            pipeline,
            str(folder / f"{name}-resources.yaml"),
            kubernetes_manifest_format=True,
            kubernetes_manifest_options=compiler.KubernetesManifestOptions(include_pipeline_manifest=True),
        )
    return paths


if __name__ == "__main__":
    for path in compile_all(Path(sys.argv[1] if len(sys.argv) > 1 else "build/pipelines")):
        print(path)
