"""One search in the store: what it is, and where its objects lie."""

from dataclasses import asdict
from functools import cached_property

from rlnas.children import EpochRecipe
from rlnas.controller import SEARCHERS, Searcher
from rlnas.errors import SearchDeleted, StoreError, UserError
from rlnas.registry import resolve
from rlnas.spaces import DataShape
from rlnas.spec import SearchSpec, parse_spec, with_field
from rlnas.state.bucket import Bucket
from rlnas.state.earlier import COPY, NOTHING, Earlier
from rlnas.state.records import SearchRecord, child_of

SEARCHES = "searches/"


class Search:
    """What a search is, as its record says.

    Args:
        bucket: the store.
        record: the search, see `rlnas.state.searches`.
    """

    def __init__(self, bucket: Bucket, record: SearchRecord) -> None:
        self.bucket = bucket
        self.record = record
        self.name: str = record.spec["name"]
        self.root = f"{SEARCHES}{self.name}/{record.incarnation}/"

    @cached_property
    def spec(self) -> SearchSpec:
        """The spec, parsed."""
        return parse_spec(self.record.spec, f"search {self.name}", earlier=True)

    @property
    def rounds(self) -> int:
        """The rounds of the search: as many as its spec has, or fewer if it was ended before."""
        budget, ended = self.spec.loop.rounds, self.record.ended
        return budget if ended is None or ended.rounds is None else min(budget, ended.rounds)

    @property
    def children(self) -> int:
        """The children of all its rounds."""
        return self.rounds * self.spec.loop.children_per_round

    @property
    def finals_from(self) -> int:
        """The first number of the rounds that finalize winners; every number below is one of a round of the search."""
        return self.spec.loop.rounds if self.record.finals_from is None else self.record.finals_from

    @property
    def epochs(self) -> int:
        """How many a child is trained for, if it is not stopped; 0: it is not trained in epochs."""
        return self.spec.child.epochs if isinstance(self.spec.child, EpochRecipe) else 0

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which children may be stopped."""
        return self.spec.child.rungs if isinstance(self.spec.child, EpochRecipe) else ()

    @cached_property
    def shape(self) -> DataShape:
        """The shape of the search's data."""
        return DataShape(**self.record.shape)

    @cached_property
    def searcher(self) -> Searcher:
        """The searcher that the spec names; from here on this process computes on one thread."""
        return searcher_of(self.spec, self.shape)

    @property
    def keeps_history(self) -> bool:
        """Whether what was applied is kept where it can be read at little cost, for the searcher or for the rungs."""
        return self.searcher.reads_history or bool(self.rungs)

    @cached_property
    def earlier(self) -> Earlier:
        """What the search began with of an earlier one.

        Raises:
            StoreError: it is missing or damaged.
        """
        if self.record.warm_start is None:
            return NOTHING
        key = self.key(COPY)
        if (found := self.bucket.get(key)) is None:
            self.check_alive()
            raise StoreError(f"{key} is missing: search {self.name} is damaged")
        return Earlier.from_bytes(found.data, key)

    # ---- as it is by now ----

    def refresh(self) -> None:
        """Read `search.json` anew.

        Raises:
            SearchDeleted: the search is gone, or is another one by now.
        """
        self.take(self.expect_own(read_record(self.bucket, self.name)))

    def take(self, record: SearchRecord) -> None:
        """From now on, this search is as its record says."""
        if record.spec != self.record.spec:
            self.__dict__.pop("spec", None)
        self.record = record

    def check_alive(self) -> None:
        """Raise `SearchDeleted` unless the search still is the one that was opened."""
        self.expect_own(read_record(self.bucket, self.name))

    def expect_own(self, record: SearchRecord | None) -> SearchRecord:
        """Return what is recorded under this search's name by now, if that still is this search.

        Raises:
            SearchDeleted: it is gone, is going, or is another one.
        """
        if record is None or record.deleting or record.incarnation != self.record.incarnation:
            raise SearchDeleted(f"search {self.name} was deleted")
        return record

    # ---- what does not fit it ----

    def check_spec(self, spec: SearchSpec) -> None:
        """Raise `UserError` if a spec is not the search's own; every field that differs is named."""
        # Field by field, not by sha256: a search from before a field was there goes on without it.
        if fields := self.extended(spec).differences(self.spec):
            differing = "; ".join(fields)
            raise UserError(
                f"search {self.name} exists with another spec ({differing}); allowed: its own spec, or another name:"
                " in the spec, or by --name NAME"
            )

    def extended(self, spec: SearchSpec) -> SearchSpec:
        """Return a spec with what `extend` has made of the fields which it has as they were before."""
        document, values = spec.document, spec.fields
        changes = [change for change in self.record.changes if change.field in values]
        for change in changes:
            if values[change.field] == change.before:
                values[change.field] = change.after
                document = with_field(document, change.field, change.after)
        return parse_spec(document, self.name) if changes else spec

    def check_shape(self, shape: DataShape) -> None:
        """Raise `UserError` if data of this shape is not the search's."""
        if shape != self.shape:
            raise UserError(f"search {self.name}: its data has changed: {asdict(shape)}, not {self.record.shape}")

    # ---- keys ----

    def key(self, name: str) -> str:
        """Return the full key of an object of this search."""
        return self.root + name

    def checkpoint_key(self, child: str) -> str:
        """Return where a child's checkpoint lies."""
        return self.key(f"checkpoints/{child}.safetensors")

    def snapshot_key(self, child: str) -> str:
        """Return where a child's snapshots lie."""
        return self.key(f"snapshots/{child}.safetensors")

    def lease_key(self, child: str) -> str:
        """Return where a child's lease lies."""
        return self.key(f"leases/{child}.json")

    def history_key(self, k: int) -> str:
        """Return where the summaries of the k-th hundred of rounds lie."""
        return self.key(f"history/{k:06d}.json")

    def model_key(self, winner: str, file: str = "") -> str:
        """Return where a file of an exported winner lies."""
        return self.key(f"models/{winner}/{file}")

    def _version_key(self, number: int) -> str:
        return self.key(f"controllers/{number:06d}.safetensors")

    def _plan_key(self, number: int) -> str:
        return self.key(f"plans/{number:06d}.json")

    def _final_key(self, number: int) -> str:
        return self.key(f"finals/{number:06d}.json")

    def _hint(self, name: str) -> int:
        """Return the number that a hint holds; hints affect cost, never truth, so a damaged one counts as none."""
        found = self.bucket.get(self.key(name))
        try:
            return int(found.data) if found else 0
        except ValueError:
            return 0

    def _names(self, folder: str, round_number: int) -> set[str]:
        prefix = self.key(folder)
        keys = self.bucket.list_all(f"{prefix}{round_number:06d}-")
        return {child_of(key) for key in keys}


def searcher_of(spec: SearchSpec, shape: DataShape) -> Searcher:
    """Return the searcher that a spec names; from here on this process computes on one thread."""
    import torch

    torch.set_num_threads(1)  # the same sums on every machine
    kind = resolve(SEARCHERS, spec.controller.kind, "rlnas.searchers")
    searcher = kind(spec.space, spec.controller, shape)
    searcher.limit = spec.objective.limit
    return searcher


def record_key(name: str) -> str:
    """Return where the record of a search lies; by its name alone, since it says which incarnation there is."""
    return f"{SEARCHES}{name}/search.json"


def read_record(bucket: Bucket, name: str) -> SearchRecord | None:
    """Return the record of a search, also of one that is being deleted; None: there is none of that name.

    Raises:
        UserError: a newer version of rlnas wrote it, or it is of a search of another name.
        StoreError: it is damaged.
    """
    key = record_key(name)
    found = bucket.get(key)
    if found is None:
        return None
    record: SearchRecord = SearchRecord.from_bytes(found.data, key)
    if (own := record.spec.get("name")) != name:  # copied by hand: what is done to it would be done to the other search
        raise UserError(
            f"{key}: it is the record of search {own}, put there by hand; allowed: searches under their own names,"
            " such as `rlnas copy` makes them in another store"
        )
    return record
