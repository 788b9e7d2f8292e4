"""A search on a Kubeflow installation: runs, schedules and what becomes of them.

The only package that knows kfp and Kubernetes, and only when it is used.
"""

from rlnas.cluster.endpoint import Endpoint, endpoint_or_fail
from rlnas.cluster.kubeflow import ENDED, Cluster, RunState, Schedule, cron_of
from rlnas.cluster.package import label_package, queue_labels, requests_of, run_parameters
from rlnas.cluster.pods import pod_words

__all__ = [
    "ENDED",
    "Cluster",
    "Endpoint",
    "RunState",
    "Schedule",
    "cron_of",
    "endpoint_or_fail",
    "label_package",
    "pod_words",
    "queue_labels",
    "requests_of",
    "run_parameters",
]
