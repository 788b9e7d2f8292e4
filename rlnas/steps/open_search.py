"""Open a search: check everything that can be checked before anything is started."""

from dataclasses import dataclass

from rlnas.datasets import Opener
from rlnas.errors import UserError
from rlnas.spaces import DataShape
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, create_search
from rlnas.state import open_search as open_existing
from rlnas.steps.common import opener


@dataclass(frozen=True)
class OpenedSearch:
    """A search that is ready to run.

    Args:
        ledger: its state.
        replicas: one number for each loop that runs side by side.
        rounds: one number for each round that each of them does; never empty.
    """

    ledger: Ledger
    replicas: list[int]
    rounds: list[int]


def open_search(bucket: Bucket, search_name: str, spec: SearchSpec | None, rounds_per_run: int) -> OpenedSearch:
    """Create a search from its spec, or take up the one of that name.

    Args:
        bucket: the store.
        search_name: enough by itself if the spec is in the store already.
        spec: of a new search, or the very spec of an existing one.
        rounds_per_run: at most so many rounds in this run, over all replicas; 0: as many as are left.

    Raises:
        UserError: bad input; nothing was started and nothing was changed.
        StoreError: the store cannot be used.
    """
    if rounds_per_run < 0:
        raise UserError(f"rounds_per_run: {rounds_per_run} is negative; allowed: 0 (all that are left) or more")
    bucket.ensure()
    if spec is None:
        ledger = open_existing(bucket, search_name)
    else:
        if spec.name != search_name:
            raise UserError(f"search_name: {search_name!r} is not the spec's name; allowed: {spec.name}")
        shape = check_spec(spec, opener(bucket))
        bucket.probe()
        ledger = create_search(bucket, spec, shape)
    loop = ledger.spec.loop
    left = loop.rounds - ledger.head().version.rounds
    rounds = min(left, rounds_per_run or left)
    each = -(-rounds // loop.replicas)
    return OpenedSearch(ledger, list(range(loop.replicas)), list(range(max(1, each))))


def check_spec(spec: SearchSpec, open_file: Opener) -> DataShape:
    """Check that a spec's parts fit one another and that its data is there.

    Returns:
        The shape of the data.

    Raises:
        UserError: they do not, or it is not.
    """
    shape = spec.dataset.shape(open_file)
    if shape.modality != spec.child.modality:
        raise UserError(
            f"dataset.kind: {spec.dataset.kind} holds {shape.modality}, but a child of kind {spec.child.kind} needs"
            f" {spec.child.modality}"
        )
    spec.space.check(shape)
    spec.child.check(spec.space, shape)
    return shape
