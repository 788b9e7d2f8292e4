"""Search spaces: which decisions make an architecture, and what they mean."""

from rlnas.spaces.base import Architecture, DataShape, Decision, Description, Features, Node, Space, Tokens, walk

SPACES = {
    "cnn": "rlnas.spaces.cnn:CNNSpace",
    "rnn": "rlnas.spaces.rnn:RNNSpace",
    "tabular": "rlnas.spaces.tabular:TabularSpace",
}
"""Space kinds; other packages add theirs by the entry-point group `rlnas.spaces`."""

__all__ = [
    "SPACES",
    "Architecture",
    "DataShape",
    "Decision",
    "Description",
    "Features",
    "Node",
    "Space",
    "Tokens",
    "walk",
]
