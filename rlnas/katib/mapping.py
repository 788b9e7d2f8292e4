"""What in an experiment of Katib stands for what in a spec: settings, operations, and what has no like here."""

from typing import NamedTuple

ALGORITHMS = {"enas": "reinforce", "darts": "guided"}
"""Algorithm -> kind of searcher."""
BUDGET = 64
"""Children of a search whose experiment names no number of trials, or is one trial of DARTS."""
NETWORK = {"num_nodes": 4, "init_channels": 16}
"""Settings of DARTS that say how large its network is, and Katib's defaults: what leaves them open means these."""
MOST_OPTIONS = 1000
"""Of a parameter."""

SETTINGS: dict[str, dict[str, tuple[str, type, str]]] = {
    "enas": {
        "controller_hidden_size": ("controller.hidden", int, ""),
        "controller_temperature": ("controller.temperature", float, ""),
        "controller_learning_rate": ("controller.learning_rate", float, "one step a round"),
        "controller_baseline_decay": ("controller.baseline_decay", float, "for each reward, not for each step"),
        "controller_entropy_weight": ("controller.entropy_weight", float, "added to the objective, not to rewards"),
    },
    "darts": {
        "num_epochs": ("child.epochs", int, "of each child, not of one network for all"),
        "batch_size": ("child.batch", int, ""),
        "w_lr": ("child.learning_rate", float, ""),
        "w_momentum": ("child.momentum", float, "Nesterov's"),
        "w_weight_decay": ("child.weight_decay", float, ""),
    },
}
"""Setting of an algorithm -> field of the spec, its type, and what is different there."""


class Known(NamedTuple):
    """What an operation is here.

    Args:
        layer_types: the types of layer that it is.
        parameters: of the operation, each with the fields of the space that have its options.
    """

    layer_types: tuple[str, ...]
    parameters: dict[str, tuple[str, ...]]


Fields = dict[str, tuple[str, ...]]
_SIDES, _STRIDES = ("filter_heights", "filter_widths"), ("stride_heights", "stride_widths")
_WINDOW: Fields = {"filter_size": _SIDES, "stride": _STRIDES}
_FILTERS: Fields = {"num_filter": ("filters",)}
_DEPTH: Fields = {"depth_multiplier": ("depth_multipliers",)}
_POOLING: Fields = {"filter_size": ("pool_sizes",), "stride": ("pool_strides",)}
OPERATIONS: dict[str, Known] = {
    "convolution": Known(("convolution",), _WINDOW | _FILTERS),
    "separable_convolution": Known(("separable_convolution",), _WINDOW | _FILTERS | _DEPTH),
    "depthwise_convolution": Known(("depthwise_convolution",), _WINDOW | _DEPTH),
    "dilated_convolution": Known(("dilated_convolution",), _WINDOW | _FILTERS),
    "max_pooling": Known(("max_pool",), _POOLING),
    "avg_pooling": Known(("avg_pool",), _POOLING),
    "reduction": Known(("max_pool",), {"pool_size": ("pool_sizes",), "stride": ("pool_strides",)}),
    "skip_connection": Known((), {}),
}
"""Those of Katib's examples."""
POOLINGS = {"max_pooling": "max_pool", "avg_pooling": "avg_pool"}
REDUCTION_TYPE = ("reduction", "reduction_type")
"""The operation that may be several poolings, and the parameter that says which."""
UNLESS_GIVEN = {"filter_size": 3, "num_filter": 64, "stride": 1, "depth_multiplier": 1, "pool_size": 2}
"""What Katib's examples take for a parameter that an operation leaves open."""
SEPARATELY: dict[tuple[str, ...], str] = {
    _SIDES: "height and width are chosen separately",
    _STRIDES: "height and width are chosen separately",
    ("pool_strides",): "size and stride are chosen separately",
}
"""What is different where such fields have several options."""

REFUSED = {
    "metadata.namespace": "say it to rlnas submit: --namespace",
    "spec.objective.goal": "a search trains its whole budget",
    "spec.objective.additionalMetricNames": "a child's metrics are accuracy, parameters and flops",
    "spec.objective.metricStrategies": "the best of the last child.snapshots epochs counts",
    "spec.maxFailedTrialCount": "a failed child gets failures.reward; the search goes on",
    "spec.resumePolicy": "the same command continues any search",
    "spec.metricsCollectorSpec": "rlnas scores children itself, on validation data",
    "spec.earlyStopping": "child.rungs stops children early",
    "spec.parameters": "only architectures are searched; finalize.grid tries values of child",
    "status": "what has been found is not taken over",
    "controller_tanh_const": "logits are not squashed",
    "controller_skip_target": "connections have no target",
    "controller_skip_weight": "connections have no target",
    "controller_train_steps": "the controller changes once each loop.rounds_per_update rounds",
    "controller_log_every_steps": "every round is recorded",
    "w_lr_min": "the learning rate falls to zero",
    "w_grad_clip": "gradients are not clipped",
    "alpha_lr": "operations have no weights, the searcher chooses",
    "alpha_weight_decay": "operations have no weights, the searcher chooses",
    "num_workers": "the images lie in memory",
    "print_step": "every epoch is recorded",
    "stem_multiplier": "there is no stem",
}
"""Fields and settings that have no like here."""
