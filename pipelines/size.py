"""How large a run of a compiled package is, and whether Argo takes it.

Argo keeps a run in one object of at most 1 MiB: the pipeline, which it writes twice as long as the package is, and all
pods, packed. Measured on Kubeflow Pipelines 2.17 and Argo 4.0.5: a package of 72 kB made 143 kB of the object, 35 pods
105 kB, 55 pods 153 kB. What lies beyond 55 pods is the straight line through these two.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlnas.errors import UserError

MOST_PODS = 300
"""Of one run; about 80 % of what the measured line allows, since longer names and messages make a pod larger."""
MOST_BYTES = 2**20 * 9 // 10
"""Of Argo's object; what is left of its 1 MiB is for the messages of pods that fail."""
COPIES = 2
NODES, NODE = 21_000, 2_400  # bytes of the packed pods: before the first one, and for each


@dataclass(frozen=True)
class Size:
    """How large a run is: its pods, and the bytes of Argo's object (estimated; see above)."""

    pods: int
    object_bytes: int

    @property
    def fits(self) -> bool:
        """Whether Argo takes such a run."""
        return self.pods <= MOST_PODS and self.object_bytes <= MOST_BYTES

    def __str__(self) -> str:
        return f"{self.pods:,} pods ({self.object_bytes / 1000:,.0f} kB)"


def size_of(
    documents: Sequence[Mapping[str, Any]],
    items: Mapping[str, int],
    arguments: Mapping[str, Any] = {},
    conditions: bool = True,
) -> Size:
    """Count the pods of one run of a package, and estimate the object that Argo keeps of it.

    A task takes two pods (driver and executor), a loop one and one for each item, a condition one, the run itself one.

    Args:
        documents: of the compiled package, as YAML gives them: the pipeline, and what is meant for Kubernetes.
        items: for each task whose output a loop goes over, the items of all its lists in the whole run together.
        arguments: run parameters that are sent along.
        conditions: whether what stands under a condition runs.
    """
    pipeline = documents[0]
    pods = 1 + _pods(pipeline, pipeline["root"]["dag"], 1, items, conditions)
    text = sum(len(json.dumps(part)) for part in (*documents, dict(arguments)))
    return Size(pods, COPIES * text + NODES + NODE * pods)


def check_size(size: Size, what: str, allowed: str) -> None:
    """Refuse a run that Argo would refuse later.

    Args:
        size: of the run.
        what: the setting that makes it so large, with its value, such as `rounds_per_run: 10`.
        allowed: values of this setting with which it fits.

    Raises:
        UserError: it does not fit.
    """
    if not size.fits:
        raise UserError(
            f"{what} makes a run of {size}, and Argo takes about {Size(MOST_PODS, MOST_BYTES)}; allowed: {allowed}"
        )


def size_of_workers(documents: Sequence[Mapping[str, Any]], workers: int, arguments: Mapping[str, Any]) -> Size:
    """Return how large a run of so many workers is; arguments as of `size_of`.

    Raises:
        UserError: Argo would refuse it.
    """
    most = 0
    while most < workers and size_of(documents, {"plan-workers": most + 1}, arguments).fits:
        most += 1
    size = size_of(documents, {"plan-workers": workers}, arguments)
    check_size(size, f"workers: {workers}", f"1 to {most}")
    return size


def _pods(
    pipeline: Mapping[str, Any], dag: Mapping[str, Any], times: int, items: Mapping[str, int], conditions: bool
) -> int:
    """Count the pods of a DAG that is run so many times."""
    pods = 0
    for task in dag["tasks"].values():
        component = pipeline["components"][task["componentRef"]["name"]]
        if "executorLabel" in component:
            pods += 2 * times
        elif "parameterIterator" in task:
            source = task["parameterIterator"]["items"]["inputParameter"]
            count = items[source.removeprefix("pipelinechannel--").removesuffix("-Output")]
            pods += times + count + _pods(pipeline, component["dag"], count, items, conditions)
        else:
            runs = conditions or "triggerPolicy" not in task
            pods += times + (_pods(pipeline, component["dag"], times, items, conditions) if runs else 0)
    return pods
