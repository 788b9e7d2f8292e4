"""The section `warm_start` of a spec: what it may say, and who has a use for it."""

import pytest
from searches import make_spec

from rlnas.errors import UserError
from rlnas.spec import parse_spec
from rlnas.variants import CONTROLS, control_of, with_seed


def begun(kind="guided", **section):
    return make_spec(controller={"kind": kind}).document | {"name": "mine", "warm_start": {"search": "other"} | section}


def test_none_unless_it_is_written():
    assert make_spec().warm_start is None
    spec = parse_spec(begun())
    assert (spec.warm_start.search, spec.warm_start.controller) == ("other", True)
    assert parse_spec(spec.document) == spec, "as it is sent to a cluster"


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (begun(search="mine"), "warm_start.search: mine cannot begin with itself; allowed: an earlier search"),
        (
            begun("evolution"),
            "warm_start: searcher evolution takes up nothing of an earlier search; allowed: null, or another"
            " controller, such as guided",
        ),
        (
            begun("reinforce", controller=False),
            "warm_start.controller: false leaves searcher reinforce nothing to take up; allowed: true",
        ),
        (begun(from_="x"), "unknown key warm_start.from_; allowed: search, controller"),
    ],
)
def test_what_is_of_no_use_is_one_line(document, line):
    with pytest.raises(UserError) as error:
        parse_spec(document)
    assert str(error.value) == f"spec: {line}"


@pytest.mark.parametrize("kind", CONTROLS)
def test_controls_begin_with_nothing_and_other_seeds_with_the_same(kind):
    document = begun() | {"space": {"kind": "cnn", "layers": 2}, "dataset": {"kind": "digits"}, "child": {}}
    spec = parse_spec(document)
    assert control_of(spec, kind).warm_start is None
    assert with_seed(spec, 7).warm_start == spec.warm_start


def test_another_warm_start_is_another_spec():
    spec, cold = parse_spec(begun()), parse_spec(begun() | {"warm_start": None})
    assert spec.differences(cold)[0] == "warm_start.search: other, not unset"
    assert parse_spec(begun(controller=False)).differences(spec) == ["warm_start.controller: False, not True"]


def test_only_the_papers_own_search_is_called_so():
    assert "paper's controller" in make_spec(controller={"kind": "reinforce"}).label
    assert parse_spec(begun("reinforce")).label.endswith("so this is not the paper's search")
    guided = parse_spec(begun())
    assert guided.label == guided.controller.label
