"""Where a search is remembered: an S3 bucket, and the ledger on it."""

from rlnas.state.bucket import Bucket, Object
from rlnas.state.conformance import Check, check_store, verdict
from rlnas.state.copies import Copied, copy_search
from rlnas.state.crew import Crew
from rlnas.state.earlier import Earlier
from rlnas.state.embedded import EmbeddedStore, store_of
from rlnas.state.facts import MODEL_CARD
from rlnas.state.finals import Final, finals
from rlnas.state.garbage import Found, Garbage, collect_garbage, find_garbage
from rlnas.state.leases import Claim, Keeper, Observer, begin, claim, hold, hold_to_score, suspects, this_process
from rlnas.state.ledger import Controller, Ledger
from rlnas.state.left import Left, left_of
from rlnas.state.marks import (
    Watch,
    budget_reached,
    changed_spec,
    end_at_budget,
    ended_line,
    extend,
    marks_of,
    pause,
    paused_line,
    public_marks,
    renew,
    resume,
    stop,
)
from rlnas.state.records import (
    Change,
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
from rlnas.state.search import searcher_of
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
    "Change",
    "Check",
    "Claim",
    "Controller",
    "Copied",
    "Crew",
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
    "Watch",
    "begin",
    "budget_reached",
    "changed_spec",
    "check_store",
    "child_id",
    "claim",
    "collect_garbage",
    "copy_search",
    "create_search",
    "delete_search",
    "end_at_budget",
    "ended_line",
    "extend",
    "finals",
    "find_garbage",
    "find_search",
    "hold",
    "hold_to_score",
    "left_of",
    "list_searches",
    "marks_of",
    "move_data",
    "open_search",
    "other_store",
    "parse_child_id",
    "pause",
    "paused_line",
    "public_marks",
    "renew",
    "resume",
    "searcher_of",
    "size_of",
    "stop",
    "store_of",
    "suspects",
    "this_process",
    "verdict",
]
