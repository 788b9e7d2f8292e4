"""Drawings: every box and every arrow of the description, in a file that is the same each time."""

from pathlib import Path

import pytest
from matplotlib import rc_context

from rlnas.errors import UserError
from rlnas.report import draw
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNArchitecture, CNNSpace, Layer
from rlnas.spaces.rnn import LSTM, RNNSpace

NETWORK = CNNArchitecture(
    layers=tuple(
        Layer(filter_height=3, filter_width=3, filters=8, inputs=inputs) for inputs in ((), (0,), (0, 1), (0, 2))
    )
)
DRAWINGS = {
    "network": CNNSpace().describe(NETWORK, DataShape("images", 10, 32, 32, 3)),
    "cell": RNNSpace(base=LSTM.base).describe(LSTM, DataShape("text", 100)),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_has_all_boxes_and_arrows(name: str, tmp_path: Path) -> None:
    description = DRAWINGS[name]
    draw(description, "a title", tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for node in description.nodes:
        assert all(f"<!-- {line} -->" in text for line in node.label.split("\n"))
    assert "<!-- a title -->" in text
    arrows = text.count('<g id="patch_')
    assert arrows >= len(description.edges) + len(description.nodes)


def test_every_edge_joins_boxes_that_are_drawn() -> None:
    for description in DRAWINGS.values():
        names = {node.name for node in description.nodes}
        assert len(names) == len(description.nodes)
        assert description.edges
        assert all({source, target} <= names for source, target in description.edges)


def test_the_same_architecture_gives_the_same_file(tmp_path: Path) -> None:
    draw(DRAWINGS["network"], "a title", tmp_path / "a.svg")
    with rc_context({"svg.fonttype": "none"}):  # as somebody's own plots may have set it
        draw(DRAWINGS["network"], "a title", tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_text() == (tmp_path / "b.svg").read_text()


def test_other_endings_and_folders_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"allowed: \.svg, \.png"):
        draw(DRAWINGS["network"], "a title", tmp_path / "a.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        draw(DRAWINGS["network"], "a title", tmp_path / "file" / "a.svg")
