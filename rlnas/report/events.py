"""A search as TensorBoard's events (the optional extra `tensorboard`)."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rlnas.errors import UserError
from rlnas.report.data import read_numbers
from rlnas.report.statistics import best_so_far
from rlnas.state import Ledger

Scalar = tuple[str, float, int]


def write_events(ledger: Ledger, folder: Path) -> int:
    """Write the controller's numbers and the children's, with children as steps: a child's own number from 1, and for
    a version of the controller those applied by then. Of many versions, evenly spaced ones are written.

    Returns:
        The number of values.

    Raises:
        UserError: TensorBoard is not installed, or the folder holds events already.
        OSError: the folder cannot be written.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        raise UserError("events need tensorboard; `pip install 'rlnas[tensorboard]'` brings it") from None

    if any(folder.glob("events.out.tfevents.*")):
        raise UserError(f"{folder}: holds events already, which would be mixed; allowed: a folder without")
    folder.mkdir(parents=True, exist_ok=True)
    scalars, writer = list(_scalars(ledger)), EventFileWriter(str(folder))
    for name, value, step in scalars:
        # The ledger knows no times of day: all happen at 0, and the step says the order.
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        writer.add_event(Event(wall_time=0.0, step=step, summary=summary))
    writer.close()
    return len(scalars)


def _scalars(ledger: Ledger) -> Iterator[Scalar]:
    for name, (at, values) in read_numbers(ledger).items():
        for step, value in zip(at, values, strict=True):
            yield f"controller/{name}", value, int(step)
    children = [child for summary in ledger.summaries() for child in summary.children]
    results = [child.result for child in children]
    scored = [r.reward if r.status == "ok" and r.reward is not None else math.nan for r in results]
    for step, (child, best) in enumerate(zip(children, best_so_far(np.array(scored)), strict=True), 1):
        result = child.result
        if result.reward is not None:
            yield "child/reward", result.reward, step
        if not math.isnan(best):
            yield "child/best reward so far", best, step
        yield "child/failed", float(result.status != "ok"), step
        yield "child/seconds", child.seconds, step
        for name, value in result.metrics.items():
            yield f"child/{name}", value, step
