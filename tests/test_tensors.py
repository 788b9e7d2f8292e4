"""safetensors with a document: equal content, equal bytes."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load

from rlnas.tensors import add_to_document, pack, read_document, unpack

TENSORS = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor(7), "empty": torch.zeros(0, 4)}
DOCUMENT = {"epoch": 3, "text": "ü", "list": [1, 2.5, None]}


def test_round_trip():
    data = pack(TENSORS, DOCUMENT)
    assert read_document(data) == DOCUMENT
    found = unpack(data)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_transposed_and_grown_tensors_are_written():
    weight = torch.arange(6.0).view(2, 3).t().requires_grad_()
    assert torch.equal(unpack(pack({"w": weight}, {}))["w"], weight.detach())


def test_no_tensors():
    data = pack({}, {"x": 1})
    assert unpack(data) == {}
    assert read_document(add_to_document(data, y=2)) == {"x": 1, "y": 2}


def test_bytes_depend_on_the_content_alone():
    data = pack(TENSORS, DOCUMENT)
    assert pack(dict(reversed(TENSORS.items())), dict(reversed(DOCUMENT.items()))) == data
    code = (
        "import sys, torch; from rlnas.tensors import pack;"
        "sys.stdout.buffer.write(pack({'a': torch.ones(2), 'b': torch.zeros(1)}, {'y': 1, 'x': {'q': 2, 'p': 3}}))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {pack({"a": torch.ones(2), "b": torch.zeros(1)}, {"x": {"p": 3, "q": 2}, "y": 1})}


def test_add_to_document():
    data = pack(TENSORS, DOCUMENT)
    added = add_to_document(data, owner="me", epoch=4)
    assert read_document(added) == DOCUMENT | {"owner": "me", "epoch": 4}
    assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in load(added).items())
    header = int.from_bytes(added[:8], "little")
    assert header % 8 == 0  # tensors stay aligned
    assert added[8 + header :] == data[8 + int.from_bytes(data[:8], "little") :]


@pytest.mark.parametrize("data", [b"", b"short", b"\x08" + bytes(7) + b"{broken}", b"\x02" + bytes(7) + b"{}"])
def test_not_such_a_file(data):
    with pytest.raises(ValueError, match="not a safetensors file with an rlnas document"):
        read_document(data)


def test_numbers_must_be_finite():
    with pytest.raises(ValueError, match="JSON"):
        pack({}, {"loss": float("nan")})
