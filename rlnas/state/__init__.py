"""Where a search is remembered: an S3 bucket, and the ledger on it."""

from rlnas.state.bucket import Bucket, Object
from rlnas.state.copies import Copied, copy_search
from rlnas.state.earlier import Earlier
from rlnas.state.embedded import EmbeddedStore, store_of
from rlnas.state.finals import Final, finals
from rlnas.state.garbage import Found, Garbage, collect_garbage, find_garbage
from rlnas.state.leases import Claim, Keeper, Observer, claim, hold, suspects
from rlnas.state.ledger import MODEL_CARD, Controller, Ledger, searcher_of
from rlnas.state.left import Left, left_of
from rlnas.state.records import (
    DataRecord,
    FinalModel,
    FinalRecord,
    Lineage,
    Plan,
    PlannedChild,
    Result,
    SearchRecord,
    ShortTrial,
    Summary,
    Version,
    child_id,
    parse_child_id,
)
from rlnas.state.searches import (
    create_search,
    delete_search,
    find_search,
    list_searches,
    move_data,
    open_search,
    size_of,
)
from rlnas.state.settings import StoreSettings, other_store

__all__ = [
    "MODEL_CARD",
    "Bucket",
    "Claim",
    "Controller",
    "Copied",
    "DataRecord",
    "Earlier",
    "EmbeddedStore",
    "Final",
    "FinalModel",
    "FinalRecord",
    "Found",
    "Garbage",
    "Keeper",
    "Ledger",
    "Left",
    "Lineage",
    "Object",
    "Observer",
    "Plan",
    "PlannedChild",
    "Result",
    "SearchRecord",
    "ShortTrial",
    "StoreSettings",
    "Summary",
    "Version",
    "child_id",
    "claim",
    "collect_garbage",
    "copy_search",
    "create_search",
    "delete_search",
    "finals",
    "find_garbage",
    "find_search",
    "hold",
    "left_of",
    "list_searches",
    "move_data",
    "open_search",
    "other_store",
    "parse_child_id",
    "searcher_of",
    "size_of",
    "store_of",
    "suspects",
]
