"""What a search no longer needs, where whoever should have deleted it was killed."""

from rlnas.state.ledger import HISTORY_ROUNDS, Ledger
from rlnas.state.records import KEPT_SNAPSHOTS, parse_child_id


def collect_garbage(ledger: Ledger) -> int:
    """Delete checkpoints and snapshots that no child needs any more; return how many there were.

    Bundles summaries, too, where an updater was killed between its commit and that.
    """
    head, bucket = ledger.version(), ledger.bucket
    if bundles := range(head.low_mark // HISTORY_ROUNDS):
        present = set(bucket.list(ledger.key("history/")))
        for k in bundles:
            if ledger.history_key(k) not in present:
                ledger.bundle(k)
    kept = {ledger.snapshot_key(leader.child) for leader in head.leaders[:KEPT_SNAPSHOTS]}
    unneeded = []
    for folder in ("checkpoints/", "snapshots/"):
        for key in bucket.list_all(ledger.key(folder)):
            number, _ = parse_child_id(key.rpartition("/")[2].removesuffix(".safetensors"))
            if (number < head.low_mark or number in head.extras) and key not in kept:
                unneeded.append(key)
    bucket.delete(unneeded)
    return len(unneeded)
