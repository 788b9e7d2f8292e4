"""The examples that use an exported model: in a Python that has neither torch nor rlnas, to the same test score."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from rlnas.children import SilentMonitor
from rlnas.children.export import export_files
from rlnas.children.images import ImageTrainer
from rlnas.children.language import LanguageTrainer
from rlnas.datasets import Text, Train, Validation
from rlnas.datasets.base import open_local
from rlnas.spec import load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
STORES = Path(__file__).parents[1] / "stores"
WITHOUT = """
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "rlnas"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
runpy.run_path(sys.argv.pop(1))
"""


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(script, files, folder, environment):
    """Run a script on a folder of these files, where torch and rlnas are not installed; return what it prints."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    command = [sys.executable, "-c", WITHOUT, str(EXAMPLES / script), str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_digits(tmp_path, watched_home):
    spec = load_spec(EXAMPLES / "digits.yaml")
    recipe = spec.child.model_copy(update={"epochs": 1, "snapshots": 1, "upsample_by": 2})
    trainer = ImageTrainer(recipe, spec.dataset.shape(open_local), "cpu")
    network = spec.space.decode([1, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1, 0, 0])
    snapshots = trainer.train(network, spec.dataset.train(open_local), 0, None, SilentMonitor())
    deployable = trainer.deploy(network, snapshots, spec.dataset.validation(open_local))
    test = Validation(spec.dataset.open_test(open_local, lambda: None).content)
    accuracy = trainer.evaluate(network, snapshots, test).metrics["accuracy"]
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    printed = run(
        "use_digits.py", export_files(deployable, spec.space, class_names=names), tmp_path, watched_home
    ).splitlines()
    assert printed[0] == f"test accuracy {accuracy:.4f} of 359 images"
    found = deployable.module(test.content.pixels[:10]).argmax(1)
    assert printed[1:] == [f"read from the first ten images: {' '.join(names[label] for label in found)}"]


def test_digits_refuse_a_model_whose_test_images_are_others(tmp_path, watched_home):
    """One of a search that began before images were drawn class by class: it was trained on some of these."""
    with zipfile.ZipFile(STORES / "c18867d/objects.zip") as objects:
        (model,) = [name for name in objects.namelist() if name.endswith("/model.onnx")]
        files = {"model.onnx": objects.read(model)}
    with pytest.raises(AssertionError, match="its search drew other test images"):
        run("use_digits.py", files, tmp_path, watched_home)


def test_text(tmp_path, watched_home):
    spec = load_spec(EXAMPLES / "text-rnn.yaml")
    recipe = spec.child.model_copy(update={"epochs": 1, "hidden": 16})
    trainer = LanguageTrainer(recipe, spec.dataset.shape(open_local), "cpu")
    cell = spec.space.decode([0, 1] * 16 + [4, 1])
    tokens = spec.dataset.train(open_local).content.tokens[:4000]
    snapshots = trainer.train(cell, Train(Text(tokens)), 0, None, SilentMonitor())
    deployable = trainer.deploy(cell, snapshots, spec.dataset.validation(open_local))
    test = spec.dataset.open_test(open_local, lambda: None).content
    perplexity = trainer.evaluate(cell, snapshots, Validation(test)).metrics["perplexity"]
    files = export_files(deployable, spec.space, spec.dataset.vocabulary(open_local))
    printed = re.fullmatch(
        r"test perplexity (\S+) of (\d+) words", run("use_text_rnn.py", files, tmp_path, watched_home)
    )
    assert printed
    assert float(printed[1]) == pytest.approx(perplexity, abs=0.01)
    assert int(printed[2]) == len(test.tokens)
