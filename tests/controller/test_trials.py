"""Short trials and scores of untrained children, in a guided search."""

import random
from functools import partial
from statistics import fmean

import pytest

from rlnas.controller import Experience, Foresight, Trial
from rlnas.controller.guided import Guided
from rlnas.controller.settings import GuidedSettings
from rlnas.controller.trials import MOST_PASSED_OVER, ShortTrials
from rlnas.seeds import derive_seed
from rlnas.spaces import DataShape
from rlnas.spaces.tabular import TabularSpace

TABLE, SHAPE = TabularSpace(choices=(4,) * 8), DataShape("table", classes=0)


def luck(tokens):
    """A reward of which the choices say nothing."""
    return random.Random(derive_seed(*tokens)).random()


class Oracle(Foresight):
    """Its scores and trials tell of the reward; it counts what is asked."""

    def __init__(self, shows=False):
        self.shows = shows
        self.tries = []

    def scores(self, tokens, space=None):
        return {"luck": luck(tokens)} if self.shows else {}

    def trial(self, tokens):
        self.tries.append(tokens)
        return 2 - luck(tokens)


def guided(oracle, **settings):
    searcher = Guided(TABLE, GuidedSettings(**{"samples": 40} | settings), SHAPE)
    searcher.foresight = oracle
    return searcher


def search(searcher, budget, m=1):
    state, history, proposals = searcher.initial(0), [], []
    while len(history) < budget:
        seeds = [derive_seed(len(history) + k) for k in range(m)]
        made = searcher.propose(state, len(history), seeds, history)
        tokens = [p.tokens for p in made]
        rewards = [luck(t) for t in tokens]
        state, _ = searcher.learn(state, [Experience(len(history), tokens, rewards, state)])
        history += [Trial(p.tokens, r, True, tried=p.tried) for p, r in zip(made, rewards, strict=True)]
        proposals += made
    return history, proposals


@pytest.mark.parametrize("m", [1, 4])
def test_nothing_is_tried_twice_and_only_what_was_tried_is_proposed(m):
    oracle = Oracle()
    history, proposals = search(guided(oracle, trials=3, first=4), 16, m)
    assert len(set(oracle.tries)) == len(oracle.tries) <= 3 * 16
    tried = set()
    for proposal in proposals:
        assert not tried & proposal.tried.keys()
        tried |= proposal.tried.keys()
        assert proposal.tokens in tried
    assert tried == set(oracle.tries)
    assert len({trial.tokens for trial in history}) == 16


def test_the_first_children_are_the_best_of_what_was_tried():
    oracle = Oracle()
    made = guided(oracle, trials=4).propose(guided(oracle).initial(0), 0, range(3))
    assert len(oracle.tries) == 12
    best = sorted(oracle.tries[:4], key=luck)[-1]
    assert made[0].tokens == best
    left = [tokens for tokens in oracle.tries[:8] if tokens != best]
    assert luck(made[1].tokens) == max(map(luck, left))  # one that was passed over can be chosen later


def test_a_killed_task_proposes_the_same_and_no_trial_is_made_again():
    oracle = Oracle()
    searcher = guided(oracle, trials=3, first=4)
    history, _ = search(searcher, 12)
    again = partial(searcher.propose, searcher.initial(0), 12, [99], history)
    first = again()
    fresh = guided(Oracle(), trials=3, first=4)
    assert fresh.propose(fresh.initial(0), 12, [99], history) == [*first] == again()


def test_without_trials_none_is_made():
    oracle = Oracle()
    _, proposals = search(guided(oracle), 12)
    assert not oracle.tries
    assert not any(proposal.tried for proposal in proposals)


def test_a_trainer_without_trials_is_none_the_worse():
    searcher = guided(Foresight(), trials=3, first=4)
    assert len(search(searcher, 8)[0]) == 8


@pytest.mark.parametrize("settings", [{"trials": 4}, {"scores": True}])
def test_what_is_foreseen_helps(settings):
    def mean(oracle, **more):
        return fmean(trial.reward for trial in search(guided(oracle, first=4, **more), 16)[0])

    assert mean(Oracle(shows="scores" in settings), **settings) > 0.7 > mean(Oracle())


def test_scores_can_be_left_out():
    with_scores, without = (search(guided(Oracle(shows=True), scores=s, first=4), 10)[0] for s in (True, False))
    blind = search(guided(Oracle(), scores=True, first=4), 10)[0]
    assert without == blind != with_scores


def test_few_of_those_passed_over_are_kept_in_mind():
    trials = ShortTrials(lambda tokens: float(tokens[0]), ())
    trials.make((n,) for n in range(2 * MOST_PASSED_OVER))
    assert trials.passed_over([(0,)]) == [(n,) for n in range(1, MOST_PASSED_OVER + 1)]


def test_trials_of_another_search_do_not_count():
    trials = ShortTrials(lambda tokens: 1.0, [Trial((1,), 0.5, True, earlier=TABLE, tried={(1,): 0.1})])
    assert trials.passed_over([]) == []
