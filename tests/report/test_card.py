"""The model card: every fact is on it, and it is Markdown."""

import dataclasses
import re
from pathlib import Path

import pytest
from searches import finalize, make_spec, run

from rlnas.report.card import HOW_TO_USE, ModelFacts, Scores, card_of, model_card
from rlnas.report.fronts import front_of
from rlnas.report.status import read_child
from rlnas.software import versions
from rlnas.spaces import DataShape
from rlnas.spaces.rnn import LSTM
from rlnas.spec import load_spec
from rlnas.state import finals
from rlnas.variants import control_of

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEC = load_spec(EXAMPLES / "digits.yaml")
WINNER = SPEC.space.decode([1, 1, 3, 1, 1, 3, 1, 0, 2, 2, 1, 1, 3, 3, 0, 0, 1, 1])
FACTS = ModelFacts(
    spec=SPEC,
    children=32,
    failed=2,
    child="000003-005",
    reward=0.9512,
    architecture=SPEC.space.describe(WINNER, DataShape("images", 10, 8, 8, 1)),
    recipe=SPEC.child.model_copy(update={"epochs": 40, "weight_decay": 0.0005}),
    seed=77,
    trained_on="train + validation",
    scores=Scores({"accuracy": 0.98329, "parameters": 12345.0}, {"accuracy": 0.9749}),
    references={"resnet": Scores({"accuracy": 0.98607})},
    tuned=8,
    controls={"random": 0.9433, "largest": 0.9588},
    versions={"python": "3.11.7", "torch": "2.14.1"},
)


@pytest.fixture
def card():
    return model_card(FACTS)


def rows(card):
    """First cell -> the others, of all tables."""
    lines = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("|")]
    return {line[0]: [cell.strip() for cell in line[1:]] for line in lines}


def test_numbers_stand_beside_those_of_the_reference_models(card):
    table = rows(card)
    assert table["model"] == ["validation accuracy", "validation parameters", "test accuracy"]
    assert table["this model"] == ["0.9833", "12345", "0.9749"]
    assert table["resnet"] == ["0.9861", "–", "–"]


def test_data_search_recipe_and_versions_are_there(card):
    table = rows(card)
    assert table["validation_fraction"] == ["0.2"]
    assert table["children"] == ["32 of 32, 2 failed"]
    assert table["seed"] == ["1"]
    assert table["winner"] == ["child 000003-005, reward 0.9512"]
    assert table["control random, equal budget"] == ["best reward 0.9433"]
    assert table["control largest, equal budget"] == ["best reward 0.9588"]
    assert table["epochs"] == ["40"]
    assert table["weight_decay"] == ["0.0005"]
    assert table["torch"] == ["2.14.1"]
    assert "On train + validation, seed 77; the recipe was chosen on validation data among 8." in card
    assert FACTS.architecture.rows[0][1] in card


def test_what_was_not_done_is_said():
    card = model_card(dataclasses.replace(FACTS, controls={"random": None}, scores=Scores({"accuracy": 0.9})))
    assert rows(card)["control random, equal budget"] == ["not run"]
    assert "control largest, equal budget" not in rows(card)
    assert "The test data has not been read." in card


def test_what_the_search_began_with_is_said(card):
    assert "begins with" not in rows(card)
    begun = model_card(dataclasses.replace(FACTS, warm_start="32 children of search before"))
    assert rows(begun)["begins with"] == ["32 children of search before"]


@pytest.mark.parametrize(
    ("tested", "readings", "words"),
    [
        (1, 1, "The test data was read once, after that."),
        (1, 2, "The test data was read 2 times in this search; no other child of it was scored by it."),
        (3, 3, "read 3 times in this search: for each of its 3 finalized children; a choice among these by test"),
    ],
)
def test_how_often_the_test_data_was_read_is_said(tested, readings, words):
    assert words in model_card(dataclasses.replace(FACTS, tested=tested, test_readings=readings))


@pytest.mark.parametrize(("grid", "own"), [({"learning_rate": [0.05]}, False), ({"weight_decay": [0.0]}, True)])
def test_the_learning_rate_is_the_one_of_the_last_training(bucket, grid, own):
    """That of the grid, else the one that the winner predicts, never the recipe's beside it."""
    spec = make_spec("cnn", space={"learning_rates": [0.1, 0.2]}, child={"learning_rate": 0.3}, finalize={"grid": grid})
    ledger = run(bucket.settings, spec)
    record = next(final.record for final, _ in finals(ledger))
    predicted = spec.space.decode(read_child(ledger, record.winner).tokens).learning_rate
    card = card_of(ledger, record)
    assert rows(card)["learning_rate"] == [str(predicted if own else 0.05)]
    assert (f"learning rate {predicted:g}, predicted" in card) == own


def test_another_finalized_child_is_told(bucket):
    ledger = run(bucket.settings, make_spec("cnn", finalize={}))
    finalize(ledger, ledger.version().leaders[1].child)
    for final, _ in finals(ledger):
        assert "was read 2 times in this search: for each of its 2 finalized children;" in card_of(ledger, final.record)


def test_what_is_known_of_the_data_is_there():
    lines = ("train: 1,079 images (a|b 107)", "warning: labels start at 1")
    card = model_card(dataclasses.replace(FACTS, data=lines, class_names=("cat", "dog")))
    assert "\n\n- train: 1,079 images (a\\|b 107)\n- warning: labels start at 1\n\n" in card
    assert "The classes, in the order of the logits: 0 cat, 1 dog. They stand in architecture.json" in card
    many = model_card(dataclasses.replace(FACTS, class_names=[f"class {i}" for i in range(1000)]))
    assert "99 class 99, and 900 more. They stand" in many
    assert "in the order of the logits" not in model_card(FACTS)


def test_every_table_is_whole(card):
    for table in re.findall(r"(?:^\|.*\n?)+", card, re.MULTILINE):
        assert len({line.count(" | ") for line in table.strip().splitlines()}) == 1


def test_a_bar_does_not_split_a_cell():
    spec = SPEC.model_copy(update={"dataset": SPEC.dataset.model_copy(update={"kind": "a|b"})})
    assert r"a\|b" in model_card(dataclasses.replace(FACTS, spec=spec))


def test_a_language_models_card_says_how_to_read_words():
    spec = load_spec(EXAMPLES / "text-rnn.yaml")
    facts = dataclasses.replace(
        FACTS, spec=spec, recipe=spec.child, architecture=spec.space.describe(LSTM, DataShape("text", 2000, tokens=9))
    )
    assert HOW_TO_USE["text"] in model_card(facts)


def test_versions_are_those_that_run():
    import torch

    found = versions()
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert found.keys() >= {"python", "rlnas"}


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("kind", ["random", "largest"])
def test_only_a_control_of_this_very_spec_counts(bucket, kind, stale):
    spec = make_spec("cnn", finalize={})
    ledger = run(bucket.settings, spec)
    (final, _), control = next(finals(ledger)), control_of(spec, kind)
    best = run(bucket.settings, control.model_copy(update={"seed": 9} if stale else {})).version().leaders[0].reward
    table = rows(card_of(ledger, final.record))
    said = {other: table[f"control {other}, equal budget"] for other in ("random", "largest")}
    assert said == {"random": ["not run"], "largest": ["not run"]} | (
        {} if stale else {kind: [f"best reward {best:.4g}"]}
    )


def test_a_guided_search_says_what_it_is_and_shows_the_best_at_each_size(bucket):
    objective = {"soft": {"parameters": {"target": 50}}}
    spec = make_spec("cnn", controller={"kind": "guided", "first": 2, "samples": 8}, objective=objective, finalize={})
    ledger = run(bucket.settings, spec)
    (final, _) = next(finals(ledger))
    card = card_of(ledger, final.record)
    assert rows(card)["controller"] == [f"guided: {spec.controller.label}"]
    assert "choosing biases REINFORCE" in card
    assert rows(card)["objective"] == ["reward * (parameters / 50) ** -0.07"]
    winner = read_child(ledger, final.record.winner)
    assert rows(card)["winner"][0].endswith(f", proposed by {winner.by}")
    assert rows(card)["parameters"] == ["score", "child"]
    front = front_of(ledger.summaries(), "parameters", spec.objective)
    assert [rows(card)[f"{child.size:.0f}"] for child in front] == [[f"{c.score:.4g}", c.child] for c in front]
