"""From the winner to a tested model: chosen on validation data, tested once, whatever is killed on the way."""

import os
import signal
import sys
from collections.abc import Callable

import onnxruntime
import pytest
import searches
import torch
from searches import finalize, make_spec, renamed

from rlnas import steps
from rlnas.children import Evaluation
from rlnas.children.images import ImageTrainer
from rlnas.datasets import Validation, open_local
from rlnas.errors import ChildFailure, UserError
from rlnas.report import card_of
from rlnas.spec import MOST_ROUNDS, SearchSpec
from rlnas.state import Bucket, Ledger, Observer, begin, child_id, extend, finals, left_of, open_search, stop
from rlnas.state.marks import amend
from rlnas.steps.common import NOTHING_TO_DO, architecture_of, trainer_of
from rlnas.steps.train_child import failed_result
from rlnas.variants import control_of

GRID = {"grid": {"learning_rate": [0.1, 0.01], "weight_decay": [0.0, 1e-3]}, "retrain": {"epochs": 3}}
RNN_GRID = {"grid": {"learning_rate": [0.1, 0.5]}, "retrain": {"epochs": 3}}


def searched(bucket: Bucket, kind: str = "cnn", finalize: dict | None = None, **sections: dict) -> Ledger:
    """A search at its budget, its winner not yet finalized."""
    spec = make_spec(kind, finalize=finalize or {}, **sections)
    without = spec.model_copy(update={"finalize": None})
    return now_finalized(searches.run(bucket.settings, without), spec)


def now_finalized(ledger: Ledger, spec: SearchSpec) -> Ledger:
    """Let a search have a spec that finalizes its winner, as if it had begun with that."""
    changed = {"spec": spec.model_dump(mode="json"), "spec_sha256": spec.sha256}
    amend(ledger, lambda record: record.model_copy(update=changed))
    return ledger


@pytest.mark.parametrize(("kind", "settings"), [("cnn", GRID), ("rnn", RNN_GRID)])
def test_the_best_recipe_on_validation_data_is_trained_on_and_tested(bucket, kind, settings):
    ledger = searched(bucket, kind, settings)
    winner, rounds = ledger.version().leaders[0], ledger.finals_from
    record = finalize(ledger)
    grid = ledger.summary(rounds).children
    assert [child.recipe for child in grid] == ledger.spec.final.points
    assert {child.tokens for child in grid} == {winner.tokens}
    best = max(grid, key=lambda child: child.result.reward)
    (last,) = ledger.plan(rounds + 1).children
    assert last.recipe == best.recipe | {"epochs": 3, "snapshots": 1}
    assert (last.tokens, ledger.plan(rounds + 1).data) == (winner.tokens, "train_and_validation")
    (model,) = record.models
    assert (record.winner, model.child) == (winner.child, child_id(rounds + 1, 0))
    assert model.validation == best.result.metrics
    assert model.test.keys() == best.result.metrics.keys()


def test_a_learning_rate_of_the_grid_stands_above_the_one_that_the_winner_predicts(bucket):
    spec = make_spec("cnn", space={"learning_rates": [0.1, 0.2]}, finalize={"grid": {"learning_rate": [0.05, 1e30]}})
    ledger = searches.run(bucket.settings, spec)
    assert spec.space.decode(ledger.version().leaders[0].tokens).learning_rate in (0.1, 0.2)
    grid = ledger.plan(ledger.finals_from).children
    trainers = [trainer_of(ledger, "cpu", planned.recipe) for planned in grid]
    rates = [architecture_of(ledger, *pair).learning_rate for pair in zip(grid, trainers, strict=True)]
    assert rates == [None, None]
    assert [trainer.recipe.learning_rate for trainer in trainers] == [0.05, 1e30]
    assert [ledger.result(child_id(ledger.finals_from, i)).status for i in range(2)] == ["ok", "failed"]
    searched = ledger.plan(0).children[0]
    assert architecture_of(ledger, searched, trainer_of(ledger, "cpu", searched.recipe)).learning_rate in (0.1, 0.2)


def test_the_test_is_of_the_last_weights_on_the_test_data(bucket):
    ledger = searched(bucket, finalize={"retrain": {"epochs": 3}, "data": "train"})
    (model,) = finalize(ledger).models
    spec = ledger.spec
    recipe = spec.child.vary(model.recipe)
    data = spec.dataset.open_test(open_local, list).content
    architecture = spec.space.decode(ledger.version().leaders[0].tokens)
    evaluation = ImageTrainer(recipe, ledger.shape, "cpu").evaluate(
        architecture, ledger.snapshots(model.child), Validation(data)
    )
    assert len(evaluation.history) == 1
    assert model.test == evaluation.metrics


def test_the_last_training_sees_validation_data_only_if_the_spec_says_so(bucket):
    weights = []
    for data in ("train", "train_and_validation"):
        ledger = searched(bucket, finalize={"data": data})
        child = finalize(ledger).models[0].child
        weights.append(searches.outcome(ledger)[f"snapshots/{child}.safetensors"])
    assert weights[0] != weights[1]


def test_test_data_is_read_once_in_a_whole_search_and_never_again(bucket):
    spec = make_spec("cnn", finalize=GRID)
    ledger = searches.run(bucket.settings, spec)
    assert ledger.test_readings() == 1
    record = ledger.final(0)
    assert finalize(ledger) == record, "the tail of another run"
    name = ledger.version().leaders[0].child
    with pytest.raises(UserError, match=rf"child {name} of search .* was tested already: accuracy 0\.\d+.*tested once"):
        steps.plan_grid(ledger, name)
    assert ledger.test_readings() == 1


def test_another_child_can_be_finalized_too(bucket):
    ledger = searched(bucket, finalize={})
    first, *_, other = ledger.version().leaders
    assert first.tokens != other.tokens
    finalize(ledger)
    assert finalize(ledger, other.child).winner == other.child
    assert finalize(ledger).winner == first.child
    assert ledger.test_readings() == 2


def test_a_child_can_be_finalized_before_the_budget_is_reached_and_the_search_goes_on(make_ledger):
    ledger = make_ledger("cnn", finalize={})
    with pytest.raises(UserError, match="has 2 rounds left"):
        steps.plan_grid(ledger)
    (batch,) = steps.sample_architecture(ledger)
    steps.train_child(ledger, batch, "a")
    steps.evaluate(ledger, batch)
    steps.update_controller(ledger)
    assert finalize(ledger, "0-1").winner == "000000-001"
    assert steps.sample_architecture(ledger)[0].round == 1
    assert [summary.round for summary in ledger.summaries()] == [0]


def test_a_child_that_was_never_proposed_is_refused(bucket):
    ledger = searched(bucket, finalize={})
    finalize(ledger)  # its own grid is round 2, and no child of the search
    for child in ("9-0", "0-7", "best", "2-0"):
        with pytest.raises(UserError, match="child"):
            steps.plan_grid(ledger, child)


def test_a_winner_that_cannot_be_trained_is_recorded_with_the_reason(bucket):
    ledger = searched(bucket, finalize={"grid": {"learning_rate": [1e30]}})
    (model,) = finalize(ledger).models
    assert not model.test
    assert "loss" in model.reason
    assert ledger.test_readings() == 0, "there is nothing to test"
    assert not left_of(ledger, ledger.version()).only_winner
    assert finalize(ledger).models == (model,), "the loop lets it be"

    name = ledger.version().leaders[0].child
    steps.plan_grid(ledger, name)  # but a person may try again
    rounds = ledger.finals_from
    assert [plan.winner for _, plan in finals(ledger)] == [name, name]
    assert ledger.plan(rounds + 2).children[0].seed != ledger.plan(rounds).children[0].seed


def test_a_last_training_in_vain_reads_no_test_data_and_may_be_tried_again(bucket):
    ledger = searched(bucket, finalize={"references": ["no_skips"]}, child={"time_limit": 100.0})
    rounds, name = ledger.finals_from, ledger.version().leaders[0].child
    for number, batch in enumerate(steps.plan_grid(ledger)):
        steps.train_child(ledger, batch, str(number))
        steps.evaluate(ledger, batch)
    (batch,) = steps.plan_retraining(ledger)
    assert ledger.plan(rounds + 1).children[0].recipe["time_limit"] is None, "it was meant for shorter trainings"
    begin(ledger, child_id(rounds + 1, 0), "last")
    ledger.create_result(child_id(rounds + 1, 0), failed_result(ledger, ChildFailure("timeout", "slow"), 1.0))
    steps.train_child(ledger, batch, "last")
    winner, reference = steps.final_test(ledger).models
    assert (winner.reason, winner.test) == ("timeout: slow", {})
    assert (reference.reason, reference.test) == ("there is no winner to compare it with", {})
    assert ledger.test_readings() == 0

    again = finalize(ledger, name)
    assert again.models[0].test
    assert ledger.test_readings() == 1
    assert steps.find_final(ledger).number == 1
    with pytest.raises(UserError, match="was tested already"):
        steps.plan_grid(ledger, name)


def test_a_score_that_is_not_finite_is_a_reason_and_no_score(bucket, monkeypatch):
    ledger = searched(bucket, finalize={})
    for number, batch in enumerate(steps.plan_grid(ledger)):
        steps.train_child(ledger, batch, str(number))
        steps.evaluate(ledger, batch)
    for batch in steps.plan_retraining(ledger):
        steps.train_child(ledger, batch, "last")
    monkeypatch.setattr(ImageTrainer, "evaluate", lambda *_: Evaluation((), 0.0, {"accuracy": float("nan")}))
    assert "not_finite" in steps.final_test(ledger).models[0].reason
    assert not ledger.final(0).models[0].test


def test_a_reference_that_there_cannot_be_is_left_out_unless_it_is_named(bucket, capfd):
    spec = make_spec("cnn", space={"layers": 1}, finalize={"references": ["all_skips", "resnet"]})
    ledger = searches.run(bucket.settings, spec)
    assert [model.reference for model in ledger.final(0).models] == ["", "resnet"]
    assert "all_skips needs layers to connect, the winner has one; allowed: resnet; it is left out" in (
        capfd.readouterr().out
    )
    other = next(leader.child for leader in ledger.version().leaders if steps.find_final(ledger, leader.child) is None)
    with pytest.raises(UserError, match="needs layers to connect"):
        steps.plan_grid(ledger, other, ["all_skips"])
    assert steps.find_final(ledger, other) is None


def test_what_a_person_began_with_other_references_is_taken_up(bucket):
    ledger = searched(bucket, finalize={"references": ["no_skips"]})
    name = ledger.version().leaders[0].child
    steps.plan_grid(ledger, name, ["resnet", "resnet"])
    assert [model.reference for model in finalize(ledger).models] == ["", "resnet"]


def test_other_references_than_those_begun_are_refused(bucket):
    ledger = searched(bucket, finalize={})
    name = ledger.version().leaders[0].child
    steps.plan_grid(ledger, name, ["resnet"])
    with pytest.raises(UserError, match="is being finalized with others already; allowed: resnet"):
        steps.plan_grid(ledger, name, ["no_skips"])


def test_seeds_of_a_winner_do_not_depend_on_who_was_finalized_before(bucket):
    seeds = []
    for others in (False, True):
        ledger = searched(bucket, finalize={})
        other = ledger.version().leaders[-1]
        if others:
            steps.plan_grid(ledger, other.child)
        steps.plan_grid(ledger)
        seeds.append(steps.find_final(ledger).grid.children[0].seed)
    assert seeds[0] == seeds[1]


def test_only_what_was_tested_is_kept(bucket):
    ledger = searched(bucket, finalize=GRID)
    rounds = ledger.finals_from
    finalize(ledger)
    steps.finish(ledger)
    late = [name for name in searches.outcome(ledger) if name.startswith(("snapshots/", "checkpoints/"))]
    assert [name for name in late if f"/{rounds:06d}" in name] == []
    assert [name for name in late if f"/{rounds + 1:06d}" in name] == [
        f"snapshots/{child_id(rounds + 1, 0)}.safetensors"
    ]


@pytest.mark.parametrize("prepare", [searches.checkpoint_every_step, searches.checkpoint_never])
def test_killed_after_more_and_more_writes_it_ends_as_if_undisturbed(bucket, prepare):
    """On machines endlessly slow, and endlessly fast."""
    spec = make_spec("cnn", finalize={"grid": {"learning_rate": [0.1, 0.01]}})
    expected = searches.outcome(searches.run(bucket.settings, spec))
    disturbed = renamed(spec)
    searches.run(bucket.settings, disturbed.model_copy(update={"finalize": None}))
    ledger = now_finalized(open_search(bucket, disturbed.name), disturbed)
    ends = []
    while not ends or ends[-1]:
        ends.append(searches.in_process(killed_finalize, ledger, 1 + len(ends), prepare))
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert len(ends) > 5
    assert searches.outcome(ledger) == expected


def killed_finalize(ledger: Ledger, writes: int, prepare: Callable[[], None]) -> None:
    """Die right after so many writes."""
    searches.inline()
    prepare()
    torch.set_num_threads(1)
    searches.on_call(
        lambda number, *_: os.kill(os.getpid(), signal.SIGKILL) if number == writes else None, searches.WRITES
    )
    finalize(Ledger(Bucket(ledger.bucket.settings), ledger.record))


def test_the_seed_decides(bucket):
    torch.set_num_threads(1)
    spec = make_spec("cnn", finalize={"retrain": {"epochs": 2}})
    first, second = (searches.run(bucket.settings, each).final(0) for each in (spec, renamed(spec)))
    assert first.models == second.models


def test_the_exported_files_are_those_of_the_tested_weights(bucket):
    spec = make_spec("cnn", finalize={})
    ledger = searches.run(bucket.settings, spec)
    assert left_of(ledger, ledger.version()).only_winner, "tested, but not exported"
    files = steps.export_model(ledger, card_of)
    assert files.keys() >= {"model.onnx", "model.pt2", "model.safetensors", "architecture.json", "README.md"}
    assert not left_of(ledger, ledger.version()).only_winner
    assert steps.export_model(ledger, card_of) == files
    session = onnxruntime.InferenceSession(files["model.onnx"])
    data = spec.dataset.open_test(open_local, list).content
    (logits,) = session.run(["logits"], {"pixels": data.pixels.numpy()})
    accuracy = float((logits.argmax(axis=1) == data.labels.numpy()).mean())
    assert accuracy == pytest.approx(ledger.final(0).models[0].test["accuracy"], abs=1e-4)
    assert f"{accuracy:.4g}" in files["README.md"].decode()


def test_the_card_of_an_exported_model_stays_true(bucket):
    spec = make_spec("cnn", finalize={})
    ledger = searches.run(bucket.settings, spec)
    first = steps.export_model(ledger, card_of)
    assert "| control random, equal budget | not run |" in first["README.md"].decode()
    searches.run(bucket.settings, control_of(spec))
    second = steps.export_model(ledger, card_of)
    assert "| control random, equal budget | best reward" in second["README.md"].decode()
    assert steps.read_model(ledger, ledger.final(0).winner) == second
    assert {name for name in first if first[name] != second[name]} == {"README.md"}


def test_reference_models_go_the_same_way(bucket):
    ledger = searched(bucket, finalize={"grid": {"learning_rate": [0.1, 0.01]}, "references": ["no_skips", "resnet"]})
    record = finalize(ledger)
    assert [model.reference for model in record.models] == ["", "no_skips", "resnet"]
    assert len(ledger.summary(ledger.finals_from).children) == 6
    assert all(model.test for model in record.models)
    assert ledger.test_readings() == 1
    with pytest.raises(UserError, match="'lstm' is no reference of cnn children; allowed: resnet, all_skips, no_skips"):
        steps.plan_grid(ledger, references=["lstm"])


def test_after_an_extension_a_winner_is_tested_if_it_is_another_one(bucket: Bucket) -> None:
    ledger = searches.run(bucket.settings, make_spec("cnn", finalize={}, loop={"children": 2}))
    first = ledger.final(0).winner
    for children, reward in ((4, 0.0), (6, 2.0)):
        extend(ledger, {"loop.children": children}, "me")
        assert not searches.FINALIZE.is_over(ledger)
        assert steps.find_final(ledger) is None
        assert steps.final_test(ledger) is None
        for name in steps.ask(ledger, 2, Observer(ledger)):
            steps.tell(ledger, name, reward, {})
        searches.run(bucket.settings, open_search(bucket, ledger.name).spec)
        other = ledger.version().leaders[0].child
        assert other == first if reward < 1 else other.startswith("000002")
        assert ledger.test_readings() == (1 if reward < 1 else 2)
    assert [final.grid_round for final, _ in finals(ledger)] == [MOST_ROUNDS, MOST_ROUNDS + 2]
    assert [ledger.final(number).winner for number in (0, 1)] == [first, other]
    assert len(ledger.summaries()) == 3


def test_extended_while_it_is_tested_a_winner_keeps_its_name(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search has another best child by the time at which the record is written (found by seed 6606305)."""
    ledger = searched(bucket, loop={"children": 2})
    first = ledger.version().leaders[0].child
    module = sys.modules["rlnas.steps.finalize"]
    check = module.check_data

    def extend_meanwhile(theirs: Ledger) -> None:
        check(theirs)
        other = open_search(Bucket(bucket.settings), ledger.name)
        extend(other, {"loop.children": 4}, "me")
        for name in steps.ask(other, 2, Observer(other)):
            steps.tell(other, name, 2.0, {})
        steps.update_controller(other)
        assert other.version().leaders[0].child != first
        theirs.refresh()

    monkeypatch.setattr(module, "check_data", extend_meanwhile)
    assert finalize(ledger).winner == first


def test_a_winner_of_a_search_that_was_stopped(bucket: Bucket) -> None:
    spec = make_spec("cnn", finalize={}, loop={"children": 20})
    ledger = steps.open_search(bucket, spec.name, spec)
    assert steps.sample_architecture(ledger)[0].round == 0
    stop(ledger, "me")
    assert left_of(ledger, ledger.version()).rounds == 1
    done = steps.work(ledger, "a", 3600.0, 10)
    assert steps.final_test(ledger).models[0].test
    assert done.seconds
    assert ledger.version().children == 2


def test_the_loop_takes_two_turns_more_for_the_winner(bucket):
    spec = make_spec("cnn", finalize={})
    ledger = steps.open_search(bucket, spec.name, spec)
    rounds = ledger.spec.loop.rounds
    assert [steps.plan_rounds(ledger, n) for n in (0, rounds - 1, rounds)] == [rounds + 2, rounds - 1, rounds + 2]
    searches.run(bucket.settings, spec)
    assert steps.plan_rounds(ledger, 0) == 1
    assert steps.sample_architecture(ledger) == [NOTHING_TO_DO]
