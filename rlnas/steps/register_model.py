"""Hand an exported winner over to Kubeflow's Model Registry, where the environment names one."""

import asyncio
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlnas.errors import UserError, one_line
from rlnas.state import Ledger, StoreSettings
from rlnas.steps.finalize import find_final

ADDRESS = "RLNAS_MODEL_REGISTRY"
CA_FILE = "RLNAS_MODEL_REGISTRY_CA_FILE"
FILE = "model.onnx"
FORMAT = {"model_format_name": "onnx", "model_format_version": "1"}
"""As serving runtimes of KServe call it."""


def register_model(ledger: Ledger, child: str = "") -> str:
    """Register an exported winner, once, as a version of the model that has the search's name.

    The registry is told where in the store the ONNX file lies, and what the model reached; the file stays there.

    Args:
        ledger: of the search.
        child: the winner; empty: the search's best child.

    Returns:
        One line: what was done, or why nothing was; empty if there is no exported model.

    Raises:
        UserError: the registry cannot be reached, or refuses.
    """
    address = os.environ.get(ADDRESS, "").strip()
    if not address:
        return f"no model registry is configured, so none is told; {ADDRESS}=URL names one"
    final = find_final(ledger, child)
    record = final.record if final else None
    if record is None or FILE not in ledger.model_files(record.winner):
        return ""
    # A search that is deleted and made anew may have a winner of the same name.
    name, version = ledger.name, f"{record.winner}-{ledger.record.incarnation[:8]}"
    uri = _uri(ledger.bucket.settings, ledger.model_key(record.winner, FILE))
    numbers = {
        f"{part}_{metric}": value
        for part, metrics in (("validation", record.models[0].validation), ("test", record.models[0].test))
        for metric, value in metrics.items()
    }
    facts = {"search": ledger.name, "child": record.winner, "seed": ledger.spec.seed, "data": ledger.spec.dataset.kind}
    with _one_line(address):
        registry = _connect(address)
        known = registry.get_model_version(name, version) if registry.get_registered_model(name) else None
        if known is None:
            registry.register_model(name, uri, version=version, metadata=facts | numbers, **FORMAT)
        elif registry.get_model_artifact(name, version) is None:
            # Killed between its requests; the client's whole registration refuses a version that is there.
            registry.async_runner(registry._register_model_artifact(known, name, uri, **FORMAT))
    return f"search {ledger.name}: version {version} of model {name} is registered at {address}"


def _uri(settings: StoreSettings, key: str) -> str:
    """Return an object's address in the form that the registry's users know."""
    endpoint = f"{'https' if settings.secure else 'http'}://{settings.endpoint}"
    return f"s3://{settings.bucket}/{key}?endpoint={endpoint}&defaultRegion={settings.region}"


def _connect(address: str) -> Any:
    """Return a client. Within a pod it finds the token of the service account; elsewhere KF_PIPELINES_SA_TOKEN_PATH."""
    parts = re.fullmatch(r"(https?)://([\w.-]+|\[[0-9A-Fa-f:]+\])(?::([1-9]\d{0,4}))?/?", address)
    if parts is None:
        raise UserError(f"{ADDRESS}: must be http:// or https://, a host and perhaps a port, without a path or a user")
    scheme, host, port = parts.groups()
    authorities = os.environ.get(CA_FILE, "").strip() or None
    if authorities and not Path(authorities).is_file():
        raise UserError(f"{CA_FILE}: {authorities!r} is not a file; give certificate authorities in PEM")
    try:
        from model_registry import ModelRegistry
    except ImportError:
        raise UserError(f"{ADDRESS}: needs the registry's client; pip install 'rlnas[registry]'") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no token, which many registries do not ask for
        return ModelRegistry(
            f"{scheme}://{host}",
            int(port or (443 if scheme == "https" else 8080)),
            author="rlnas",
            is_secure=scheme == "https",
            custom_ca=authorities,
            log_level=logging.ERROR,  # it takes any port but 80 and 443 for a mistake
            async_runner=asyncio.run,
        )


@contextmanager
def _one_line(address: str) -> Iterator[None]:
    """Turn what the client raises into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of this client, of the one it is built on, of aiohttp, of sockets
        status, reason = getattr(error, "status", None), getattr(error, "reason", None)
        words = f"{status} {reason}" if status else f"{type(error).__name__}: {error}"
        again = "what was exported is in the store, and `rlnas register SEARCH` tries again"
        raise UserError(f"the model registry at {address} cannot be used: {one_line(words, 300)}; {again}") from None
