"""Experiments in the shape of Katib's public examples, written for these tests."""

from typing import Any


def categorical(name: str, *options: object) -> dict[str, Any]:
    return {
        "name": name,
        "parameterType": "categorical",
        "feasibleSpace": {"list": [str(option) for option in options]},
    }


def whole(name: str, low: int, high: int) -> dict[str, Any]:
    space = {"min": str(low), "max": str(high), "step": "1"}
    return {"name": name, "parameterType": "int", "feasibleSpace": space}


def operation(kind: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    return {"operationType": kind} | ({"parameters": list(parameters)} if parameters else {})


def settings(**values: object) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def experiment(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team"}
    return {"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": metadata, "spec": spec}


def template(image: str, *command: str, **limits: int) -> dict[str, Any]:
    container = {"name": "main", "image": image, "command": list(command)} | (
        {"resources": {"limits": limits}} if limits else {}
    )
    job = {"kind": "Job", "spec": {"template": {"spec": {"containers": [container]}}}}
    return {"primaryContainerName": "main", "trialParameters": [], "trialSpec": job}


def enas() -> dict[str, Any]:
    """Children of all of Katib's operations, by the controller of Katib's ENAS."""
    return experiment(
        "enas-mine",
        parallelTrialCount=2,
        maxTrialCount=5,
        maxFailedTrialCount=3,
        objective={"type": "maximize", "goal": 0.9, "objectiveMetricName": "Validation-Accuracy"},
        algorithm={"algorithmName": "enas"},
        nasConfig={
            "graphConfig": {"numLayers": 4, "inputSizes": [32, 32, 3], "outputSizes": [10]},
            "operations": [
                operation("convolution", categorical("filter_size", 3, 5), categorical("num_filter", 8, 16)),
                operation(
                    "separable_convolution",
                    categorical("filter_size", 3, 5),
                    categorical("num_filter", 8, 16, 32),
                    categorical("stride", 1, 2),
                    categorical("depth_multiplier", 1, 2),
                ),
                operation(
                    "depthwise_convolution", categorical("filter_size", 3, 5), categorical("depth_multiplier", 1, 2)
                ),
                operation(
                    "reduction",
                    categorical("reduction_type", "max_pooling", "avg_pooling"),
                    whole("pool_size", 2, 3),
                ),
            ],
        },
        trialTemplate=template("registry/enas-cnn-cifar10-cpu:1", "python3", "train.py", "--num_epochs=2"),
    )


def darts() -> dict[str, Any]:
    """One trial that weighs DARTS's operations."""
    return experiment(
        "darts-mine",
        parallelTrialCount=1,
        maxTrialCount=1,
        objective={"type": "maximize", "objectiveMetricName": "Best-Genotype"},
        metricsCollectorSpec={"collector": {"kind": "StdOut"}},
        algorithm={
            "algorithmName": "darts",
            "algorithmSettings": settings(
                num_epochs=3, num_nodes=2, init_channels=4, w_lr=0.025, w_grad_clip=5, print_step="None"
            ),
        },
        nasConfig={
            "graphConfig": {"numLayers": 3},
            "operations": [
                operation("separable_convolution", categorical("filter_size", 3)),
                operation("dilated_convolution", categorical("filter_size", 3, 5)),
                operation("avg_pooling", categorical("filter_size", 3)),
                operation("max_pooling", categorical("filter_size", 3)),
                operation("skip_connection"),
            ],
        },
        trialTemplate=template("registry/darts-cnn-cifar10-gpu:1", "python3", "trial.py", **{"nvidia.com/gpu": 1}),
    )
