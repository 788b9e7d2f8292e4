"""A trained child as files: each tried on real examples against the trained child before it is handed out.

model.onnx           for ONNX Runtime and all else that reads ONNX
model.pt2            for `torch.export.load`
model.safetensors    the weights alone; `load_model` builds the module around them
architecture.json    what it is built from: the sections `space` and `child` of the spec, architecture, data shape;
                     and what the classes are called, which stands in the metadata of model.onnx, too
vocabulary.txt       of a text: one word a line, the first has index 0
"""

import io
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from rlnas.children import RECIPES, TRAINERS
from rlnas.children.base import Deployable
from rlnas.errors import ExportError, UserError
from rlnas.registry import resolve
from rlnas.section import EARLIER
from rlnas.spaces import DataShape, Space
from rlnas.tensors import pack, unpack

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 1e-3
"""Largest difference from the trained child, relative to its largest output. Runtimes sum in orders of their own."""

CLASS_NAMES = "class_names"
"""Where architecture.json, and as JSON the metadata of model.onnx, names the classes in the order of the logits."""

Runner = Callable[..., "tuple[Tensor, ...]"]


def export_files(
    deployable: Deployable, space: Space, vocabulary: Iterable[str] = (), class_names: Sequence[str] = ()
) -> dict[str, bytes]:
    """Write a model in all formats.

    Args:
        deployable: from `Trainer.deploy`.
        space: that it was found in, for the record.
        vocabulary: of a text, in the order of the indices.
        class_names: of images, in the order of the logits; empty where they have none.

    Returns:
        File name -> content.

    Raises:
        ExportError: a format cannot hold the model, or computes something else.
    """
    import torch

    words = list(vocabulary)
    documents: dict[str, Any] = {
        "space": space.model_dump(mode="json"),
        "architecture": deployable.architecture.model_dump(mode="json"),
        "child": deployable.recipe.model_dump(mode="json"),
        "shape": asdict(deployable.shape),
    }
    documents |= ({"vocabulary": words} if words else {}) | ({CLASS_NAMES: list(class_names)} if class_names else {})
    files = {
        "model.safetensors": pack(deployable.module.state_dict(), {}),
        "architecture.json": json.dumps(documents, indent=1, ensure_ascii=False).encode(),
    }
    if words:
        files["vocabulary.txt"] = "".join(f"{word}\n" for word in words).encode()
    with torch.no_grad():
        verify("model.safetensors", build(documents, unpack(files["model.safetensors"])), deployable)
        with _reported("torch.export"):
            program = _trace(deployable)
            files["model.pt2"] = _pt2(program)
            pt2 = torch.export.load(io.BytesIO(files["model.pt2"])).module()
        verify("model.pt2", pt2, deployable)
        with _reported("ONNX"):
            files["model.onnx"] = _onnx(program, deployable, class_names)
            session = _onnx_session(files["model.onnx"], list(deployable.inputs))
        verify("model.onnx", session, deployable)
    return files


def load_model(folder: str | Path) -> "nn.Module":
    """Build the module whose weights are in `model.safetensors`, in evaluation mode on the CPU.

    Returns:
        For images, from pixels uint8 [N, height, width, channels] to logits [N, classes]; for text, from words
        int64 [B] and a state [layers, 2, B, hidden], zeros at first, to the logits of the next word [B, vocabulary]
        and the new state.

    Raises:
        UserError: the folder does not hold an exported model.
    """
    folder = Path(folder)
    try:
        return build(
            json.loads((folder / "architecture.json").read_text(encoding="utf-8")),
            unpack((folder / "model.safetensors").read_bytes()),
        )
    except OSError as error:
        allowed = "a folder with architecture.json and model.safetensors"
        raise UserError(f"{error.filename}: {error.strerror}; allowed: {allowed}") from None


def build(document: Mapping[str, Any], weights: "Mapping[str, Tensor]") -> "nn.Module":
    """Build a module from what `architecture.json` says, and load its weights."""
    kind = document["child"]["kind"]
    recipe = resolve(RECIPES, kind, "rlnas.recipes").model_validate(document["child"], context=EARLIER)
    trainer = resolve(TRAINERS, kind, "rlnas.trainers")(recipe, DataShape(**document["shape"]), "cpu")
    module = trainer.deployed(TypeAdapter(trainer.architectures).validate_python(document["architecture"]))
    module.load_state_dict(weights)
    return module


def verify(file: str, run: Runner, deployable: Deployable) -> None:
    """Hold a module, on all examples at once and on the first alone, against what the trained child says of them.

    Raises:
        ExportError: an output is further off than `TOLERANCE`, or its largest entry is another one.
    """
    name, first = next(iter(deployable.inputs.items()))
    for count in (first.shape[deployable.batch_axis[name]], 1):
        inputs, outputs = (
            [tensor.narrow(deployable.batch_axis[name], 0, count) for name, tensor in tensors.items()]
            for tensors in (deployable.inputs, deployable.outputs)
        )
        results = run(*inputs)
        results = results if isinstance(results, tuple | list) else (results,)
        for name, result, expected in zip(deployable.outputs, results, outputs, strict=True):
            if result.shape != expected.shape:
                raise ExportError(f"{file}: {name} is {list(result.shape)}, that of the child {list(expected.shape)}")
            apart = float((result - expected).abs().max())
            if not apart <= TOLERANCE * max(1.0, float(expected.abs().max())):
                raise ExportError(f"{file}: {name} is {apart:.3g} off what the trained child gives")
        if not results[0].argmax(-1).equal(outputs[0].argmax(-1)):
            raise ExportError(f"{file}: it answers otherwise than the trained child")


def _trace(deployable: Deployable) -> Any:
    import torch

    batch = torch.export.Dim("batch", min=1)
    dynamic = tuple({deployable.batch_axis[name]: batch} for name in deployable.inputs)
    with warnings.catch_warnings():
        # nn.LSTM lists its weights anew when traced; the result is verified.
        warnings.filterwarnings("ignore", "The tensor attributes .* were assigned during export")
        program = torch.export.export(deployable.module, tuple(deployable.inputs.values()), dynamic_shapes=dynamic)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths and source lines of this machine
    return program


def _pt2(program: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _onnx(program: Any, deployable: Deployable, class_names: Sequence[str]) -> bytes:
    import torch

    exported = torch.onnx.export(
        program, input_names=list(deployable.inputs), output_names=list(deployable.outputs), verbose=False
    )
    assert exported is not None
    model = exported.model_proto
    if class_names:
        model.metadata_props.add(key=CLASS_NAMES, value=json.dumps(list(class_names), ensure_ascii=False))
    return model.SerializeToString()


def _onnx_session(data: bytes, names: list[str]) -> Runner:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # heeded when it is imported, and at no other time
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def run(*inputs: "Tensor") -> "tuple[Tensor, ...]":
        results = session.run(None, {name: t.numpy() for name, t in zip(names, inputs, strict=True)})
        return tuple(torch.from_numpy(result) for result in results)

    return run


@contextmanager
def _reported(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ExportError(f"{what} cannot hold this model: {type(error).__name__}: {line}") from error
