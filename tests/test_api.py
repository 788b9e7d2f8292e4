"""The Python interface: what a person writes in a notebook."""

import subprocess
import sys

import numpy as np
import pytest
from searches import make_spec

import rlnas
from rlnas.errors import UserError
from rlnas.state import Bucket


def test_importing_the_package_imports_next_to_nothing():
    code = "import rlnas, sys; print(sorted({'torch', 'kfp', 'numpy', 'pydantic'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        rlnas.serach  # noqa: B018


def test_a_search_is_asked_and_told_to_its_end(bucket: Bucket):
    spec = make_spec(loop={"children": 4, "children_per_round": 2})
    search = rlnas.search(spec, store=bucket.settings)
    asked = search.ask(10)
    assert [child.name for child in asked] == ["000000-000", "000000-001"]  # the window is one round
    assert search.ask(10) == []  # both are held by this process
    assert search.architecture(asked[0].tokens) == asked[0].architecture
    assert search.tell(asked[0], reward=0.5, metrics={"parameters": 12}, seconds=3.5)
    assert not search.tell(asked[0], reward=0.9)
    assert search.status().round == 0
    assert search.tell(asked[1].name, failed="diverged on my machine")
    assert search.status().round == 1
    for child in search.ask(2):
        search.tell(child, reward=0.75)
    assert search.status().complete
    assert search.ask(1) == []
    best = search.best()
    assert (best.name, best.result.reward) == ("000001-000", 0.75)
    frame = rlnas.open(spec.name, store=bucket.settings).children()
    assert frame["reward"].tolist() == [0.5, 0.0, 0.75, 0.75]
    assert frame["status"].tolist() == ["ok", "failed", "ok", "ok"]
    assert frame["detail"][1] == "diverged on my machine"
    assert frame["metric_parameters"][0] == 12


def test_what_is_told_wrongly_is_refused(bucket: Bucket):
    search = rlnas.search(make_spec().model_dump(mode="json"), store=bucket.settings)
    (child,) = search.ask(1)
    for wrong, words in (
        ({"reward": float("nan")}, "allowed: "),
        ({"reward": 0.5, "metrics": {"size": float("inf")}}, "allowed: "),
        ({"reward": 0.5, "failed": "both"}, "one of them"),
        ({}, "a reward or the reason"),
    ):
        with pytest.raises(UserError, match=words):
            search.tell(child, **wrong)
    for name in ("000000-007", "000009-000", "first"):
        with pytest.raises(UserError, match="child: "):
            search.tell(name, reward=0.5)
    assert search.tell(child, reward=0.5)
    with pytest.raises(UserError, match="no search 'nowhere'"):
        rlnas.open("nowhere", store=bucket.settings)


def test_suggestions_come_back_by_ask(bucket: Bucket):
    search = rlnas.search(make_spec(), store=bucket.settings)
    wanted = search.architecture((2, 1, 0))
    assert search.suggest([wanted], by="Ada") == [(2, 1, 0)]
    assert search.ask(2)[0].architecture == wanted


def test_the_objective_holds_for_what_is_told(bucket: Bucket):
    """The same limits and weights as for children that are trained here."""
    objective = {"limit": {"flops": 100}, "soft": {"parameters": {"target": 10, "exponent": -1}}}
    spec = make_spec("cnn", objective=objective, loop={"children": 3, "children_per_round": 3})
    search = rlnas.search(spec, store=bucket.settings)
    light, heavy, broken = search.ask(3)
    with pytest.raises(
        UserError, match=f"child {light.name}: the objective needs its flops; allowed: a metric of that"
    ):
        search.tell(light, reward=0.5, metrics={"parameters": 20})
    with pytest.raises(UserError, match=f"child {light.name}: parameters is 0, .*allowed: above 0"):
        search.tell(light, reward=0.5, metrics={"parameters": 0, "flops": 100})
    assert search.tell(light, reward=0.5, metrics={"parameters": 20, "flops": 100})
    assert search.tell(heavy, reward=0.9, metrics={"parameters": 20, "flops": 101})
    assert search.tell(broken, failed="no room")
    frame = search.children()
    assert frame["reward"].tolist() == [0.25, 0.0, 0.0]
    assert frame["reason"].tolist() == ["", "over_limit", "error"]
    assert frame["detail"][1] == "flops 101; allowed: at most 100"


def test_an_architecture_is_that_of_a_child_or_of_tokens(bucket: Bucket):
    search = rlnas.search(make_spec(), store=bucket.settings)
    asked = search.ask(2)
    for child in asked:
        search.tell(child, reward=0.5)
    assert search.architecture(asked[0]) == search.architecture(asked[0].tokens) == asked[0].architecture
    assert search.architecture(search.best()) == asked[0].architecture
    for wrong in ("zzz", None, [0, 0, 9], [True, 0, 0]):
        with pytest.raises(UserError, match="architecture"):
            search.architecture(wrong)


def test_looking_for_a_search_begins_no_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RLNAS_STORE_ENDPOINT", raising=False)
    with pytest.raises(UserError, match="holds no store, so there is no search; allowed: "):
        rlnas.open("mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"reward": 1e20}, r"reward 1e\+20; allowed: a number, at most 1,000,000 either way"),
        ({"reward": 10**400}, "allowed: a number, at most 1,000,000 either way"),
        ({"reward": "x"}, "reward 'x'; allowed: a number"),
        ({"reward": True}, "reward True; allowed: a number"),
        ({"reward": 0.5, "metrics": {"size": "x"}}, "size is 'x'; allowed: a finite number"),
        ({"reward": 0.5, "metrics": {"n" * 61: 1}}, "allowed: up to 60 printable characters"),
        ({"reward": 0.5, "metrics": {"a\x1b": 1}}, "allowed: up to 60 printable characters"),
        ({"reward": 0.5, "metrics": [1]}, r"metrics \[1\]; allowed: numbers by name"),
        ({"reward": 0.5, "seconds": -5}, "seconds -5; allowed: 0 or more"),
        ({"failed": 5}, "failed is 5; allowed: the reason in words"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_the_child_stays_open(bucket: Bucket, told, words):
    search = rlnas.search(make_spec(loop={"children": 2, "children_per_round": 2}), store=bucket.settings)
    child, other = search.ask(2)
    with pytest.raises(UserError, match=words):
        search.tell(child, **told)
    assert search.tell(child, reward=np.float32(0.5), metrics={"size": np.int64(3)})
    assert search.tell(other, reward=-1e6)
    assert search.status().complete


@pytest.mark.parametrize("count", [0, -1, 1.5, None, "2", True])
def test_a_count_that_is_none(bucket: Bucket, count):
    search = rlnas.search(make_spec(), store=bucket.settings)
    with pytest.raises(UserError, match="allowed: a whole number from 1 on"):
        search.ask(count)


@pytest.mark.parametrize("rounds", [-1, 1.5, None, "2", True])
def test_a_number_of_rounds_that_is_none(bucket: Bucket, rounds):
    search = rlnas.search(make_spec(), store=bucket.settings)
    with pytest.raises(UserError, match="allowed: a whole number from 1 on, or 0 for all"):
        search.run(rounds)


def test_suggestions_as_people_write_them(bucket: Bucket):
    search = rlnas.search(make_spec(loop={"children": 8, "children_per_round": 2}), store=bucket.settings)
    asked = search.ask(2)
    given = [asked[0], np.array([1, 1, 1]).tolist(), {"tokens": [2, 1, 0]}, (np.int64(0), 0, 1)]
    with pytest.warns(UserWarning, match="only 3 suggestions can be taken up before the budget is reached"):
        assert search.suggest(given) == [asked[0].tokens, (1, 1, 1), (2, 1, 0), (0, 0, 1)]
    with pytest.warns(UserWarning, match="it waits already"):
        search.suggest([(1, 1, 1)])
    for wrong in ([0, 0, 0], None, {"tokens": [0, 0, 0]}, "x"):
        with pytest.raises(UserError, match="allowed: a list of architectures"):
            search.suggest(wrong)
    for by in (None, 5, ""):
        with pytest.raises(UserError, match="names nobody"):
            search.suggest([(0, 0, 0)], by=by)
    with pytest.raises(UserError, match="None is no architecture"):
        search.suggest([None])


def test_what_is_no_search_is_refused(bucket: Bucket):
    for name in (5, None):
        with pytest.raises(UserError, match="is no name of a search"):
            rlnas.open(name, store=bucket.settings)
    for spec in (5, [1]):
        with pytest.raises(UserError, match="a mapping is needed"):
            rlnas.search(spec, store=bucket.settings)
