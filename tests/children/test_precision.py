"""What is judged is computed in float32, as what is exported will be; training may be faster than that."""

import pytest
import torch
from searches import make_spec
from torch.utils._python_dispatch import TorchDispatchMode

from rlnas.children import TRAINERS
from rlnas.children.base import SilentMonitor
from rlnas.children.images import ImageTrainer
from rlnas.children.language import LanguageTrainer
from rlnas.children.precision import chosen, mixed, products
from rlnas.children.recipes import CNNRecipe, RNNRecipe
from rlnas.datasets import Train, open_local
from rlnas.registry import resolve
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture, Layer
from rlnas.spaces.rnn import LSTM
from rlnas.spec import parse_spec
from rlnas.tensors import unpack


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
    with products("float32"):
        assert settings() == ("highest", False, False)
    assert settings() == before
    with pytest.raises(ZeroDivisionError), products("float32"):
        raise ZeroDivisionError
    assert settings() == before
    assert before[0] == "high"


def test_bfloat16_where_it_is_wanted():
    weights = torch.eye(3)
    with mixed(weights.device, "float32"):
        assert (weights @ weights).dtype == torch.float32
    with mixed(weights.device, "bfloat16"):
        assert (weights @ weights).dtype == torch.bfloat16
    with products("bfloat16"):
        assert (weights @ weights).dtype == torch.float32, "only what is within a product is rounded"
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("amx", [True, False])
def test_what_a_device_is_fast_in_is_chosen(amx, monkeypatch):
    monkeypatch.setattr("rlnas.children.precision.has_amx", lambda: amx)
    assert chosen("auto", "cpu") == ("bfloat16" if amx else "float32")
    assert chosen("auto", "cuda") == "bfloat16"
    assert {chosen("float32", device) for device in ("cpu", "cuda")} == {"float32"}
    assert {chosen("bfloat16", device) for device in ("cpu", "cuda")} == {"bfloat16"}
    assert [chosen("bfloat16_on_cuda", device) for device in ("cpu", "cuda")] == ["float32", "bfloat16"]
    images, words = DataShape("images", 10, 32, 32, 3), DataShape("text", 100)
    small, large = (LanguageTrainer(RNNRecipe(hidden=hidden), words, "cpu").precision(LSTM) for hidden in (48, 200))
    assert (small, large) == ("float32", "bfloat16" if amx else "float32"), "small products are faster in float32"
    network = CNNArchitecture(layers=(Layer(filter_height=3, filter_width=3, filters=8),))
    assert ImageTrainer(CNNRecipe(), images, "cpu").precision(network) == large


def test_searches_of_older_versions_go_on_in_their_numbers():
    for kind in ("cnn", "rnn"):
        document = make_spec(kind).document
        assert parse_spec(document).child.precision == "auto"
        assert parse_spec(document, earlier=True).child.precision == "bfloat16_on_cuda"


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_children_learn_in_bfloat16_and_their_weights_stay_float32(kind):
    spec = make_spec(kind)
    recipe = spec.child.model_copy(update={"precision": "bfloat16"})
    shape = spec.dataset.shape(open_local)
    trainer = resolve(TRAINERS, kind, "rlnas.trainers")(recipe, shape, "cpu")
    tokens = [0] * sum(d.choices if d.anchor else 1 for d in spec.space.decisions(0))
    architecture, data = spec.space.decode(tokens), Train(spec.dataset.train(open_local).content)
    snapshots = [trainer.train(architecture, data, 0, None, SilentMonitor()) for _ in range(2)]
    weights = [unpack(s) for s in snapshots]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]), "the same numbers again"
    assert {t.dtype for t in weights[0].values() if t.is_floating_point()} == {torch.float32}
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_float32_is_not_rounded_in_training_either(fast, kind):
    spec = make_spec(kind)
    recipe = spec.child.model_copy(update={"precision": "float32"})
    trainer = resolve(TRAINERS, kind, "rlnas.trainers")(recipe, spec.dataset.shape(open_local), "cpu")
    tokens = [0] * sum(d.choices if d.anchor else 1 for d in spec.space.decisions(0))
    with Watch() as watch:
        trainer.train(
            spec.space.decode(tokens), Train(spec.dataset.train(open_local).content), 0, None, SilentMonitor()
        )
    assert watch.seen == {("highest", False, False)}


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
