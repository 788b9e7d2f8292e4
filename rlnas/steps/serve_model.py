"""Lay an exported winner out for KServe, and say in its words how to serve it."""

import re

import yaml

from rlnas.errors import UserError
from rlnas.state import Ledger
from rlnas.steps.finalize import find_final
from rlnas.steps.register_model import FILE, FORMAT

SECRET = "rlnas-kserve"
RUNTIME = "kserve-tritonserver"
"""It runs ONNX Runtime, against which every export is verified, and it alone fits the layout."""
SERVER_MEMORY, MEMORY_PER_BYTE = 2**30, 4  # bytes that a server without a model takes; what it makes of a model's file


def inference_service(ledger: Ledger, child: str = "", secret: str = SECRET) -> str:
    """Copy an exported winner's ONNX file to where Triton finds it, and return the InferenceService, as YAML.

    Triton loads no file but `MODEL/VERSION/model.onnx` below the address that it is given. The model is called as the
    service is, because clients of KServe take the one for the other.

    Args:
        ledger: of the search.
        child: the winner; empty: the search's best child.
        secret: that holds the keys of the store, in the namespace of the service. Its annotations say where that is.

    Raises:
        UserError: nothing is exported, or no secret can have that name.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", secret):
        raise UserError(f"{secret!r} cannot name a secret; allowed: a-z, 0-9, - and ., neither - nor . at either end")
    final = find_final(ledger, child)
    record = final.record if final else None
    exported = record is not None and FILE in ledger.model_files(record.winner)
    model = ledger.bucket.get(ledger.model_key(record.winner, FILE)) if record and exported else None
    if record is None or model is None:
        raise UserError(
            f"search {ledger.name}: this child is not exported; `rlnas export {ledger.name} --to DIR` does it"
        )
    name = f"rlnas-{ledger.name}"  # it begins with a letter, as KServe demands; a search need not
    folder = ledger.key(f"serving/{record.winner}/")
    ledger.bucket.put(f"{folder}{name}/1/{FILE}", model.data)
    memory = f"{-(-(SERVER_MEMORY + MEMORY_PER_BYTE * len(model.data)) // 2**20)}Mi"
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {"serving.kserve.io/storageSecretName": secret}},
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": FORMAT["model_format_name"], "version": FORMAT["model_format_version"]},
                    "protocolVersion": "v2",
                    "runtime": RUNTIME,
                    "storageUri": f"s3://{ledger.bucket.settings.bucket}/{folder}",
                    "resources": {part: {"cpu": "1", "memory": memory} for part in ("requests", "limits")},
                }
            }
        },
    }
    about = f"# Child {record.winner} of search {ledger.name}. The secret {secret} must be there: docs/kubeflow.md."
    return f"{about}\n{yaml.safe_dump(document, sort_keys=False)}"
