"""The loop every child shares, on a child of one weight whose every step can be worked out."""

import math

import pytest
import torch
from torch import nn

from rlnas.children import Interrupted, SilentMonitor
from rlnas.children.training import CHECK_EVERY, SGD, Run, child_failures, train
from rlnas.errors import ChildFailure, SearchDeleted, StoreError, UserError
from rlnas.tensors import pack, read_document, unpack


class OneWeight(Run):
    """Adds a random number to its weight at every step, and sums what it added in a carried state."""

    def __init__(self, losses=None, layout=torch.contiguous_format):
        self.model = nn.Conv2d(2, 3, 3, bias=False).to(memory_format=layout)
        nn.init.zeros_(self.model.weight)
        self.optimizer = SGD(self.model.parameters(), lr=1, momentum=0.5)
        self.steps = 3
        self.loss_limit = 10.0
        self.losses = iter(losses) if losses else None
        self.total = torch.zeros(())

    def start_epoch(self, epoch):
        self.optimizer.lr = 1 / (epoch + 1)

    def step(self, step):
        self.model.weight.grad = torch.randn(3, 2, 3, 3).contiguous(
            memory_format=torch.channels_last if self.model.weight.stride(1) == 1 else torch.contiguous_format
        )
        self.optimizer.step()
        self.total = self.total + self.model.weight.detach().sum()
        return torch.tensor(next(self.losses) if self.losses else 1.0)

    def carried(self):
        return {"total": self.total}

    def carry(self, tensors):
        self.total = tensors["total"]


class Keeps(SilentMonitor):
    """Keeps every checkpoint; stops after `stop` of them."""

    def __init__(self, stop=None):
        self.stop = stop
        self.kept = []

    def beat(self, state):
        self.kept.append(state())
        if len(self.kept) == self.stop:
            raise Interrupted


def go(run, **arguments):
    return train(run, **{"epochs": 4, "keep": 2, "seed": 5, "checkpoint": None, "monitor": SilentMonitor()} | arguments)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stop", range(1, 12))
def test_resumed_at_any_step_is_bit_identical(layout, stop):
    whole, monitor = OneWeight(layout=layout), Keeps(stop)
    expected = unpack(go(whole))
    with pytest.raises(Interrupted):
        go(OneWeight(layout=layout), monitor=monitor)
    resumed = OneWeight(layout=layout)
    snapshots = unpack(go(resumed, checkpoint=monitor.kept[-1]))
    assert sorted(snapshots) == ["2/weight", "3/weight"]
    assert all(torch.equal(snapshots[name], expected[name]) for name in expected)
    assert torch.equal(resumed.total, whole.total)


def test_a_checkpoint_says_where_training_goes_on():
    monitor = Keeps()
    go(OneWeight(), monitor=monitor)
    positions = [(document["epoch"], document["step"]) for document in map(read_document, monitor.kept)]
    assert positions == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2), (4, 0)]


def test_a_finished_child_is_not_trained_again():
    monitor, finished = Keeps(), Keeps()
    snapshots = go(OneWeight(), monitor=monitor)
    again = go(OneWeight(), checkpoint=monitor.kept[-1], monitor=finished)
    assert finished.kept == []
    assert unpack(again).keys() == unpack(snapshots).keys()


def test_fewer_epochs_than_snapshots():
    assert sorted(unpack(go(OneWeight(), epochs=1, keep=5))) == ["0/weight"]


@pytest.mark.parametrize(
    ("loss", "reason"), [(math.nan, "not_finite"), (math.inf, "not_finite"), (10.5, "diverged"), (1e30, "diverged")]
)
@pytest.mark.parametrize("step", [0, 4])
def test_losses_that_end_a_child(loss, reason, step):
    losses = [1.0] * step + [loss] + [1.0] * 20
    with pytest.raises(ChildFailure, match=f"epoch {step // 3}, step {step % 3}") as failure:
        go(OneWeight(losses))
    assert failure.value.reason == reason


@pytest.mark.parametrize("bad", [math.nan, 11.0])
def test_no_checkpoint_of_a_child_gone_wrong(monkeypatch, bad):
    """Where losses are looked at now and then only, as on a GPU, they are before a checkpoint is taken."""
    monkeypatch.setitem(CHECK_EVERY, "cpu", 50)
    monitor = Keeps()
    with pytest.raises(ChildFailure):
        go(OneWeight([1.0, bad] + [1.0] * 20), monitor=monitor)
    assert [read_document(checkpoint)["step"] for checkpoint in monitor.kept] == [1]


def test_time_counts_over_all_attempts():
    monitor = Keeps(stop=2)
    with pytest.raises(Interrupted):
        go(OneWeight(), monitor=monitor)
    document = read_document(monitor.kept[-1]) | {"seconds": 100.0}
    late = pack(unpack(monitor.kept[-1]), document)
    go(OneWeight(), checkpoint=late, time_limit=1000)
    with pytest.raises(ChildFailure, match="timeout"):
        go(OneWeight(), checkpoint=late, time_limit=50)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (RuntimeError("could not create a primitive"), "out_of_memory"),
        (RuntimeError("could not create a primitive descriptor for a convolution forward propagation"), "error"),
        (RuntimeError("size mismatch, got 3"), "bad_shape"),
        (ZeroDivisionError("division by zero"), "error"),
        (ChildFailure("dead", "always answers 0"), "dead"),
    ],
)
def test_what_goes_wrong_inside_a_child_is_its_failure(error, reason):
    with pytest.raises(ChildFailure) as failure, child_failures():
        raise error
    assert failure.value.reason == reason
    assert "\n" not in failure.value.detail


@pytest.mark.parametrize(
    "error", [Interrupted(), UserError("wrong"), StoreError("down"), SearchDeleted("gone"), KeyboardInterrupt()]
)
def test_what_is_not_the_childs_fault_passes(error):
    with pytest.raises(type(error)), child_failures():
        raise error


@pytest.mark.parametrize(
    "settings", [{}, {"weight_decay": 0.1}, {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.1}]
)
def test_descent_is_that_of_torch(settings):
    ours = [torch.randn(3, 4), torch.randn(5), torch.randn(2)]
    theirs = [weight.clone().requires_grad_() for weight in ours]
    for weight in ours:
        weight.requires_grad_()
    optimizer = SGD(ours, lr=0.1, **settings)
    reference = torch.optim.SGD(theirs, lr=0.1, nesterov="momentum" in settings, **settings)
    for _ in range(3):
        for mine, other in zip(ours[:2], theirs[:2], strict=True):  # the third has no gradient
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        optimizer.step()
        reference.step()
        assert all(weight.grad is None for weight in ours)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other)
