"""The card that goes with an exported model, in Markdown: what it is, what it reached, and how to use it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rlnas.children import Recipe
from rlnas.errors import SearchDeleted, UserError
from rlnas.report.fronts import FrontChild, front_of, size_of
from rlnas.report.spent import epochs_of, trained_on
from rlnas.report.status import read_child
from rlnas.spaces import Description
from rlnas.spec import SearchSpec
from rlnas.state import DataRecord, FinalRecord, Ledger, finals, open_search, public_marks
from rlnas.variants import CONTROLS, control_of, means_nothing

NAMES_SHOWN = 100
HOW_TO_USE = {
    "images": """\
# onnxruntime sends telemetry unless ORT_DISABLE_TELEMETRY=1 is in the environment when it is imported.
session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["logits"], {"pixels": pixels})  # uint8 [N, height, width, channels], as they are stored
labels = logits.argmax(axis=1)""",
    "text": """\
# onnxruntime sends telemetry unless ORT_DISABLE_TELEMETRY=1 is in the environment when it is imported.
session = onnxruntime.InferenceSession("model.onnx")
layers, two, _, hidden = session.get_inputs()[1].shape
state = numpy.zeros((layers, two, 1, hidden), numpy.float32)
for word in words:  # their line numbers in vocabulary.txt, from 0
    logits, state = session.run(None, {"words": numpy.array([word]), "state": state})""",
}


@dataclass(frozen=True)
class Scores:
    """What a model reached, by metric; `test` is empty for a model that was not tested."""

    validation: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFacts:
    """What a card says.

    Args:
        spec: of the search.
        children, failed: trained in the search, and of those without a score of their own.
        child: the winner's name in the ledger.
        reward: that it got in the search.
        by: who proposed it, where not the searcher as a whole.
        warm_start: what the search began with of an earlier one; empty: nothing.
        architecture: the winner, described.
        recipe: of the last training.
        seed: of the last training.
        marks: what has become of the search since it began: why it was ended, what was changed.
        devices: that children were trained on; empty: not known.
        epochs: that were spent and saved, in words; empty: no child could be stopped.
        trained_on: such as `train + validation`.
        scores: of the exported model; validation scores are of the training that chose the recipe.
        references: name -> scores of the models it is compared with.
        tuned: how many recipes were tried for each of these and for the winner.
        tested: children of the search that test data scored.
        test_readings: how often test data was read in the search.
        controls: kind -> best reward that it found with an equal budget; None: not run.
        front: the best children at each size; empty where they are all of one size.
        versions: of the software that trained it.
        data: what is to be known of it, a line each.
        class_names: in the order of the logits; empty where they have none.
    """

    spec: SearchSpec
    children: int
    failed: int
    child: str
    reward: float
    architecture: Description
    recipe: Recipe
    seed: int
    trained_on: str
    scores: Scores
    references: Mapping[str, Scores] = field(default_factory=dict)
    tuned: int = 1
    tested: int = 1
    test_readings: int = 1
    by: str = ""
    warm_start: str = ""
    marks: Sequence[str] = ()
    devices: str = ""
    epochs: str = ""
    controls: Mapping[str, float | None] = field(default_factory=dict)
    front: Sequence[FrontChild] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    data: Sequence[str] = ()
    class_names: Sequence[str] = ()


def card_of(ledger: Ledger, record: FinalRecord) -> str:
    """Write the card of a tested winner."""
    spec, version, child = ledger.spec, ledger.version(), read_child(ledger, record.winner)
    summaries = ledger.summaries()
    data = ledger.data() or DataRecord()
    winner, *others = record.models
    trained = read_child(ledger, winner.child)
    # What was tried for a field stands above what the architecture predicts for it, and this above the recipe.
    architecture = spec.space.decode(child.tokens).without(winner.recipe)
    records = [final.record for final, _ in finals(ledger)]
    tested = {tried.winner for tried in records if tried and any(model.test for model in tried.models)}
    assert spec.final is not None
    facts = ModelFacts(
        spec=spec,
        children=version.children,
        failed=version.failed,
        child=record.winner,
        reward=(child.result.reward if child.result else None) or 0.0,
        architecture=spec.space.describe(architecture, ledger.shape),
        recipe=spec.child.vary(winner.recipe | architecture.predicted),
        seed=trained.seed,
        trained_on=spec.final.data.replace("_and_", " + "),
        scores=Scores(winner.validation, winner.test),
        references={model.reference: Scores(model.validation, model.test) for model in others},
        tuned=len(spec.final.points),
        tested=len(tested),
        test_readings=ledger.test_readings(),
        by=child.by,
        warm_start=str(ledger.record.warm_start or ""),
        marks=public_marks(ledger),
        devices=trained_on(summaries),
        epochs=epochs_of(ledger, version),
        controls={kind: _control(ledger, kind) for kind in CONTROLS if not means_nothing(spec, kind)},
        front=front_of(summaries, size_of(spec), spec.objective),
        versions=record.software,
        data=data.lines,
        class_names=data.class_names,
    )
    return model_card(facts)


def _control(ledger: Ledger, kind: str) -> float | None:
    """Return the best reward of a control of the search, where that has been run to its budget."""
    try:
        expected = control_of(ledger.spec, kind)
        control = open_search(ledger.bucket, expected.name)
    except (UserError, SearchDeleted):
        return None
    if control.spec_beside(ledger) != expected:  # of an older spec, or with other data, perhaps
        return None
    version = control.version()
    done = version.rounds == ledger.rounds and version.leaders
    return version.leaders[0].reward if done else None


def model_card(facts: ModelFacts) -> str:
    """Write the card."""
    spec, architecture = facts.spec, facts.architecture
    controller, objective = spec.controller, spec.objective.words
    what = f"{controller.kind}: {spec.label}" if spec.label else controller.kind
    by = f", proposed by {facts.by}" if facts.by else ""
    parts = [
        f"# {spec.name}",
        f"{architecture.summary}.",
        "A network that rlnas found by neural architecture search.",
        "## Results",
        _results(facts),
        f"Validation numbers are those of the training that chose the recipe. {_readings(facts)}",
        "## Data",
        _table(("setting", "value"), _settings(spec.dataset.model_dump(mode="json"))),
        *(["\n".join(f"- {_text(line)}" for line in facts.data)] if facts.data else []),
        "## Search",
        _table(
            ("what", "value"),
            [
                ("space", spec.space.kind),
                ("controller", what),
                *([("begins with", facts.warm_start)] if facts.warm_start else []),
                *([("objective", objective)] if objective else []),
                ("seed", spec.seed),
                ("children", f"{facts.children} of {spec.loop.children}, {facts.failed} failed"),
                *(("", mark) for mark in facts.marks),
                *([("trained on", facts.devices)] if facts.devices else []),
                *([("epochs", facts.epochs)] if facts.epochs else []),
                ("winner", f"child {facts.child}, reward {_text(facts.reward)}{by}"),
                *((f"control {kind}, equal budget", _best(reward)) for kind, reward in facts.controls.items()),
            ],
        ),
        *_front(facts),
        "## Architecture",
        _table(architecture.columns, architecture.rows),
        *architecture.remarks,
        "## Training",
        f"On {facts.trained_on}, seed {facts.seed}; the recipe was chosen on validation data among {facts.tuned}.",
        _table(("setting", "value"), _settings(facts.recipe.model_dump(mode="json"))),
    ]
    if facts.recipe.modality in HOW_TO_USE:
        parts += ["## Use", f"```python\n{HOW_TO_USE[facts.recipe.modality]}\n```"]
        parts += [spec.dataset.reading] if spec.dataset.reading else []
        parts += [_classes(facts.class_names)] if facts.class_names else []
    parts += ["## Versions", _table(("software", "version"), list(facts.versions.items()))]
    return "\n\n".join(parts) + "\n"


def _best(reward: float | None) -> str:
    return "not run" if reward is None else f"best reward {_text(reward)}"


def _front(facts: ModelFacts) -> list[str]:
    """The table of the best children at each size, where they are of several."""
    if not facts.front:
        return []
    size = size_of(facts.spec).replace("_", " ")
    rows = [(_text(child.size), _text(child.score), child.child) for child in facts.front]
    return [
        "Best of the search at each size: none of at most their size equals or beats these children.",
        _table((size, "score", "child"), rows),
    ]


def _classes(names: Sequence[str]) -> str:
    shown = ", ".join(f"{place} {_text(name)}" for place, name in enumerate(names[:NAMES_SHOWN]))
    more = f", and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (
        f"The classes, in the order of the logits: {shown}{more}. They stand in architecture.json as `class_names`, and"
        " in the metadata of model.onnx: `json.loads(session.get_modelmeta().custom_metadata_map['class_names'])`."
    )


def _readings(facts: ModelFacts) -> str:
    """Say how often test data was read: other children may be finalized, and a test that is interrupted begins anew."""
    if not facts.scores.test:
        return "The test data has not been read."
    if facts.test_readings <= 1:
        return "The test data was read once, after that."
    read = f"The test data was read {facts.test_readings} times in this search"
    if facts.tested <= 1:
        return f"{read}; no other child of it was scored by it."
    return (
        f"{read}: for each of its {facts.tested} finalized children; a choice among these by test numbers is not an"
        " honest estimate."
    )


def _results(facts: ModelFacts) -> str:
    models = {"this model": facts.scores} | dict(facts.references)
    columns = dict.fromkeys(
        (part, metric)
        for scores in models.values()
        for part in ("validation", "test")
        for metric in getattr(scores, part)
    )
    rows = [[name, *(getattr(scores, p).get(metric, "–") for p, metric in columns)] for name, scores in models.items()]
    return _table(("model", *(f"{part} {metric}" for part, metric in columns)), rows)


def _settings(section: Mapping[str, object]) -> list[tuple[str, object]]:
    return [(name, value) for name, value in section.items() if value is not None]


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_text(cell) for cell in line)} |" for line in lines)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) >= 10 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
