"""Language models with a found cell: loss, size, schedule, perplexity, resumption and the ways a child fails."""

import math

import pytest
import torch
from torch import nn

from rlnas.children import RECIPES, TRAINERS, Interrupted, SilentMonitor
from rlnas.children.fast_loss import ROWS, softmax_loss
from rlnas.children.language import LanguageModel, LanguageTrainer, _LanguageRun, perplexity
from rlnas.children.recipes import RNNRecipe
from rlnas.children.rnn import Layer
from rlnas.children.training import by_epoch
from rlnas.datasets import Text, Train, Validation
from rlnas.errors import ChildFailure, UserError
from rlnas.registry import resolve
from rlnas.spaces import DataShape
from rlnas.spaces.rnn import LSTM, Cell, Operation, RNNSpace

WORDS = 12
SHAPE = DataShape("text", classes=WORDS)
SMALL = RNNRecipe(epochs=2, batch=4, bptt=5, hidden=8, dropout=0.2, init=0.3)
TANH = Operation("add", "tanh")
ELMAN = Cell(nodes=(TANH, TANH, TANH), inject=Operation("add", "identity"), c_out=0, c_in=1)
DEAD = Cell(nodes=(Operation("elem_mult", "identity"),) * 3, inject=Operation("elem_mult", "identity"), c_out=2, c_in=2)
"""From a state of zero, its products stay zero: it says nothing, whatever it reads."""


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noise(length: int) -> torch.Tensor:
    return torch.randint(WORDS, (length,), generator=torch.Generator().manual_seed(0))


def pattern(length: int) -> torch.Tensor:
    """A text in which every word but those after 0 is certain."""
    return torch.tensor([0, 1, 2, 3, 0, 5, 6, 7]).repeat(length // 8)


def train(recipe: RNNRecipe, tokens: torch.Tensor, cell: Cell = LSTM, seed: int = 1, checkpoint=None, monitor=None):
    trainer = LanguageTrainer(recipe, SHAPE, "cpu")
    return trainer.train(cell, Train(Text(tokens)), seed, checkpoint, monitor or SilentMonitor())


def evaluate(recipe: RNNRecipe, snapshots: bytes, tokens: torch.Tensor, cell: Cell = LSTM):
    return LanguageTrainer(recipe, SHAPE, "cpu").evaluate(cell, snapshots, Validation(Text(tokens)))


class StopAt(SilentMonitor):
    """Keeps the checkpoint after so many steps and interrupts there."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.checkpoint = b""

    def beat(self, state) -> None:
        self.left -= 1
        if self.left == 0:
            self.checkpoint = state()
            raise Interrupted


@pytest.mark.parametrize("rows", [3, ROWS, 2 * ROWS + 7])
def test_the_fast_loss_is_cross_entropy(rows):
    torch.manual_seed(0)
    inputs = [torch.randn(s, dtype=torch.float64).requires_grad_() for s in [(rows, 4), (WORDS, 4), (WORDS,)]]
    targets = torch.randint(WORDS, (rows,))
    expected = nn.functional.cross_entropy(nn.functional.linear(*inputs), targets, reduction="sum") / 7
    loss = softmax_loss(*inputs, targets, divisor=7)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    mine, theirs = torch.autograd.grad(3 * loss, inputs), torch.autograd.grad(3 * expected, inputs)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(mine, theirs, strict=True))
    with torch.no_grad():
        assert torch.equal(softmax_loss(*inputs, targets, divisor=7), loss)


def test_the_fast_loss_of_sure_and_wrong_is_finite():
    h, weight, bias = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    assert float(softmax_loss(h, weight, bias, torch.tensor([1]), 1)) == 2000


def test_defaults_are_those_of_zaremba_medium_and_the_paper():
    recipe = RNNRecipe()
    assert (recipe.epochs, recipe.batch, recipe.bptt, recipe.layers) == (35, 20, 35, 2)
    assert (recipe.learning_rate, recipe.decay, recipe.flat_epochs, recipe.clip) == (1.0, 1.2, 6, 5)
    assert (recipe.dropout, recipe.init, recipe.tied) == (0.5, 0.05, False)
    assert (recipe.parameters, recipe.reward_constant, recipe.snapshots) == (20_000_000, 80, 1)


def test_the_check_of_a_spec_finds_what_cannot_be_trained():
    space, shape = RNNSpace(base=4), DataShape("text", 10_000, tokens=1000)
    RNNRecipe().check(space, shape)
    with pytest.raises(UserError, match=r"dataset: the training text has 719 tokens"):
        RNNRecipe().check(space, DataShape("text", 10_000, tokens=719))
    with pytest.raises(UserError, match=r"child\.parameters: .* 4 leaves"):
        RNNRecipe(parameters=9000).check(space, shape)


def test_kinds_resolve():
    assert resolve(RECIPES, "rnn", "rlnas.recipes") is RNNRecipe
    assert resolve(TRAINERS, "rnn", "rlnas.trainers") is LanguageTrainer


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("leaves", [2, 4, 8])
def test_hidden_size_meets_the_parameters(leaves, tied):
    recipe = RNNRecipe(tied=tied)
    hidden = recipe.hidden_size(leaves, 10_000)
    assert abs(recipe.count_parameters(leaves, 10_000, hidden) / 20_000_000 - 1) < 0.01


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_counted_as_they_are(tied):
    recipe = SMALL.model_copy(update={"tied": tied})
    model = LanguageModel(LSTM, recipe, WORDS)
    assert sum(p.numel() for p in model.parameters()) == recipe.count_parameters(8, WORDS, 8)


@pytest.mark.parametrize("parameters", [5000, 31_000])
def test_parameters_that_no_size_meets_are_refused(parameters):
    recipe = RNNRecipe(parameters=parameters)
    with pytest.raises(UserError, match=rf"child.parameters: .* 1 % of {parameters} .* the nearest, 1, gives 30032"):
        recipe.hidden_size(8, 10_000)
    with pytest.raises(UserError, match=r"child\.parameters"):
        LanguageTrainer(recipe, DataShape("text", 10_000), "cpu").train(
            LSTM, Train(Text(torch.zeros(1000).long())), 0, None, SilentMonitor()
        )


def test_windows_of_an_epoch():
    recipe = RNNRecipe(batch=4, bptt=5)
    assert recipe.windows(4 * 6) == 1
    assert recipe.windows(4 * 11 - 1) == 1
    assert recipe.windows(4 * 11) == 2
    assert RNNRecipe().windows(929_589) == 1327
    with pytest.raises(UserError, match=r"23 tokens.*batch 4.*bptt 5.*at least 24"):
        recipe.windows(23)


def test_a_text_that_is_too_short_is_the_persons_error():
    with pytest.raises(UserError, match="training text has 20 tokens"):
        train(SMALL, noise(20))
    with pytest.raises(UserError, match="validation text"):
        evaluate(SMALL, train(SMALL, noise(24)), noise(1))


def test_schedule_of_zaremba():
    run = _LanguageRun(LanguageModel(LSTM, SMALL, WORDS), SMALL, noise(100))
    rates = []
    for epoch in (0, 5, 6, 7, 34):
        run.start_epoch(epoch)
        rates.append(run.optimizer.lr)
    assert rates == pytest.approx([1, 1, 1 / 1.2, 1 / 1.2**2, 1 / 1.2**29])


def test_an_epoch_reads_each_stream_in_order_and_hands_the_state_on():
    recipe = SMALL.model_copy(update={"dropout": 0.0, "learning_rate": 1e-30})  # weights stay, so windows compare
    tokens = noise(4 * 16)
    run = _LanguageRun(LanguageModel(LSTM, recipe, WORDS), recipe, tokens)
    assert run.steps == 3
    losses = [float(run.step(step)) for step in range(3)]
    streams = tokens.view(4, 16)
    with torch.no_grad():
        logits, _ = run.model(streams[:, :15].t(), run.model.start(4))
    expected = nn.functional.cross_entropy(logits.permute(1, 2, 0), streams[:, 1:16], reduction="none")
    assert losses == pytest.approx(expected.view(4, 3, 5).mean((0, 2)).tolist(), rel=1e-5)
    assert float(run.step(0)) == pytest.approx(losses[0], rel=1e-5)  # a new epoch starts from a state of zero


def test_the_gradient_is_summed_over_steps_averaged_over_the_batch_and_clipped():
    for clip, scale in ((1e9, None), (0.01, 0.01)):
        recipe = SMALL.model_copy(update={"dropout": 0.0, "clip": clip})
        model = LanguageModel(LSTM, recipe, WORDS)
        run, before = _LanguageRun(model, recipe, noise(100)), model.softmax_bias.detach().clone()
        words = run.streams[:6]
        logits, _ = model(words[:-1], model.start(4))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), words[1:].flatten(), reduction="sum") / 4
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = torch.stack([g.norm() for g in gradients]).norm()
        gradient = dict(zip([n for n, _ in model.named_parameters()], gradients, strict=True))["softmax_bias"]
        run.start_epoch(0)
        run.step(0)
        expected = before - gradient * (1 if scale is None else scale / norm)
        assert torch.allclose(model.softmax_bias, expected, atol=1e-5)


def test_weights_start_within_the_range_and_ties_share_one_matrix():
    model = LanguageModel(LSTM, SMALL.model_copy(update={"tied": True}), WORDS)
    assert max(p.abs().max() for p in model.parameters()) <= 0.3
    assert "softmax_weight" not in model.state_dict()
    model.eval()
    x, _ = model.encode(torch.zeros(1, 1).long(), model.start(1))
    logits, _ = model(torch.zeros(1, 1).long(), model.start(1))
    assert torch.allclose(logits, x @ model.embedding.weight.t() + model.softmax_bias)


def test_a_model_of_plain_layers_takes_the_same_weights():
    fast, plain = LanguageModel(LSTM, SMALL, WORDS), LanguageModel(LSTM, SMALL, WORDS, Layer)
    plain.load_state_dict(fast.state_dict())
    words = noise(12).view(6, 2)
    with torch.no_grad():
        outputs = [model.eval()(words, model.start(2)) for model in (fast, plain)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*outputs, strict=True))


def test_perplexity_of_a_model_that_knows_nothing_is_the_vocabulary():
    model = LanguageModel(LSTM, SMALL, WORDS)
    nn.init.zeros_(model.softmax_weight)
    nn.init.zeros_(model.softmax_bias)
    assert perplexity(model, noise(50), steps=7) == pytest.approx(WORDS)


@pytest.mark.parametrize("length", [2, 8, 9, 50])
def test_perplexity_counts_every_word_once_from_all_before_it(length):
    tokens = noise(length)
    model = LanguageModel(LSTM, SMALL, WORDS)
    scores = [perplexity(model, tokens, steps) for steps in (1, 7, 8, 100)]
    with torch.no_grad():
        logits, _ = model(tokens[:-1, None], model.start(1))
    expected = float(nn.functional.cross_entropy(logits[:, 0], tokens[1:]).exp())
    assert scores == pytest.approx([expected] * 4, rel=1e-5)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.2), ("adam", 0.01)])
@pytest.mark.parametrize("tied", [False, True])
def test_a_child_learns_what_needs_memory(tied, optimizer, rate):
    recipe = SMALL.model_copy(
        update={
            "epochs": 2,
            "batch": 8,
            "bptt": 8,
            "hidden": 16,
            "dropout": 0.0,
            "snapshots": 2,
            "tied": tied,
            "optimizer": optimizer,
            "learning_rate": rate,
        }
    )
    snapshots = train(recipe, pattern(8000), ELMAN)
    result = evaluate(recipe, snapshots, pattern(400), ELMAN)
    # What follows a 0 depends on the word before it: without memory the best perplexity is 2^(2/8) = 1.19.
    assert result.metrics["perplexity"] < 1.1
    assert len(result.history) == 2
    assert result.metrics["perplexity"] == min(result.history)
    assert result.reward == pytest.approx(80 / min(result.history) ** 2)
    assert result.metrics["hidden"] == 16
    assert result.metrics["parameters"] == recipe.count_parameters(2, WORDS, 16)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("steps", [1, 3, 5, 8])
def test_a_resumed_child_is_bit_for_bit_the_undisturbed_one(steps, optimizer):
    tokens = noise(4 * 27)  # 5 windows an epoch, so the stops lie within and between the two epochs
    recipe = SMALL.model_copy(update={"snapshots": 2, "optimizer": optimizer, "learning_rate": 0.1})
    whole = by_epoch(train(recipe, tokens))
    monitor = StopAt(steps)
    with pytest.raises(Interrupted):
        train(recipe, tokens, monitor=monitor)
    resumed = by_epoch(train(recipe, tokens, checkpoint=monitor.checkpoint))
    assert len(whole) == len(resumed) == 2
    assert all(torch.equal(a[name], b[name]) for a, b in zip(whole, resumed, strict=True) for name in a)


def test_the_first_step_of_adam_moves_every_weight_by_the_learning_rate():
    weights = {}
    for optimizer in ("sgd", "adam"):  # the first rate of sgd is so small that its weights are those of the start
        recipe = SMALL.model_copy(update={"epochs": 1, "tied": True, "optimizer": optimizer})
        recipe = recipe.model_copy(update={"learning_rate": 0.01 if optimizer == "adam" else 1e-12})
        weights[optimizer] = by_epoch(train(recipe, noise(4 * 6)))[0]  # a single window
    moved = (weights["adam"]["softmax_bias"] - weights["sgd"]["softmax_bias"]).abs()
    assert torch.allclose(moved, torch.full_like(moved, 0.01), rtol=1e-3)


def test_the_seed_decides():
    first, again, other = (by_epoch(train(SMALL, noise(200), seed=seed))[0] for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["softmax_bias"], other["softmax_bias"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"init": 1e30}, "not_finite"),
        ({"learning_rate": 1e4}, "diverged"),
        ({"time_limit": 1e-9}, "timeout"),
    ],
)
def test_sick_children_fail(change, reason):
    with pytest.raises(ChildFailure) as caught:
        train(SMALL.model_copy(update=change), noise(400))
    assert caught.value.reason == reason


def test_a_gradient_that_is_not_finite_fails_though_the_loss_is():
    model = LanguageModel(LSTM, SMALL, WORDS)
    run = _LanguageRun(model, SMALL, noise(100))
    model.softmax_bias.register_hook(lambda gradient: gradient * math.inf)
    assert math.isnan(float(run.step(0)))


def test_a_dead_child_fails_and_a_living_one_does_not():
    recipe = SMALL.model_copy(update={"epochs": 3, "dead_after": 200, "dropout": 0.0, "learning_rate": 0.2})
    tokens = pattern(2000)
    with pytest.raises(ChildFailure, match=r"after 200 windows; word frequencies alone give 1\.91") as caught:
        train(recipe, tokens, cell=DEAD)
    assert caught.value.reason == "dead"
    train(recipe, tokens, cell=ELMAN)
    train(recipe.model_copy(update={"dead_after": None}), tokens, cell=DEAD)


def test_a_dead_child_is_dead_after_resuming_too():
    recipe = SMALL.model_copy(update={"epochs": 3, "dead_after": 200, "dropout": 0.0})
    monitor = StopAt(120)
    with pytest.raises(Interrupted):
        train(recipe, pattern(2000), cell=DEAD, monitor=monitor)
    details = []
    for checkpoint in (None, monitor.checkpoint):
        with pytest.raises(ChildFailure) as caught:
            train(recipe, pattern(2000), cell=DEAD, checkpoint=checkpoint)
        details.append(caught.value.detail)
    assert details[0] == details[1]


def test_a_short_trial_is_the_beginning_of_a_training():
    recipe, tokens = SMALL.model_copy(update={"epochs": 40, "dead_after": None, "learning_rate": 0.1}), pattern(168)
    trainer = LanguageTrainer(recipe, SHAPE, "cpu")
    losses, run_step = [], _LanguageRun.step

    def step(run, number):
        losses.append(float(run_step(run, number)))
        return torch.tensor(losses[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_LanguageRun, "step", step)
        trial = trainer.trial(LSTM, Train(Text(tokens)), 3)
        tried = list(losses)
        losses.clear()
        trainer.train(LSTM, Train(Text(tokens)), 3, None, SilentMonitor())
    assert len(tried) == len(losses) * RNNRecipe.trial == 16  # two epochs of 8 windows
    assert tried == losses[: len(tried)]
    assert trial == pytest.approx(sum(tried[8:]) / 8)


@pytest.mark.parametrize("recipe", [{"learning_rate": 1e6, "dead_after": None}, {"dead_after": 1}])
def test_a_child_that_fails_in_its_trial_has_the_largest_loss(recipe):
    trainer = LanguageTrainer(SMALL.model_copy(update={"epochs": 40} | recipe), SHAPE, "cpu")
    assert trainer.trial(DEAD if "learning_rate" not in recipe else LSTM, Train(Text(noise(168))), 3) == pytest.approx(
        2 * math.log(WORDS)
    )
