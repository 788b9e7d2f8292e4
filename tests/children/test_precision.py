"""What is judged is computed in float32, as what is exported will be; training may be faster than that."""

import pytest
import torch
from searches import make_spec
from torch.utils._python_dispatch import TorchDispatchMode

from rlnas.children import TRAINERS
from rlnas.children.base import SilentMonitor
from rlnas.children.precision import full, mixed
from rlnas.datasets import Train, open_local
from rlnas.registry import resolve


@pytest.fixture
def fast():
    """A process that rounds products, as a training on a GPU leaves it."""
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


def settings() -> tuple[str, bool, bool]:
    """What decides how floats are multiplied on CUDA; it can be set and read without one."""
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, torch.is_autocast_enabled("cuda")


class Watch(TorchDispatchMode):
    """Notes the settings of every matrix product and convolution of float32."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, bool, bool]] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        floats = args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float32
        if floats and any(name in str(function) for name in ("mm", "conv", "linear")):
            self.seen.add(settings())
        return function(*args, **(kwargs or {}))


def test_full_precision_ends_with_its_context_even_after_an_error(fast):
    before = settings()
    with full():
        assert settings() == ("highest", False, False)
    assert settings() == before
    with pytest.raises(ZeroDivisionError), full():
        raise ZeroDivisionError
    assert settings() == before
    assert before[0] == "high"


def test_a_cpu_trains_in_float32():
    weights = torch.eye(3)
    with mixed(weights.device):
        assert (weights @ weights).dtype == torch.float32


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_children_are_evaluated_in_full_precision(fast, kind, monkeypatch):
    spec = make_spec(kind)
    shape = spec.dataset.shape(open_local)
    trainer = resolve(TRAINERS, kind, "rlnas.trainers")(spec.child, shape, "cpu")
    tokens = [0] * sum(d.choices if d.anchor else 1 for d in spec.space.decisions(0))
    architecture = spec.space.decode(tokens)
    snapshots = trainer.train(architecture, Train(spec.dataset.train(open_local).content), 0, None, SilentMonitor())
    monkeypatch.setattr("rlnas.children.images.count_flops", lambda *_: 0)  # its products are of no account
    with Watch() as watch:
        trainer.evaluate(architecture, snapshots, spec.dataset.validation(open_local))
    assert watch.seen == {("highest", False, False)}
