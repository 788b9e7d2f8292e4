"""What proposes: the random control, and whether the controller is better than it."""

import math
import random
import statistics
import subprocess
import sys
from collections import Counter

import pytest
from enumeration import sequences
from scipy.stats import chisquare

from rlnas.controller import SEARCHERS, SETTINGS, Experience, SearcherState
from rlnas.controller.evolution import Evolution
from rlnas.controller.guided import Guided
from rlnas.controller.largest import Largest
from rlnas.controller.reinforce import Reinforce
from rlnas.controller.searchers import RandomSearcher
from rlnas.controller.settings import RandomSettings, ReinforceSettings
from rlnas.registry import resolve
from rlnas.seeds import derive_seed
from rlnas.spaces.cnn import CNNSpace
from rlnas.spaces.tabular import TabularSpace

TABLE = TabularSpace(choices=(5,) * 10)
TINY = CNNSpace(
    layers=2,
    grow_by=1,
    grow_every=10,
    layer_types=("convolution", "max_pool", "batch_norm"),
    filter_heights=(1, 3),
    filter_widths=(3,),
    filters=(24,),
    pool_sizes=(2,),
)


def seeds(count, name="searchers"):
    return [derive_seed(name, i) for i in range(count)]


def test_the_random_control_draws_every_option_evenly():
    searcher, everything, draws = RandomSearcher(TINY, RandomSettings()), sequences(TINY.decisions(0)), 20_000
    proposals = searcher.propose(searcher.initial(0), 0, seeds(draws))
    # A third for each type, a half for each of its two options where it has them, a half for the link.
    probability = {}
    for tokens in everything:
        layers = TINY.decode(tokens).layers
        options = [1 if layer.type == "batch_norm" else 2 for layer in layers]
        probability[tokens] = 1 / (3 * options[0] * 3 * options[1] * 2)
    assert sum(probability.values()) == pytest.approx(1)
    assert all(p.log_probability == pytest.approx(math.log(probability[p.tokens])) for p in proposals)
    seen = Counter(p.tokens for p in proposals)
    assert chisquare([seen[t] for t in everything], [draws * probability[t] for t in everything]).pvalue > 1e-3


def test_the_random_control_depends_on_each_seed_alone_and_learns_nothing():
    searcher = RandomSearcher(TINY, RandomSettings())
    state = searcher.initial(0)
    proposals = searcher.propose(state, 0, [1, 2, 3])
    assert searcher.propose(state, 0, [3, 1]) == [proposals[2], proposals[0]]
    after, numbers = searcher.learn(state, [Experience(0, [p.tokens for p in proposals], [1.0, None, 0.0], state)])
    assert after == state == SearcherState()
    assert numbers == {}
    assert searcher.propose(after, 0, [1, 2, 3]) == proposals
    assert len(TINY.decode(searcher.propose(after, 10, [1])[0].tokens).layers) == 3


KINDS = {"reinforce": Reinforce, "random": RandomSearcher, "largest": Largest, "evolution": Evolution, "guided": Guided}


@pytest.mark.parametrize("kind", SEARCHERS)
def test_searchers_are_found_by_their_kind_and_say_what_they_are(kind):
    searcher = resolve(SEARCHERS, kind, "rlnas.searchers")
    assert searcher is KINDS[kind]
    settings = resolve(SETTINGS, kind, "rlnas.controller_settings")()
    assert settings.kind == kind
    assert settings.label
    assert SEARCHERS.keys() == SETTINGS.keys()


def test_settings_are_read_without_torch():
    code = "import sys; from rlnas.controller.settings import GuidedSettings; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def search(searcher, task, budget=240, m=8):
    """The rewards of a search, in order: each option of each decision adds its own worth."""
    generator = random.Random(task)
    worth = [[generator.random() for _ in range(n)] for n in TABLE.choices]
    best = sum(map(max, worth))
    state, rewards = searcher.initial(task), []
    for samples in range(0, budget, m):
        proposals = searcher.propose(state, samples, [derive_seed(task, samples + k) for k in range(m)])
        mine = [sum(options[token] for options, token in zip(worth, p.tokens, strict=True)) / best for p in proposals]
        state, _ = searcher.learn(state, [Experience(samples, [p.tokens for p in proposals], mine, state)])
        rewards += mine
    return rewards


def test_the_controller_beats_random_at_equal_budget():
    controller = Reinforce(TABLE, ReinforceSettings(learning_rate=0.02))
    control = RandomSearcher(TABLE, RandomSettings())
    pairs = [(search(controller, task), search(control, task)) for task in range(8)]
    for value in (max, lambda rewards: statistics.mean(rewards[-80:])):
        gains = [value(learned) - value(drawn) for learned, drawn in pairs]
        error = statistics.stdev(gains) / math.sqrt(len(gains))
        assert statistics.mean(gains) > 2 * error, gains
