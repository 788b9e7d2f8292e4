"""A search as a table, one row a child: for a notebook, as CSV and as Parquet (the optional extra `tables`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlnas.errors import UserError
from rlnas.state import Ledger, child_id

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    "child",
    "round",
    "index",
    "policy_version",
    "tokens",
    "by",
    "suggested",
    "log_probability",
    "seed",
    "status",
    "reward",
    "reason",
    "detail",
    "seconds",
    "attempts",
    "stopped",
    "device",
    "precision",
)
METRIC = "metric_"
ENDINGS = (".csv", ".parquet")


def frame(ledger: Ledger) -> "DataFrame":
    """Return the children of a search's complete rounds, in order.

    `tokens` are lists of numbers. `by` says who proposed a child (empty: the searcher as a whole), `suggested` whether
    that was from outside. `reward` is NaN where a lost child counts for nothing. Each metric is a column `metric_NAME`
    (NaN for children without it). `seconds` include the short trials that were made to choose a child. `stopped` says
    after which epoch a child was stopped, and is empty for those that were trained to the end.

    Raises:
        UserError: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError:
        raise UserError("tables need pandas and pyarrow; `pip install 'rlnas[tables]'` brings them") from None

    found = list(rows(ledger))
    metrics = dict.fromkeys(name for row in found for name in row if name.startswith(METRIC))
    return DataFrame(found, columns=[*COLUMNS, *metrics]).astype({"reward": float})


def rows(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table, see `frame`; a child has those metrics that it has."""
    for summary in ledger.summaries():
        for index, child in enumerate(summary.children):
            result = child.result
            row = {
                "child": child_id(summary.round, index),
                "round": summary.round,
                "index": index,
                "policy_version": summary.policy_version,
                "tokens": list(child.tokens),
                "by": child.by,
                "suggested": child.suggested,
                "log_probability": child.log_probability,
                "seed": child.seed,
                "status": result.status,
                "reward": result.reward,
                "reason": result.reason,
                "detail": result.detail,
                "seconds": child.seconds,
                "attempts": result.attempts,
                "stopped": result.stopped,
                "device": result.device,
                "precision": result.precision,
            }
            yield row | {f"{METRIC}{name}": value for name, value in result.metrics.items()}


def export_table(ledger: Ledger, path: Path) -> int:
    """Write the table as CSV (tokens separated by spaces) or Parquet, by the path's ending.

    Returns:
        The number of children.

    Raises:
        UserError: another ending, or pandas or pyarrow is not installed.
        OSError: the file cannot be written.
    """
    if path.suffix not in ENDINGS:
        raise UserError(f"{path}: cannot write {path.suffix or 'without an ending'}; allowed: {', '.join(ENDINGS)}")
    table = frame(ledger)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        tokens = table["tokens"].map(lambda numbers: " ".join(map(str, numbers)))
        table.assign(tokens=tokens).to_csv(path, index=False)
    else:
        try:
            table.to_parquet(path, index=False)
        except ImportError:
            raise UserError("Parquet needs pyarrow; `pip install 'rlnas[tables]'` brings it") from None
    return len(table)
