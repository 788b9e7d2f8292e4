"""Regularised evolution and local search: who is a parent, what a child is, and what is never proposed twice."""

import random
from collections import Counter
from itertools import product

import pytest

from rlnas.controller import SearcherState, Trial
from rlnas.controller.evolution import Evolution
from rlnas.controller.settings import EvolutionSettings
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNSpace
from rlnas.spaces.tabular import TabularSpace

TABLE = TabularSpace(choices=(4,) * 6)


def evolution(space=TABLE, shape=None, **settings):
    return Evolution(space, EvolutionSettings(**settings), shape)


def trial(*tokens, reward=0.0):
    return Trial(tokens, reward, True)


def propose(searcher, history, seeds=(0,), samples=0):
    return [p.tokens for p in searcher.propose(SearcherState(), samples, seeds, history)]


def distance(a, b):
    return sum(x != y for x, y in zip(a, b, strict=True))


def test_the_first_are_random_and_then_one_decision_of_a_parent_changes():
    searcher = evolution(population=3)
    history = [trial(0, 0, 0, 0, 0, 0, reward=1), trial(3, 3, 3, 3, 3, 3, reward=2)]
    for seed in range(20):
        one, other = searcher.propose(SearcherState(), 2, [99, seed], history)
        assert (one.by, other.by) == ("random", "mutation")  # the first completes the population
        assert min(distance(other.tokens, t.tokens) for t in history) == 1


def test_the_best_of_the_tournament_is_the_parent_and_the_old_die_however_good():
    old, good, bad = (0,) * 6, (1,) * 6, (3,) * 6
    history = [trial(*old, reward=9), trial(*good, reward=2), trial(*bad, reward=1)]
    everyone = evolution(population=2, tournament=2)
    assert all(distance(propose(everyone, history, [seed])[0], good) == 1 for seed in range(20))
    one = evolution(population=2, tournament=1)
    children = [propose(one, history, [seed])[0] for seed in range(20)]
    parents = Counter(min((good, bad, old), key=lambda p: distance(p, child)) for child in children)
    assert parents.keys() == {good, bad}


def test_children_without_a_reward_are_no_parents_but_are_known():
    history = [trial(0, 0, reward=1), Trial((0, 1), None, False), trial(1, 0, reward=None)]
    searcher = evolution(TabularSpace(choices=(2, 2)), population=1)
    assert all(propose(searcher, history, [seed]) == [(1, 1)] for seed in range(9))  # by way of a known one


def test_nothing_is_proposed_twice_while_there_is_something_else():
    searcher = evolution(TabularSpace(choices=(2, 3, 2)), population=2)
    history = []
    for samples in range(0, 12, 4):
        history += [trial(*t, reward=sum(t)) for t in propose(searcher, history, range(samples, samples + 4))]
    assert sorted(t.tokens for t in history) == list(product(range(2), range(3), range(2)))


def test_a_limit_is_kept():
    shape = DataShape("images", classes=10, height=8, width=8, channels=1)
    searcher = evolution(CNNSpace(layers=2, grow_every=None), shape, population=4)
    searcher.limit = {"parameters": 20_000.0}
    history = []
    for seed in range(30):
        (tokens,) = propose(searcher, history, [seed])
        sizes = searcher.features(tokens).sizes
        assert sizes["parameters"] <= 20_000
        history.append(trial(*tokens, reward=sizes["flops"]))


def test_local_search_looks_at_every_neighbour_of_the_best_and_then_of_the_next_best():
    searcher = evolution(TabularSpace(choices=(3, 3)), population=1, local_search=True)
    history = [trial(0, 0, reward=5), trial(2, 2, reward=4)]
    proposals = searcher.propose(SearcherState(), 2, range(7), history)
    found = [p.tokens for p in proposals]
    assert sorted(found[:4]) == [(0, 1), (0, 2), (1, 0), (2, 0)]
    assert sorted(found[4:6]) == [(1, 2), (2, 1)]
    assert [p.by for p in proposals] == ["neighbour"] * 6 + ["random"]


@pytest.mark.parametrize("local_search", [False, True])
def test_it_finds_the_top_of_a_smooth_hill_where_random_does_not(local_search):
    searcher, history = evolution(TabularSpace(choices=(4,) * 8), local_search=local_search), []
    for samples in range(160):
        tokens = propose(searcher, history, [samples])[0]
        history.append(trial(*tokens, reward=-sum((x - 2) ** 2 for x in tokens)))
    generator = random.Random(0)
    drawn = max(-sum((generator.randrange(4) - 2) ** 2 for _ in range(8)) for _ in range(160))
    assert max(t.reward for t in history) > drawn


def test_proposals_are_a_function_of_history_and_seeds():
    history = [trial(*(k % 4 for k in range(i, i + 6)), reward=i) for i in range(12)]
    assert propose(evolution(), history, [1, 2, 3]) == propose(evolution(), history, [1, 2, 3])
    assert propose(evolution(), history, [1]) == propose(evolution(), history, [1, 2])[:1]
