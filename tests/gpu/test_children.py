"""Children on a CUDA device: they train, go on from a checkpoint, and are scored. Skipped where there is no device.

Run by `make test-gpu`. Nothing here asks for equal bits: sums on a GPU depend on the order of its threads.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from rlnas.children import Interrupted, SilentMonitor
from rlnas.children.fast_cell import FastLayer
from rlnas.children.images import ImageTrainer
from rlnas.children.language import LanguageTrainer
from rlnas.children.recipes import CNNRecipe, RNNRecipe
from rlnas.children.rnn import Layer
from rlnas.datasets import Text, Train, Validation, open_local
from rlnas.datasets.digits import Digits
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture
from rlnas.spaces.cnn import Layer as Convolution
from rlnas.spaces.rnn import LSTM, Cell, Operation
from rlnas.tensors import read_document, unpack

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]

CONVOLUTION = Convolution(filter_height=3, filter_width=3, filters=16)
NETWORK = CNNArchitecture(layers=(CONVOLUTION, CONVOLUTION.model_copy(update={"inputs": (0,)})))
IMAGES = CNNRecipe(epochs=6, batch=32, snapshots=2, upsample_by=2, flip=False, schedule="cosine")
TANH = Operation("add", "tanh")
ELMAN = Cell(nodes=(TANH, TANH, TANH), inject=Operation("add", "identity"), c_out=0, c_in=1)
WORDS = DataShape("text", classes=12, tokens=4000)
LANGUAGE = RNNRecipe(epochs=4, batch=8, bptt=10, hidden=32, dropout=0.1, init=0.3, learning_rate=0.2, dead_after=None)
PATTERN = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7]).repeat(500)


class StopAt(SilentMonitor):
    """Counts steps; keeps the checkpoint after the given one and interrupts there."""

    def __init__(self, step: int = -1) -> None:
        self.step = step
        self.seen = 0
        self.checkpoint = b""

    def beat(self, state: Any) -> None:
        self.seen += 1
        if self.seen == self.step:
            self.checkpoint = state()
            raise Interrupted


def train_in_two_attempts(trainer: Any, architecture: Any, data: Any, at: int, steps: int) -> bytes:
    """Interrupt a training after `at` of its steps, and let another one go on from the checkpoint."""
    first, second = StopAt(at), StopAt()
    with pytest.raises(Interrupted):
        trainer.train(architecture, data, 1, None, first)
    assert all(tensor.device.type == "cpu" for tensor in unpack(first.checkpoint).values())
    position = read_document(first.checkpoint)
    assert position["epoch"] > 0
    assert position["step"] > 0
    snapshots = trainer.train(architecture, data, 1, first.checkpoint, second)
    assert second.seen == steps - at, "it went on, and did not begin again"
    return snapshots


def test_a_convolutional_child_trains_resumes_and_is_scored():
    digits = Digits()
    data, trainer = digits.train(open_local), ImageTrainer(IMAGES, digits.shape(open_local), DEVICE)
    steps = len(data.content.labels) // IMAGES.batch
    snapshots = train_in_two_attempts(trainer, NETWORK, data, steps + 5, IMAGES.epochs * steps)
    evaluation = trainer.evaluate(NETWORK, snapshots, digits.validation(open_local))
    assert len(evaluation.history) == 2
    assert evaluation.metrics["accuracy"] > 0.8  # no two runs are alike there; guessing has 0.1
    assert evaluation.reward == pytest.approx(evaluation.metrics["accuracy"] ** 3)
    # The snapshots are for any device: a CPU scores them alike, but for the rounding of bfloat16.
    on_cpu = ImageTrainer(IMAGES, trainer.shape, "cpu").evaluate(NETWORK, snapshots, digits.validation(open_local))
    assert on_cpu.metrics["accuracy"] == pytest.approx(evaluation.metrics["accuracy"], abs=0.02)


def test_convolutions_run_in_bfloat16_over_float32_weights_in_channels_last():
    digits, seen = Digits(), []

    def look(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            last = output.is_contiguous(memory_format=torch.channels_last)
            seen.append((output.device.type, output.dtype, module.weight.dtype, last))

    hook = register_module_forward_hook(look)
    try:
        trainer = ImageTrainer(IMAGES.model_copy(update={"epochs": 1}), digits.shape(open_local), DEVICE)
        snapshots = trainer.train(NETWORK, digits.train(open_local), 1, None, SilentMonitor())
    finally:
        hook.remove()
    assert set(seen) == {("cuda", torch.bfloat16, torch.float32, True)}
    floats = {tensor.dtype for tensor in unpack(snapshots).values() if tensor.is_floating_point()}
    assert floats == {torch.float32}


def test_a_recurrent_child_trains_resumes_and_is_scored():
    trainer = LanguageTrainer(LANGUAGE, WORDS, DEVICE)
    steps = LANGUAGE.windows(len(PATTERN))
    snapshots = train_in_two_attempts(trainer, ELMAN, Train(Text(PATTERN)), steps + 5, LANGUAGE.epochs * steps)
    evaluation = trainer.evaluate(ELMAN, snapshots, Validation(Text(PATTERN[:800])))
    assert evaluation.metrics["perplexity"] < 1.2  # every word is certain
    assert evaluation.reward == pytest.approx(80 / evaluation.metrics["perplexity"] ** 2)


def test_the_fast_cell_is_the_plain_one_there_too():
    torch.manual_seed(0)
    plain, fast = Layer(LSTM, 5, 6).double().to(DEVICE), FastLayer(LSTM, 5, 6).double().to(DEVICE)
    fast.load_state_dict(plain.state_dict())
    x, h, c = (torch.randn(shape, dtype=torch.float64, device=DEVICE) for shape in [(7, 3, 5), (3, 6), (3, 6)])
    outputs = []
    for layer in (plain, fast):
        output, (h_end, c_end) = layer(x, (h, c))
        gradients = torch.autograd.grad((output * h_end * c_end).sum(), (layer.W, layer.U))
        outputs.append((output.detach(), h_end.detach(), c_end.detach(), *gradients))
    for expected, got in zip(*outputs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


def test_a_window_played_as_a_graph_is_that_of_its_calls():
    torch.manual_seed(0)
    by_calls, by_graph = FastLayer(LSTM, 5, 6).to(DEVICE), FastLayer(LSTM, 5, 6).to(DEVICE)
    by_graph.load_state_dict(by_calls.state_dict())
    for turn in range(4):
        x, h, c = (torch.randn(shape, device=DEVICE, requires_grad=True) for shape in [(7, 3, 5), (3, 6), (3, 6)])
        seen = []
        for layer in (by_calls, by_graph):
            if layer is by_calls:
                layer._window = None  # recorded anew for every window, so played for the first time
            output, (h_end, c_end) = layer(x, (h, c))
            gradients = torch.autograd.grad((output * h_end * c_end).sum(), (layer.W, layer.U, x, h, c))
            seen.append((output.detach(), h_end.detach(), c_end.detach(), *gradients))
        assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True)), turn
    window = by_graph._window
    assert window is not None
    assert window.forward.graph is not None
    assert window.backward.graph is not None


@pytest.mark.parametrize("by", [(), ("--workers", "1")], ids=["loop", "workers"])
def test_a_whole_search_runs_on_such_a_machine(tmp_path: Path, by: tuple[str, ...]):
    """Workers are forked: the process that forks them must not have touched the device."""
    document = {
        "name": "gpu",
        "space": {"kind": "cnn", "layers": 2, "filters": [8, 16]},
        "dataset": {"kind": "digits"},
        "child": {"epochs": 2, "batch": 64, "snapshots": 1, "upsample_by": None},
        "loop": {"children": 4, "children_per_round": 2},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(document))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RLNAS_STORE")}

    def rlnas(*arguments: str) -> str:
        command = [sys.executable, "-m", "rlnas.cli", *arguments]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    try:
        rlnas("run", "spec.yaml", *by)
        status = json.loads(rlnas("status", "gpu", "--json"))
        assert (status["complete"], status["children"], status["failed"]) == (True, 4, 0)
    finally:
        rlnas("store", "stop")
