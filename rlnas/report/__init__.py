"""What people look at: how far a search is, its best architectures, and drawings of them. Reads, never writes."""

from rlnas.report.drawing import draw
from rlnas.report.status import Child, SearchStatus, read_child, read_status

__all__ = ["Child", "SearchStatus", "draw", "read_child", "read_status"]
