"""Suggestions: they enter the next rounds, once each, and the policy does not learn from them."""

import importlib
import json

import pytest
from searches import make_spec, run, run_apart, take_turns

from rlnas import steps
from rlnas.controller.reinforce import Reinforce
from rlnas.errors import UserError
from rlnas.state import Bucket, open_search

SAMPLE = importlib.import_module("rlnas.steps.sample_architecture")


def begin(bucket: Bucket, children: int = 8, per_round: int = 4):
    spec = make_spec(loop={"children": children, "children_per_round": per_round})
    return steps.open_search(bucket, spec.name, spec)


def test_suggestions_enter_the_next_rounds_at_most_half_of_each(bucket: Bucket):
    ledger = begin(bucket)
    steps.suggest(ledger, [[2, 2, 2], {"tokens": [0, 1, 2]}, {"architecture": {"tokens": [1, 1, 1]}}], "Ada")
    done = run_apart(bucket, ledger.spec)
    first, second = done.summaries()
    assert [(c.tokens, c.by, c.suggested) for c in first.children[:2]] == [
        ((2, 2, 2), "Ada", True),
        ((0, 1, 2), "Ada", True),
    ]
    assert [c.tokens for c in second.children if c.suggested] == [(1, 1, 1)]
    own = [c for s in (first, second) for c in s.children if not c.suggested]
    assert len(own) == 5
    assert all(c.log_probability is not None and c.by == "" for c in own)
    assert all(c.log_probability is None for s in (first, second) for c in s.children if c.suggested)


def test_where_a_round_is_one_child_every_second_takes_one(bucket: Bucket):
    ledger = begin(bucket, children=4, per_round=1)
    steps.suggest(ledger, [[2, 2, 2], [1, 1, 1]], "Ada")
    rounds = run_apart(bucket, ledger.spec).summaries()
    assert [s.children[0].suggested for s in rounds] == [False, True, False, True]


def test_of_a_round_of_three_one_is_at_most_half(bucket: Bucket):
    ledger = begin(bucket, children=9, per_round=3)
    steps.suggest(ledger, [[2, 2, 2], [1, 1, 1], [0, 0, 0]], "Ada")
    rounds = run_apart(bucket, ledger.spec).summaries()
    assert [[child.suggested for child in s.children] for s in rounds] == [[True, False, False]] * 3


def test_the_policy_learns_nothing_from_a_suggestion(bucket: Bucket, monkeypatch: pytest.MonkeyPatch):
    """What is learned from a round with suggestions is what is learned from its own children alone, to the bit."""
    ledger = begin(bucket)
    steps.suggest(ledger, [[2, 2, 2], [2, 2, 1]], "Ada")
    seen = []
    learn = Reinforce.learn

    def spy(self, state, rounds):
        after = learn(self, state, rounds)
        seen.append((self, state, rounds, after))
        return after

    monkeypatch.setattr(Reinforce, "learn", spy)
    run(bucket.settings, ledger.spec)
    searcher, state, rounds, (after, numbers) = seen[0]
    assert [len(e.tokens) for e in rounds] == [2]
    assert [t.tokens for t in rounds[0].suggested] == [(2, 2, 2), (2, 2, 1)]
    bare = [type(e)(e.samples, e.tokens, e.rewards, e.policy) for e in rounds]
    without, same = learn(searcher, state, bare)
    assert same == numbers
    assert all(tensor.equal(without.tensors[name]) for name, tensor in after.tensors.items())
    assert any(not tensor.equal(after.tensors[name]) for name, tensor in state.tensors.items())


def test_a_killed_sampler_takes_no_suggestion_twice(bucket: Bucket):
    ledger = begin(bucket)
    steps.suggest(ledger, [[2, 2, 2]], "Ada")
    (batch,) = steps.sample_architecture(ledger)
    assert ledger.plan(0).suggestions == 1
    assert steps.sample_architecture(ledger) == [batch]  # the same round, since nobody has trained it
    done = run_apart(bucket, ledger.spec)
    assert sum(c.suggested for s in done.summaries() for c in s.children) == 1


@pytest.mark.parametrize("loop", [{}, {"window": 3}, {"window": 4, "rounds_per_update": 2}])
def test_suggestions_that_arrive_while_rounds_are_planned_enter_one_each(bucket: Bucket, loop: dict[str, int]):
    """Two runs and two who suggest, in turns: nothing is lost, nothing is doubled, and the queue's order is kept."""
    spec = make_spec(loop={"children": 24, "children_per_round": 2} | loop)
    steps.open_search(bucket, spec.name, spec)

    def suggest(by: str) -> None:
        for number in range(3):
            steps.suggest(open_search(Bucket(bucket.settings), spec.name), [[0, 1, number]], f"{by}{number}")

    runs = [lambda task=task: run(bucket.settings, spec, task) for task in ("a", "b")]
    take_turns(lambda: suggest("Ada "), *runs, lambda: suggest("Bob "))
    ledger = open_search(bucket, spec.name)
    queue = [s.by for s in SAMPLE.read_suggestions(ledger, 0, 10)]
    assert sorted(queue) == [f"{by} {number}" for by in ("Ada", "Bob") for number in range(3)]
    plans = [ledger.plan(number) for number in range(spec.loop.rounds)]
    assert [c.by for plan in plans for c in plan.children if c.suggested] == queue
    assert [c.by for summary in ledger.summaries() for c in summary.children if c.suggested] == queue
    assert ledger.version().suggested == 6


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([0, 1], ["suggestion 1", "3"]),
        ([0, 1, 7], ["suggestion 1", "not in space tabular", "7"]),
        ({"tokens": "abc"}, ["suggestion 1", "no architecture", "allowed: tokens"]),
        ({"architecture": {"layers": []}}, ["suggestion 1", "architecture.", "allowed"]),
        ("abc", ["no architecture"]),
    ],
)
def test_what_is_not_in_the_space_is_one_line_and_nothing_waits(bucket: Bucket, document, words):
    ledger = begin(bucket)
    with pytest.raises(UserError) as error:
        steps.suggest(ledger, [document, [0, 0, 0]], "Ada")
    for word in words:
        assert word in str(error.value)
    assert SAMPLE.read_suggestions(ledger, 0, 10) == []


def test_a_search_whose_rounds_are_all_planned_takes_none(bucket: Bucket):
    ledger = run_apart(bucket, make_spec())
    with pytest.raises(UserError, match="last round is planned already"):
        steps.suggest(ledger, [[0, 0, 0]], "Ada")


def test_what_show_prints_can_be_suggested(bucket: Bucket):
    spec = make_spec("cnn")
    ledger = run_apart(bucket, spec)
    tokens = ledger.version().leaders[0].tokens
    shown = json.loads(json.dumps(spec.space.decode(tokens).model_dump(mode="json", exclude_defaults=True)))
    other = make_spec("cnn", loop={"children": 8})
    assert steps.suggest(steps.open_search(bucket, other.name, other), [{"architecture": shown}], "Ada") == [
        (tokens, "")
    ]
