"""What several steps need: the store, files in it, and the parts that a spec names."""

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from rlnas.children import TRAINERS, Trainer
from rlnas.datasets import Opener, open_local
from rlnas.datasets.base import STORE_PREFIX
from rlnas.errors import (
    ExportError,
    SearchDeleted,
    StoreError,
    UserError,
    one_line,
    unforeseen_line,
    unforeseen_traceback,
)
from rlnas.registry import resolve
from rlnas.state import Bucket, Ledger, PlannedChild, StoreSettings, child_id, open_search, paused_line, renew

ERROR_PREFIX = "rlnas error: "


@dataclass(frozen=True)
class Batch:
    """The children of a round that share a task. It travels between tasks as a short text."""

    round: int
    children: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """The children's names."""
        return [child_id(self.round, index) for index in self.children]

    def __str__(self) -> str:
        return json.dumps({"round": self.round, "children": self.children})

    @classmethod
    def parse(cls, text: str) -> "Batch":
        """Read what `str` wrote.

        Raises:
            UserError: it is something else.
        """
        try:
            document = json.loads(text)
            return cls(int(document["round"]), tuple(int(index) for index in document["children"]))
        except (ValueError, KeyError, TypeError):
            raise UserError(f'batch: {text!r} is not a batch; allowed: {{"round": 0, "children": [0, 1]}}') from None


NOTHING_TO_DO = Batch(0, ())
POLL_SECONDS = 5.0


def batches(round_number: int, children: Sequence[int], size: int) -> list[Batch]:
    """Divide children of a round into batches of `size`."""
    return [Batch(round_number, tuple(children[i : i + size])) for i in range(0, len(children), size)]


def may_begin(ledger: Ledger) -> bool:
    """Read anew what a search is, before something new is begun in it; where it is paused, a line says so."""
    if renew(ledger):
        return True
    print(paused_line(ledger), flush=True)
    return False


def connect() -> Bucket:
    """Return the store that the environment names.

    Raises:
        UserError: it names none.
    """
    settings = StoreSettings.from_environment(os.environ)
    if settings is None:
        raise UserError(
            "RLNAS_STORE_ENDPOINT is not set: where is the object store?; allowed: host:port, or an http(s) URL"
        )
    return Bucket(settings)


def ledger_of(search_name: str) -> Ledger:
    """Open a search in the environment's store."""
    return open_search(connect(), search_name)


def opener(bucket: Bucket) -> Opener:
    """Return what opens a dataset's files: `store:KEY` from the bucket, everything else from this machine."""

    def open_file(path: str) -> IO[bytes]:
        if not path.startswith(STORE_PREFIX):
            return open_local(path)
        key = check_key(path.removeprefix(STORE_PREFIX))
        found = bucket.get(key)
        if found is None:
            raise UserError(
                f"dataset: there is no object {key} in the store; `rlnas store put FILE {key}` puts a file there"
            )
        return io.BytesIO(found.data)

    return open_file


def check_key(key: str) -> str:
    """Return the key of an object that holds a person's data, if it can be one.

    Raises:
        UserError: S3 would refuse it, or rlnas keeps its own objects there.
    """
    parts = key.split("/")
    sound = key.isprintable() and len(key.encode()) <= 1024 and not {"", ".", ".."} & set(parts)
    if not sound or parts[0] in ("searches", "probe"):
        raise UserError(f"{STORE_PREFIX}{key}: no data can lie there; allowed: a key such as data/mine.npz")
    return key


def trainer_of(ledger: Ledger, device: str, changes: Mapping[str, Any] = {}) -> Trainer:
    """Return the child trainer that the spec names, with its recipe, or as a planned child changes that."""
    recipe = ledger.spec.child.vary(changes)
    return resolve(TRAINERS, recipe.kind, "rlnas.trainers")(recipe, ledger.shape, device)


def architecture_of(ledger: Ledger, planned: PlannedChild, trainer: Trainer) -> Any:
    """Return what a child is: what its tokens mean, or the reference model that takes its place.

    What a grid tries for a field of the recipe stands above what the architecture predicts for it.
    """
    architecture = ledger.spec.space.decode(planned.tokens).without(planned.recipe)
    return trainer.reference(planned.reference, architecture) if planned.reference else architecture


@contextmanager
def reported_errors() -> Iterator[None]:
    """End this process with one line, whatever goes wrong.

    The line starts with `rlnas error:`, so that it is found in a pod's log and in the log of a local run. What nobody
    foresaw leaves its traceback before it, for those who mend.
    """
    try:
        yield
    except (UserError, StoreError, SearchDeleted, ExportError) as error:
        print(f"{ERROR_PREFIX}{one_line(error)}", flush=True)
        if isinstance(error, UserError):
            sys.exit(2)
        _end_for_now()
    except Exception as error:
        print(f"{unforeseen_traceback(error)}{ERROR_PREFIX}{unforeseen_line(error)}", flush=True)
        _end_for_now()


def _end_for_now() -> NoReturn:
    """End a task whose input is right: another run may do what this one could not."""
    print("what is finished is kept: `rlnas status NAME` says what is left, and how to go on", flush=True)
    sys.exit(1)
