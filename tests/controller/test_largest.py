"""The control that proposes the largest of some."""

from rlnas.controller import Experience, SearcherState
from rlnas.controller.largest import Largest
from rlnas.controller.settings import LargestSettings
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNSpace
from rlnas.spaces.rnn import RNNSpace

SHAPE = DataShape("images", classes=10, height=8, width=8, channels=1)
SPACE = CNNSpace(layers=3, grow_every=None)


def sizes(searcher, seeds, limit=None):
    searcher.limit = limit or {}
    return [searcher.features(p.tokens).sizes["parameters"] for p in searcher.propose(SearcherState(), 0, seeds)]


def largest(draws):
    return Largest(SPACE, LargestSettings(draws=draws), SHAPE)


def test_it_proposes_the_largest_of_what_it_draws():
    few, many = sizes(largest(3), range(40)), sizes(largest(30), range(40))
    assert all(a <= b for a, b in zip(few, many, strict=True))  # the first three of the thirty are the same
    assert sum(many) > 1.5 * sum(few)


def test_within_the_limit():
    free = sizes(largest(50), range(20))
    within = sizes(largest(50), range(20), {"parameters": 30_000.0})
    assert max(free) > 30_000 >= max(within)
    assert min(within) > 15_000
    assert len(sizes(largest(5), range(3), {"parameters": 1.0})) == 3  # none fits: something is proposed all the same


def test_where_a_space_says_no_sizes_it_is_the_first_that_is_drawn():
    one, many = (Largest(RNNSpace(), LargestSettings(draws=n), DataShape("text", 10)) for n in (1, 9))
    assert one.propose(SearcherState(), 0, [4, 5]) == many.propose(SearcherState(), 0, [4, 5])


def test_each_depends_on_its_own_seed_and_nothing_is_learned():
    searcher = largest(10)
    proposals = searcher.propose(searcher.initial(0), 0, [1, 2, 3])
    assert searcher.propose(SearcherState(), 0, [3, 1]) == [proposals[2], proposals[0]]
    learned = searcher.learn(
        SearcherState(), [Experience(0, [p.tokens for p in proposals], [1, 2, None], SearcherState())]
    )
    assert learned == (SearcherState(), {})
