"""Exported models: every format against the trained child, and no file where they differ."""

import dataclasses
import io
import json
import subprocess
import sys

import numpy
import onnxruntime
import pytest
import torch
from torch import nn

from rlnas.children import SilentMonitor
from rlnas.children.export import export_files, load_model
from rlnas.children.images import ImageTrainer
from rlnas.children.language import LanguageTrainer
from rlnas.children.lstm import TorchLSTM
from rlnas.children.recipes import CNNRecipe, RNNRecipe, TabularRecipe
from rlnas.children.resnet import ResNet
from rlnas.children.tabular import TabularTrainer
from rlnas.datasets import Images, Table, Text, Train, Validation
from rlnas.errors import ExportError, UserError
from rlnas.report.card import HOW_TO_USE
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture, CNNSpace, Layer
from rlnas.spaces.rnn import RNNSpace
from rlnas.spaces.tabular import TabularArchitecture

SHAPE = DataShape("images", classes=10, height=8, width=8, channels=1)
SPACE = CNNSpace(layer_types=("convolution", "max_pool"))
EVERY_LAYER = CNNArchitecture(
    layers=(
        Layer(filter_height=3, filter_width=4, filters=9),
        Layer(type="max_pool", size=3, stride=2, inputs=(0,)),
        Layer(type="avg_pool", size=3, stride=1, inputs=(0, 1)),
        Layer(type="batch_norm", inputs=(1, 2)),
        Layer(type="local_contrast_norm", size=5, inputs=(3,)),
        Layer(type="dropout", rate=0.3, inputs=(4, 0)),
        Layer(filter_height=1, filter_width=5, filters=8, stride_height=2, inputs=(5,)),
        Layer(
            type="separable_convolution", filter_height=3, filter_width=2, filters=6, depth_multiplier=2, inputs=(6,)
        ),
        Layer(type="depthwise_convolution", filter_height=5, filter_width=3, depth_multiplier=2, inputs=(6, 7)),
        Layer(type="dilated_convolution", filter_height=3, filter_width=3, filters=5, stride_width=2, inputs=(8,)),
    ),
    pool_after=(1,),
)


def images(count=70):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 8, 8, 1), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 10)


def trained_and_deployed(architecture, trainer):
    snapshots = trainer.train(architecture, Train(images()), 0, None, SilentMonitor())
    return trainer.deploy(architecture, snapshots, Validation(images()))


def write(files, folder):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def deployable():
    recipe = CNNRecipe(epochs=2, batch=20, snapshots=2, upsample_by=2)
    return trained_and_deployed(EVERY_LAYER, ImageTrainer(recipe, SHAPE, "cpu"))


@pytest.fixture(scope="module")
def files(deployable):
    return export_files(deployable, SPACE)


def test_examples_are_validation_images_and_the_last_snapshot_answers(deployable):
    assert torch.equal(deployable.inputs["pixels"], images().pixels[:64])
    trainer = ImageTrainer(deployable.recipe, SHAPE, "cpu")
    snapshots = trainer.train(EVERY_LAYER, Train(images()), 0, None, SilentMonitor())
    right = (deployable.outputs["logits"].argmax(1) == images().labels[:64]).float().mean()
    same = Validation(Images(images().pixels[:64], images().labels[:64]))
    assert trainer.evaluate(EVERY_LAYER, snapshots, same).history[-1] == pytest.approx(float(right))


def test_onnx_gives_the_childs_logits_for_any_number_of_images(files, deployable):
    session = onnxruntime.InferenceSession(files["model.onnx"])
    for count in (1, 5, 64):
        (logits,) = session.run(["logits"], {"pixels": deployable.inputs["pixels"][:count].numpy()})
        assert torch.allclose(torch.from_numpy(logits), deployable.outputs["logits"][:count], atol=1e-4)


def test_pt2_gives_the_childs_logits(files, deployable):
    module = torch.export.load(io.BytesIO(files["model.pt2"])).module()
    assert torch.allclose(module(deployable.inputs["pixels"][:3]), deployable.outputs["logits"][:3], atol=1e-4)


ONNX = """
import numpy, onnx.helper, torch
from rlnas.children.export import _onnx_session
value = lambda name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1])
graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", [value("x")], [value("y")])
model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
print(_onnx_session(model.SerializeToString(), ["x"])(torch.ones(1))[0].item())
"""


def test_onnxruntime_sends_no_telemetry(watched_home):
    done = subprocess.run([sys.executable, "-c", ONNX], capture_output=True, text=True, env=watched_home)
    assert done.stdout == "-1.0\n", done.stderr


def test_the_card_says_how_to_use_onnx(files, deployable, tmp_path, monkeypatch):
    monkeypatch.chdir(write(files, tmp_path))
    found = {"onnxruntime": onnxruntime, "pixels": deployable.inputs["pixels"].numpy()}
    exec(HOW_TO_USE["images"], found)
    assert found["labels"].tolist() == deployable.outputs["logits"].argmax(1).tolist()


def test_load_model_builds_the_module_around_its_weights(files, deployable, tmp_path):
    module = load_model(write(files, tmp_path))
    assert not module.training
    assert torch.allclose(module(deployable.inputs["pixels"]), deployable.outputs["logits"], atol=1e-4)


def test_architecture_says_what_the_model_is_built_from(files):
    document = json.loads(files["architecture.json"])
    assert CNNSpace.model_validate(document["space"]) == SPACE
    assert CNNArchitecture.model_validate(document["architecture"]) == EVERY_LAYER
    assert document["child"]["upsample_by"] == 2
    assert DataShape(**document["shape"]) == SHAPE
    assert "vocabulary" not in document


NAMES = ["zero", "cat | dog", "naïve", *"3456789"]


def test_classes_have_their_names_in_the_order_of_the_logits(deployable, files):
    named = export_files(deployable, SPACE, class_names=NAMES)
    assert json.loads(named["architecture.json"])["class_names"] == NAMES
    metadata = onnxruntime.InferenceSession(named["model.onnx"]).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == NAMES
    assert "class_names" not in json.loads(files["architecture.json"])
    assert "class_names" not in onnxruntime.InferenceSession(files["model.onnx"]).get_modelmeta().custom_metadata_map


def test_files_tell_nothing_of_the_machine(files):
    assert not any(b".py" in content or b"site-packages" in content for content in files.values())


def test_a_single_validation_image_is_enough():
    trainer = ImageTrainer(CNNRecipe(epochs=1, batch=20), SHAPE, "cpu")
    snapshots = trainer.train(EVERY_LAYER, Train(images()), 0, None, SilentMonitor())
    assert trainer.deploy(EVERY_LAYER, snapshots, Validation(images(1))).inputs["pixels"].shape == (64, 8, 8, 1)


def test_another_answer_than_the_childs_is_refused(deployable):
    outputs = {"logits": deployable.outputs["logits"] + 0.1}
    with pytest.raises(ExportError, match=r"model\.safetensors: logits is 0\.1 off"):
        export_files(dataclasses.replace(deployable, outputs=outputs), SPACE)


def test_weights_that_are_not_finite_are_refused(deployable):
    outputs = {"logits": deployable.outputs["logits"] * torch.nan}
    with pytest.raises(ExportError, match="nan off"):
        export_files(dataclasses.replace(deployable, outputs=outputs), SPACE)


class Asks(nn.Module):
    """Does with a dark image what it does not with others: no graph can."""

    def __init__(self, module):
        super().__init__()
        self.model = module.model
        self.rest = [module]

    def forward(self, pixels):
        return self.rest[0](pixels) if pixels.sum() > 0 else self.rest[0](pixels + 1)


def test_a_module_without_a_graph_is_one_line(deployable):
    asks = Asks(deployable.module).eval()
    with pytest.raises(ExportError, match=r"^torch\.export cannot hold this model: .*") as caught:
        export_files(dataclasses.replace(deployable, module=asks), SPACE)
    assert "\n" not in str(caught.value)


def test_the_resnet_is_exported_and_loaded_as_a_child_is(tmp_path):
    resnet = trained_and_deployed(ResNet(blocks=1), ImageTrainer(CNNRecipe(epochs=1, batch=20), SHAPE, "cpu"))
    module = load_model(write(export_files(resnet, SPACE), tmp_path))
    assert torch.allclose(module(resnet.inputs["pixels"]), resnet.outputs["logits"], atol=1e-4)


WORDS = ["the", "cat", "<eos>", "sat", "naïve", "<unk>"]
RNN_SPACE = RNNSpace(base=4, combinations=("add", "elem_mult", "max"), activations=("tanh", "sigmoid", "relu", "sin"))
CELL = RNN_SPACE.decode([0, 3, 1, 1, 2, 0, 0, 2, 0, 0, 1, 1, 2, 0, 1, 1, 4, 2])


def text_deployable(architecture, tied):
    recipe = RNNRecipe(epochs=1, batch=4, bptt=5, hidden=8, tied=tied, init=0.5, dropout=0.3, learning_rate=0.1)
    trainer = LanguageTrainer(recipe, DataShape("text", classes=len(WORDS)), "cpu")
    tokens = torch.randint(len(WORDS), (200,), generator=torch.Generator().manual_seed(0))
    snapshots = trainer.train(architecture, Train(Text(tokens)), 0, None, SilentMonitor())
    return trainer.deploy(architecture, snapshots, Validation(Text(tokens)))


@pytest.mark.parametrize(("architecture", "tied"), [(CELL, False), (TorchLSTM(hidden=9), True)], ids=["cell", "lstm"])
def test_a_language_model_is_exported_as_one_step(architecture, tied, tmp_path, monkeypatch):
    deployable = text_deployable(architecture, tied)
    words, state = deployable.inputs["words"], deployable.inputs["state"]
    assert state.abs().min() > 0
    files = export_files(deployable, RNN_SPACE, WORDS)
    module = load_model(write(files, tmp_path))
    assert files["vocabulary.txt"].decode().split("\n") == [*WORDS, ""]
    assert json.loads(files["architecture.json"])["vocabulary"] == WORDS
    session = onnxruntime.InferenceSession(files["model.onnx"])
    for count in (1, 3):
        few = {"words": words[:count].numpy(), "state": state[:, :, :count].numpy()}
        results = [torch.from_numpy(result) for result in session.run(["logits", "new_state"], few)]
        for result, expected, axis in zip(results, deployable.outputs.values(), (0, 2), strict=True):
            assert torch.allclose(result, expected.narrow(axis, 0, count), atol=1e-5)
    assert torch.allclose(module(words, state)[0], deployable.outputs["logits"], atol=1e-5)
    monkeypatch.chdir(tmp_path)
    found = {"onnxruntime": onnxruntime, "numpy": numpy, "words": [0, 3, 2]}
    exec(HOW_TO_USE["text"], found)
    expected, _ = module.model(torch.tensor(found["words"])[:, None], module.model.start(1))
    assert torch.allclose(torch.from_numpy(found["logits"]), expected[-1], atol=1e-5)


def test_a_text_of_two_words_is_enough():
    trainer = LanguageTrainer(RNNRecipe(hidden=8, batch=2, bptt=3, epochs=1), DataShape("text", classes=6), "cpu")
    snapshots = trainer.train(CELL, Train(Text(torch.arange(20) % 6)), 0, None, SilentMonitor())
    deployable = trainer.deploy(CELL, snapshots, Validation(Text(torch.tensor([1, 2]))))
    assert deployable.inputs["words"].tolist() == [2] * 16


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"architecture\.json: No such file .* allowed: a folder"):
        load_model(tmp_path)


def test_nothing_that_was_only_looked_up_is_exported():
    trainer = TabularTrainer(TabularRecipe(), DataShape("table", classes=0), "cpu")
    with pytest.raises(UserError, match="tabular children leave nothing to export"):
        trainer.deploy(TabularArchitecture(tokens=(0,)), b"", Validation(Table({})))


def test_nothing_heavy_is_imported_before_an_export():
    code = (
        "import rlnas.children.export, sys; assert 'torch' not in sys.modules;"
        "import rlnas.children.images; sys.exit(any(m in sys.modules for m in ('torch._dynamo', 'onnx', 'onnxscript')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
