"""What a search knows of children before they are trained: in the plan, in the history, in the cost."""

import pytest
import searches

from rlnas import steps
from rlnas.children.untrained import variation
from rlnas.errors import UserError
from rlnas.report.data import read_report
from rlnas.state import Bucket, Ledger
from rlnas.steps import sample_architecture
from rlnas.steps.foresight import TrainersForesight

GUIDED = {"kind": "guided", "hidden": 8, "first": 2, "samples": 8}


@pytest.fixture
def count_trials(monkeypatch):
    """The architectures that were tried in this process."""
    tried, trial = [], TrainersForesight.trial

    def counted(self, tokens):
        tried.append(tokens)
        return trial(self, tokens)

    monkeypatch.setattr(TrainersForesight, "trial", counted)
    return tried


def test_scores_and_short_trials_are_remembered_and_nothing_is_computed_twice(bucket, count_trials, monkeypatch):
    spec = searches.make_spec("rnn", controller=GUIDED | {"trials": 3}, loop={"children": 6, "children_per_round": 2})
    ledger = searches.run(bucket.settings, spec)
    children = [child for summary in ledger.summaries() for child in summary.children]
    assert [c.scores for c in children] == [{"variation": variation(spec.space.decode(c.tokens))} for c in children]
    tried = [trial.tokens for child in children for trial in child.tried]
    assert len(set(tried)) == len(tried) >= 6
    assert {child.tokens for child in children} <= set(tried)
    assert tried == count_trials
    # What the next proposal would see is in the history.
    history = ledger.history(ledger.version())
    assert [trial.scores for trial in history] == [child.scores for child in children]
    assert [tokens for trial in history for tokens in trial.tried] == tried
    # And it asks for none of it again.
    foresight = TrainersForesight(ledger, history)
    monkeypatch.setattr(TrainersForesight, "_trainer", None)
    assert [foresight.scores(child.tokens) for child in children] == [child.scores for child in children]


def test_a_killed_task_plans_the_same(bucket):
    spec = searches.make_spec("rnn", controller=GUIDED | {"trials": 2}, loop={"children": 2, "children_per_round": 2})
    opened, plans = steps.open_search(bucket, spec.name, spec), []
    for _ in range(2):
        killed = Ledger(Bucket(bucket.settings), opened.record)
        killed.create_plan = lambda plan: plans.append(plan) or True  # and not in the store
        sample_architecture(killed)
    before, after = ([(c.tokens, c.scores, [(t.tokens, t.loss) for t in c.tried]) for c in p.children] for p in plans)
    assert before == after
    assert all(tried for _, _, tried in before)


def test_trials_count_as_cost(bucket):
    spec = searches.make_spec("rnn", controller=GUIDED | {"trials": 2}, loop={"children": 2, "children_per_round": 2})
    ledger = searches.run(bucket.settings, spec)
    (summary,) = ledger.summaries()
    for child in summary.children:
        spent = sum(trial.seconds for trial in child.tried)
        assert spent > 0
        assert child.seconds == pytest.approx(child.result.seconds + spent)
    seconds = read_report(ledger).seconds
    assert seconds.tolist() == [child.seconds for child in summary.children]


def test_searchers_that_do_not_ask_are_told_nothing(make_ledger):
    ledger = make_ledger("rnn")
    sample_architecture(ledger)
    assert [(child.scores, child.tried) for child in ledger.plan(0).children] == [({}, ())] * 2


def test_trials_where_the_trainer_has_none(make_ledger):
    with pytest.raises(UserError, match=r"^controller.trials: tabular children have no short trial; allowed: 0$"):
        make_ledger("tabular", controller=GUIDED | {"trials": 2})
