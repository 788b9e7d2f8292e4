"""safetensors files with one JSON document in their metadata.

safetensors orders several metadata keys differently from process to process, so everything goes under one key and
equal content gives equal bytes.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "rlnas"


def pack(tensors: "Mapping[str, Tensor]", document: Mapping[str, Any]) -> bytes:
    """Write tensors and a JSON document."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain, {_KEY: json.dumps(document, sort_keys=True, allow_nan=False)})


def unpack(data: bytes) -> "dict[str, Tensor]":
    """Read the tensors.

    Raises:
        ValueError: the data is not such a file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file: {error}") from None


def read_document(data: bytes) -> dict[str, Any]:
    """Read the JSON document without reading a tensor.

    Raises:
        ValueError: the data is not such a file.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        return json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_KEY])
    except (KeyError, ValueError, TypeError):
        raise ValueError("not a safetensors file with an rlnas document") from None


def add_to_document(data: bytes, **entries: Any) -> bytes:
    """Return the file with entries added to its document, tensors untouched."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    document = json.loads(header.get("__metadata__", {}).get(_KEY, "{}")) | entries
    header["__metadata__"] = {_KEY: json.dumps(document, sort_keys=True, allow_nan=False)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned
    return len(text).to_bytes(8, "little") + text + data[8 + size :]
