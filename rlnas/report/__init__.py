"""What people look at: how far a search is, its best architectures, drawings and reports. Reads, never writes.

What needs numpy is imported from where it is, so that light commands stay light: `rlnas.report.data` reads the numbers
of a report, `rlnas.report.page` makes a page of them.
"""

from rlnas.report.card import card_of
from rlnas.report.drawing import draw
from rlnas.report.status import Child, SearchStatus, read_child, read_status, read_trainings
from rlnas.report.tables import frame

__all__ = ["Child", "SearchStatus", "card_of", "draw", "frame", "read_child", "read_status", "read_trainings"]
