"""Begin some searches, for a later commit to go on with: python tests/stores/make.py FOLDER (see README.md there).

Writes FOLDER/objects.zip, all objects of the store, and beside it the specs that the searches were begun with.
"""

import itertools
import os
import shutil
import signal
import sys
import tempfile
import zipfile
from pathlib import Path

import searches

import rlnas
from rlnas import report, steps
from rlnas.spec import load_spec
from rlnas.state import Bucket, EmbeddedStore, Ledger, StoreSettings, open_search
from rlnas.steps.common import Batch

DOCUMENTS = Path(__file__).parent / "documents"
TABLE = [f"{a}-{b}-{c},{20 * a + 7 * b * c + c},{a}" for a, b, c in itertools.product(range(3), repeat=3)]


def main(folder: Path) -> None:
    """Make the searches, and write them down."""
    print(f"made by {Path(rlnas.__file__).parent}")
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="rlnas-") as home:
        store = EmbeddedStore(Path(home, ".rlnas"))
        bucket = Bucket(store.start())
        try:
            bucket.ensure()
            bucket.put("data/table.csv", "\n".join(["architecture,validation,test", *TABLE, ""]).encode())
            interrupted(bucket, "table", rounds=2)
            interrupted(bucket, "guided", rounds=2)
            ledger = interrupted(bucket, "digits", rounds=1)
            searches.in_process(killed_with_a_checkpoint, bucket.settings, ledger.name)
            assert ledger.bucket.get(ledger.checkpoint_key("000001-001")), "a child left a checkpoint"
            worked(bucket, "workers", rounds=3)
            ledger = searches.run(bucket.settings, load_spec(DOCUMENTS / "finished.yaml"))
            assert steps.export_model(ledger, report.card_of)
            with zipfile.ZipFile(folder / "objects.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for key in (*bucket.list_all("data/"), *bucket.list_all("searches/")):
                    found = bucket.get(key)
                    assert found is not None
                    archive.writestr(zipfile.ZipInfo(key), found.data, zipfile.ZIP_DEFLATED)
        finally:
            store.stop()
    for document in DOCUMENTS.iterdir():
        shutil.copy(document, folder)


def interrupted(bucket: Bucket, document: str, rounds: int) -> Ledger:
    """Apply some rounds of a search, and finish the first child of the next."""
    spec = load_spec(DOCUMENTS / f"{document}.yaml")
    ledger = steps.open_search(bucket, spec.name, spec)
    for number in range(rounds):
        for batch in steps.sample_architecture(ledger):
            steps.train_child(ledger, batch, f"task-{number}")
            steps.evaluate(ledger, batch)
        steps.update_controller(ledger)
    steps.sample_architecture(ledger)
    steps.train_child(ledger, Batch(rounds, (0,)), "task-next")
    steps.evaluate(ledger, Batch(rounds, (0,)))
    assert ledger.finished_children(rounds) == {f"{rounds:06d}-000"}
    return ledger


def worked(bucket: Bucket, document: str, rounds: int) -> Ledger:
    """Let a worker do some rounds of a search, begin the next, and leave a suggestion that waits."""
    spec = load_spec(DOCUMENTS / f"{document}.yaml")
    ledger = steps.open_search(bucket, spec.name, spec)
    (known, *_) = ledger.earlier.children
    steps.suggest(ledger, [known.tokens], "the one who made this store")
    steps.work(ledger, "worker-0", seconds=600, until=rounds)
    steps.sample_architecture(ledger)
    steps.train_child(ledger, Batch(rounds, (0,)), "task-next")
    steps.suggest(ledger, [known.tokens], "one who came late")
    children = [child for summary in ledger.summaries() for child in summary.children]
    assert any(child.result.stopped for child in children), "a child was stopped at a rung"
    assert any(child.suggested for child in children)
    return ledger


def killed_with_a_checkpoint(settings: StoreSettings, name: str) -> None:
    """Train the second child of the second round, until it has left a checkpoint."""
    searches.inline()
    searches.checkpoint_every_step()

    def act(number: int, method: str, key: str) -> None:
        if "/checkpoints/" in key:
            os.kill(os.getpid(), signal.SIGKILL)

    searches.on_call(act, searches.WRITES)
    steps.train_child(open_search(Bucket(settings), name), Batch(1, (1,)), "task-killed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
