"""Steps through spaces whose decisions depend on one another and whose depth grows."""

import random
from collections import Counter

import pytest
from enumeration import sequences

from rlnas.controller.moves import carry_over, draw, mutate, neighbours
from rlnas.spaces import walk
from rlnas.spaces.cnn import CNNSpace
from rlnas.spaces.rnn import RNNSpace
from rlnas.spaces.tabular import TabularSpace

TYPED = CNNSpace(
    layers=2,
    grow_by=1,
    grow_every=10,
    layer_types=("convolution", "max_pool", "batch_norm"),
    filter_heights=(1, 3),
    filter_widths=(3,),
    filters=(24,),
    pool_sizes=(2,),
)
SPACES = {"typed": TYPED, "paper": CNNSpace(), "cells": RNNSpace(), "table": TabularSpace(choices=(2, 5, 1))}


def choices(space, tokens):
    return {position: choice for position, _, choice in walk(space.decisions(0), tokens)}


@pytest.mark.parametrize("name", SPACES)
def test_a_mutation_is_an_architecture_in_which_one_decision_differs_and_what_depends_on_it(name):
    space, generator = SPACES[name], random.Random(0)
    decisions = space.decisions(0)
    for _ in range(300):
        parent = draw(decisions, generator)[0]
        child = mutate(space, 0, parent, generator)
        space.decode(child)
        before, after = choices(space, parent), choices(space, child)
        changed = [at for at in before if at in after and before[at] != after[at]]
        dependent = [at for at in before.keys() ^ after.keys() if (when := decisions[at].when) and when[0] in changed]
        assert len(changed) == 1
        assert set(dependent) == before.keys() ^ after.keys()
        if decisions[changed[0]].anchor:
            assert sum(a != b for a, b in zip(before[changed[0]], after[changed[0]], strict=True)) == 1


def test_every_decision_changes_as_often_and_to_every_option_as_often():
    space, parent = TabularSpace(choices=(2, 5, 1)), (0, 2, 0)
    generator = random.Random(0)
    seen = Counter(mutate(space, 0, parent, generator) for _ in range(8000))
    assert seen.keys() == {(1, 2, 0), (0, 0, 0), (0, 1, 0), (0, 3, 0), (0, 4, 0)}
    assert seen[1, 2, 0] == pytest.approx(4000, rel=0.1)
    assert all(seen[0, k, 0] == pytest.approx(1000, rel=0.2) for k in (0, 1, 3, 4))


def test_mutations_lead_everywhere():
    everything = set(sequences(TYPED.decisions(0)))
    generator, at, seen = random.Random(0), min(everything), set()
    for _ in range(5000):
        at = mutate(TYPED, 0, at, generator)
        seen.add(at)
    assert seen == everything


def test_neighbours_are_all_that_one_change_gives():
    space = TabularSpace(choices=(2, 3, 1))
    found = list(neighbours(space, 0, (1, 1, 0), random.Random(0)))
    assert sorted(found) == [(0, 1, 0), (1, 0, 0), (1, 2, 0)]
    assert len({tuple(neighbours(space, 0, (1, 1, 0), random.Random(seed))) for seed in range(20)}) > 1
    paper, generator = CNNSpace(), random.Random(0)
    links = 6 * 5 // 2
    assert len(list(neighbours(paper, 0, draw(paper.decisions(0), generator)[0], generator))) == 6 * 3 * 3 + links


def test_parents_from_before_a_space_grew_have_children_from_after():
    generator = random.Random(0)
    parent = draw(TYPED.decisions(0), generator)[0]
    grown = mutate(TYPED, 10, parent, generator)
    assert len(TYPED.decode(grown).layers) == 3
    assert len(TYPED.decode(mutate(TYPED, 0, grown, generator)).layers) == 2


def test_a_space_without_a_choice_gives_the_parent():
    assert mutate(TabularSpace(choices=(1, 1)), 0, (0, 0), random.Random(0)) == (0, 0)


def test_moves_depend_on_the_generator_alone():
    parent = draw(CNNSpace().decisions(0), random.Random(1))[0]
    assert mutate(CNNSpace(), 0, parent, random.Random(2)) == mutate(CNNSpace(), 0, parent, random.Random(2))


@pytest.mark.parametrize(("before", "after"), [(0, 10), (10, 0), (10, 10)])
def test_what_fits_of_an_architecture_of_another_depth_is_carried_over(before, after):
    generator = random.Random(0)
    for _ in range(50):
        parent = draw(TYPED.decisions(before), generator)[0]
        made = carry_over(TYPED, after, parent, generator)
        layers, theirs = TYPED.decode(made).layers, TYPED.decode(parent).layers
        assert len(layers) == TYPED.depth(after)
        assert layers[: len(theirs)] == theirs[: len(layers)]


def test_an_architecture_deeper_than_the_space_is_cut():
    generator = random.Random(0)
    deep = draw(TYPED.decisions(30), generator)[0]
    shallow = TYPED.model_copy(update={"max_layers": 2})
    made = carry_over(shallow, 0, deep, generator)
    assert shallow.decode(made).layers == TYPED.decode(deep).layers[:2]
