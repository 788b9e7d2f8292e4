"""Katib's experiments as specs: what each field becomes, and that none is passed over in silence."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from katib_experiments import categorical, darts, enas, experiment, operation, settings, template, whole
from searches import run

from rlnas.errors import UserError
from rlnas.katib import Row, convert
from rlnas.katib.mapping import NETWORK, OPERATIONS, REFUSED, SETTINGS
from rlnas.spaces.cnn import CNNSpace
from rlnas.spec import parse_spec
from rlnas.state import Bucket

K, A, R = "kept", "approximated", "refused"
SEPARATELY, SHARED = "height and width are chosen separately", "operations share their options"


def converted(document: dict[str, Any], **changes: Any) -> Any:
    return convert(document | {"spec": document["spec"] | changes}, "mine.yaml")


def row(document: dict[str, Any], field: str, **changes: Any) -> tuple[str, str]:
    """The fate and the words of one field."""
    ((fate, words),) = {(r.fate, r.words) for r in converted(document, **changes).rows if r.field == field}
    return fate, words


def test_an_enas_experiment_becomes_a_search_by_the_papers_controller() -> None:
    found = converted(enas())
    assert (
        yaml.safe_load(found.text)
        == found.spec.document
        == {
            "name": "enas-mine",
            "space": {
                "kind": "cnn",
                "layers": 4,
                "max_layers": 4,
                "grow_every": None,
                "layer_types": [
                    "convolution",
                    "separable_convolution",
                    "depthwise_convolution",
                    "max_pool",
                    "avg_pool",
                ],
                "filter_heights": [3, 5],
                "filter_widths": [3, 5],
                "stride_heights": [1, 2],
                "stride_widths": [1, 2],
                "filters": [8, 16, 32],
                "depth_multipliers": [1, 2],
                "pool_sizes": [2, 3],
                "pool_strides": [2, 3],
            },
            "dataset": {"kind": "cifar10", "folder": "~/data/cifar10", "download": True},
            "child": {"kind": "cnn", "epochs": 2, "reward_exponent": 1.0},
            "controller": {"kind": "reinforce"},
            "loop": {"children": 6, "children_per_round": 2, "children_per_batch": 1},
        }
    )
    assert [(r.field, r.fate, r.words) for r in found.rows] == [
        ("metadata.name", K, "name: enas-mine"),
        ("algorithmName", K, "controller.kind: reinforce"),
        ("parallelTrialCount", K, "loop.children_per_round: 2, children_per_batch: 1"),
        ("maxTrialCount", A, "loop.children: 6; whole rounds of 2"),
        ("objective.type", K, "rewards are always maximised"),
        ("objectiveMetricName", K, "the reward is the validation accuracy; child.reward_exponent: 1"),
        ("numLayers", A, "space.layers: 4; a layer may leave out the one before it"),
        ("operation convolution", K, "space.layer_types: convolution"),
        ("operation separable_convolution", K, "space.layer_types: separable_convolution"),
        ("operation depthwise_convolution", K, "space.layer_types: depthwise_convolution"),
        ("reduction_type", K, "space.layer_types: max_pool, avg_pool"),
        ("operation reduction", K, "space.layer_types: max_pool, avg_pool"),
        ("filter_size", A, f"space.filter_heights, filter_widths: [3, 5]; {SEPARATELY}"),
        ("stride", A, f"space.stride_heights, stride_widths: [1, 2]; {SEPARATELY}; {SHARED}"),
        ("num_filter", A, f"space.filters: [8, 16, 32]; {SHARED}"),
        ("depth_multiplier", K, "space.depth_multipliers: [1, 2]"),
        ("pool_size", K, "space.pool_sizes: [2, 3]"),
        ("pool_size", A, "space.pool_strides: [2, 3]; size and stride are chosen separately"),
        ("trialTemplate: data", A, "dataset.kind: cifar10; the template names it"),
        ("inputSizes", K, "those of dataset cifar10"),
        ("outputSizes", K, "those of dataset cifar10"),
        ("trialTemplate: epochs", K, "child.epochs: 2"),
        ("trialTemplate", R, "all else of it: rlnas trains children itself, by the section child"),
        ("metadata.namespace", R, "say it to rlnas submit: --namespace"),
        ("maxFailedTrialCount", R, "a failed child gets failures.reward; the search goes on"),
        ("objective.goal", R, "a search trains its whole budget"),
    ]


def test_a_darts_experiment_becomes_a_guided_search_among_its_operations() -> None:
    found = converted(darts())
    assert found.spec.document == {
        "name": "darts-mine",
        "space": {
            "kind": "cnn",
            "layers": 6,
            "max_layers": 6,
            "grow_every": None,
            "layer_types": ["separable_convolution", "dilated_convolution", "avg_pool", "max_pool"],
            "filter_heights": [3, 5],
            "filter_widths": [3, 5],
            "stride_heights": [1],
            "stride_widths": [1],
            "filters": [4, 8, 16],
            "depth_multipliers": [1],
            "pool_sizes": [3],
            "pool_strides": [1],
            "pool_after": [2, 4],
        },
        "dataset": {"kind": "cifar10", "folder": "~/data/cifar10", "download": True},
        "child": {"kind": "cnn", "epochs": 3, "learning_rate": 0.025, "schedule": "cosine", "reward_exponent": 1.0},
        "controller": {"kind": "guided"},
        "loop": {"children": 64},
    }
    assert [(r.field, r.fate, r.words) for r in found.rows] == [
        ("metadata.name", K, "name: darts-mine"),
        ("algorithmName", A, "controller.kind: guided; one operation a layer, where DARTS weighs all in one network"),
        ("num_epochs", A, "child.epochs: 3; of each child, not of one network for all"),
        ("w_lr", K, "child.learning_rate: 0.025"),
        ("w_grad_clip", R, "gradients are not clipped"),
        ("print_step", R, "None: the default of rlnas stands"),
        ("parallelTrialCount", R, "one trial of DARTS is a whole search; loop.children: 64"),
        ("maxTrialCount", R, "one trial of DARTS is a whole search; loop.children: 64"),
        ("objective.type", K, "rewards are always maximised"),
        (
            "objectiveMetricName",
            A,
            "the reward is the validation accuracy; child.reward_exponent: 1; not Best-Genotype",
        ),
        ("numLayers", A, "space.layers: 6; 2 a cell, each searched by itself; space.pool_after: [2, 4]"),
        ("num_nodes", A, "space.layers: 6; layers of a cell, see numLayers"),
        (
            "operation separable_convolution",
            A,
            "space.layer_types: separable_convolution; one, where DARTS has two in a row",
        ),
        ("operation dilated_convolution", K, "space.layer_types: dilated_convolution"),
        ("operation avg_pooling", K, "space.layer_types: avg_pool"),
        ("operation max_pooling", K, "space.layer_types: max_pool"),
        ("operation skip_connection", A, "no layer; a layer chooses its inputs among all layers before it"),
        ("filter_size", A, f"space.filter_heights, filter_widths: [3, 5]; {SEPARATELY}; {SHARED}"),
        ("filter_size", K, "space.pool_sizes: [3]"),
        ("init_channels", A, "space.filters: [4, 8, 16]; each layer chooses"),
        ("trialTemplate: data", A, "dataset.kind: cifar10; the template names it"),
        ("trialTemplate: nvidia.com/gpu", A, "rlnas submit --set accelerator_count=1; no part of a spec"),
        ("trialTemplate", R, "all else of it: rlnas trains children itself, by the section child"),
        ("metadata.namespace", R, "say it to rlnas submit: --namespace"),
        ("metricsCollectorSpec", R, "rlnas scores children itself, on validation data"),
    ]


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_every_setting_of_the_mapping_is_a_field_of_the_spec(algorithm: str) -> None:
    values = {name: 1 if kind is int else 0.5 for name, (_, kind, _) in SETTINGS[algorithm].items()}
    others = NETWORK if algorithm == "darts" else {}
    found = converted(enas(), algorithm={"algorithmName": algorithm, "algorithmSettings": settings(**values, **others)})
    told = {r.field: r for r in found.rows}
    for name, (target, _, different) in SETTINGS[algorithm].items():
        section, _, field = target.partition(".")
        assert getattr(getattr(found.spec, section), field) == values[name]
        assert told[name].fate == (A if different else K)
    assert others.keys() <= told.keys()


def test_every_operation_of_the_mapping_is_of_the_space() -> None:
    for layer_types, parameters in OPERATIONS.values():
        CNNSpace(layer_types=layer_types or ("convolution",))
        assert {field for fields in parameters.values() for field in fields} <= CNNSpace.model_fields.keys()


def test_all_that_is_known_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/katib.md").read_text("utf-8")
    parameters = {name for known in OPERATIONS.values() for name in known.parameters}
    known = {
        name.removeprefix("spec.") for name in {*REFUSED, *OPERATIONS, *NETWORK, *parameters}.union(*SETTINGS.values())
    }
    assert [name for name in sorted(known) if f"`{name}`" not in text] == []


def test_what_nobody_knows_is_refused_by_name_wherever_it_stands() -> None:
    document = enas()
    spec = document["spec"]
    document["status"] = {"trials": 3}
    document["metadata"]["labels"] = {"team": "a"}
    spec["earlyStopping"] = {"algorithmName": "medianstop"}
    spec["colour"] = "red"
    spec["algorithm"]["mood"] = "good"
    spec["algorithm"]["algorithmSettings"] = settings(controller_tanh_const=2.25, zeal=3)
    spec["nasConfig"]["depth"] = 3
    spec["nasConfig"]["operations"] += [operation("attention", categorical("heads", 2))]
    spec["nasConfig"]["operations"][0]["parameters"] += [
        categorical("padding", 1),
        categorical("reduction_type", "max_pooling"),
    ]
    spec["nasConfig"]["operations"][0]["parameters"][0]["feasibleSpace"]["distribution"] = "uniform"
    refused = {r.field: r.words for r in converted(document).rows if r.fate == R}
    assert (
        refused.items()
        >= {
            "status": "what has been found is not taken over",
            "metadata.labels": "not known here",
            "earlyStopping": "child.rungs stops children early",
            "colour": "not known here",
            "algorithm.mood": "not known here",
            "controller_tanh_const": "logits are not squashed",
            "zeal": "unknown of enas",
            "nasConfig.depth": "not known here",
            "operation attention": f"unknown; allowed: {', '.join(OPERATIONS)}",
            "padding of convolution": "unknown of this operation",
            "reduction_type of convolution": "unknown of this operation",
            "nasConfig.operations.parameters.feasibleSpace.distribution": "not known here",
        }.items()
    )


def test_data_that_the_template_does_not_name_is_for_the_person_to_fill_in() -> None:
    document = enas()
    graph = document["spec"]["nasConfig"]["graphConfig"]
    graph |= {"inputSizes": [28, 28, 1], "outputSizes": [7]}
    document["spec"]["trialTemplate"] = template("registry/mine:1", "sh", "-c", "train --epochs 4 --data cifar100")
    found = converted(document)
    assert found.spec.dataset.model_dump().items() >= {"kind": "npz", "path": "data.npz", "classes": 7}.items()
    assert found.spec.child.epochs == 4
    told = {r.field: (r.fate, r.words) for r in found.rows}
    assert told["trialTemplate: data"] == (R, "it is in an image; dataset.path: data.npz stands for a file of yours")
    assert told["inputSizes"] == (R, "the dataset says them, see rlnas validate")
    assert told["outputSizes"] == (K, "dataset.classes: 7")


def test_trials_become_children_in_whole_rounds_within_the_budget() -> None:
    assert row(enas(), "maxTrialCount", maxTrialCount=6) == (K, "loop.children: 6")
    assert row(enas(), "maxTrialCount", maxTrialCount=None) == (
        A,
        "loop.children: 64; there is none; a search has a budget",
    )
    few = {"maxTrialCount": 2, "parallelTrialCount": 5}
    assert row(enas(), "parallelTrialCount", **few) == (
        A,
        "loop.children_per_round: 2, children_per_batch: 1; within the budget",
    )


def test_what_a_reduction_and_an_objective_leave_open_or_ask_beyond_is_said() -> None:
    graph = {"numLayers": 1}
    reductions = [
        operation("reduction", categorical("reduction_type", "max_pooling", "l2_pooling"), whole("pool_size", 2, 2))
    ]
    nas = {"graphConfig": graph, "operations": reductions}
    assert row(enas(), "reduction_type", nasConfig=nas) == (A, "space.layer_types: max_pool; without l2_pooling")
    space = converted(
        enas(), nasConfig={"graphConfig": graph, "operations": [operation("reduction"), operation("convolution")]}
    ).spec.space
    assert (space.layer_types, space.pool_sizes, space.pool_strides) == (("max_pool", "convolution"), (2,), (2,))
    assert (space.filter_heights, space.filters, space.stride_widths) == ((3,), (64,), (1,))
    loss = {"type": "minimize", "objectiveMetricName": "Validation-Loss"}
    assert row(enas(), "objective.type", objective=loss) == (R, "rewards are always maximised")
    assert row(enas(), "objectiveMetricName", objective=loss)[0] == A


def test_a_name_that_no_search_can_have_is_changed() -> None:
    document = enas()
    document["metadata"] = {"generateName": "Mine.v2-"}
    found = converted(document)
    assert found.spec.name == "mine-v2"
    assert found.rows[0] == Row("metadata.generateName", A, "name: mine-v2; of a-z, 0-9 and -")


LOOP: dict[str, Any] = {}
LOOP["loop"] = LOOP
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no search of architectures": ({"nasConfig": None}, "spec.nasConfig: a mapping is needed, got None"),
    "another algorithm": (
        {"algorithm": {"algorithmName": "random"}},
        "spec.algorithm.algorithmName: Input should be 'enas' or 'darts', got 'random'",
    ),
    "no list": (
        {"algorithm": {"algorithmName": "enas", "algorithmSettings": 3}},
        "spec.algorithm.algorithmSettings: a list is needed",
    ),
    "no number": (
        {"algorithm": {"algorithmName": "enas", "algorithmSettings": settings(controller_hidden_size="many")}},
        "controller_hidden_size: got 'many'; allowed: a whole number",
    ),
    "out of bounds": (
        {"algorithm": {"algorithmName": "enas", "algorithmSettings": settings(controller_hidden_size=0)}},
        "as a spec: controller.hidden: Input should be greater than or equal to 1, got 0",
    ),
    "too deep": (
        {"nasConfig": {"graphConfig": {"numLayers": 101}, "operations": [operation("convolution")]}},
        "as a spec: space.",
    ),
    "no layer": (
        {"nasConfig": {"graphConfig": {"numLayers": 1}, "operations": [operation("skip_connection")]}},
        "spec.nasConfig.operations: none is a layer; allowed: convolution, ",
    ),
    "no option": (
        {
            "nasConfig": {
                "graphConfig": {"numLayers": 1},
                "operations": [operation("convolution", categorical("stride"))],
            }
        },
        "stride of convolution: no option; allowed: a list, or min and max",
    ),
    "too many options": (
        {
            "nasConfig": {
                "graphConfig": {"numLayers": 1},
                "operations": [operation("convolution", whole("stride", 1, 10**9))],
            }
        },
        "stride of convolution: from 1 to 1000000000 by 1; allowed: at most 1000 options",
    ),
    "a loop": ({"trialTemplate": LOOP}, "spec.trialTemplate: it holds itself; allowed: a template"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_nas_experiment_is_one_line(case: str) -> None:
    changes, words = BAD[case]
    with pytest.raises(UserError) as error:
        converted(enas(), **changes)
    assert str(error.value).startswith("mine.yaml")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "mine.yaml: a mapping is needed, got list; allowed: an Experiment of Katib (kubeflow.org/v1beta1)"),
        ({}, "mine.yaml: apiVersion is missing; allowed: an Experiment of Katib"),
        (enas() | {"kind": "TFJob"}, "mine.yaml: kind: Input should be 'Experiment', got 'TFJob'"),
        (
            experiment("", **enas()["spec"]),
            "mine.yaml: metadata.name is missing; allowed: a name with letters or digits",
        ),
        (experiment("x", parameters=[]), "mine.yaml: spec.algorithm is missing; allowed: an Experiment of Katib"),
    ],
)
def test_what_is_no_experiment_is_one_line(document: Any, words: str) -> None:
    with pytest.raises(UserError) as error:
        convert(document, "mine.yaml")
    assert str(error.value).startswith(words)


@pytest.mark.parametrize("make", [enas, darts])
def test_a_converted_search_runs(make: Any, bucket: Bucket) -> None:
    """Cut down: on digits, two rounds of children of an epoch each; the guided searcher chooses from the second on."""
    document = yaml.safe_load(converted(make()).text)
    document |= {"dataset": {"kind": "digits", "validation_fraction": 0.1, "test_fraction": 0.6}, "finalize": None}
    document["child"] |= {"epochs": 1}
    document["controller"] |= {"first": 2} if document["controller"]["kind"] == "guided" else {}
    document["loop"] |= {"children": 4, "children_per_round": 2}
    ledger = run(bucket.settings, parse_spec(document))
    assert [child.result.status for summary in ledger.summaries() for child in summary.children] == ["ok"] * 4
