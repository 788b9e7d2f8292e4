"""The guided search: what it proposes, what it never does, and what it learns."""

import json
import math
import random
import subprocess
import sys

import pytest
import torch

from rlnas.controller import Experience, SearcherState, Trial
from rlnas.controller.guided import Guided, _Known
from rlnas.controller.settings import GuidedSettings
from rlnas.seeds import derive_seed
from rlnas.spaces import DataShape
from rlnas.spaces.cnn import CNNSpace
from rlnas.spaces.rnn import RNNSpace
from rlnas.spaces.tabular import TabularSpace

TABLE, SHAPE = TabularSpace(choices=(4,) * 8), DataShape("table", classes=0)
IMAGES = DataShape("images", classes=10, height=8, width=8, channels=1)
TYPED = CNNSpace(layers=2, grow_by=1, grow_every=20, layer_types=("convolution", "max_pool", "batch_norm"))


def guided(space=TABLE, shape=SHAPE, **settings):
    return Guided(space, GuidedSettings(**{"samples": 40} | settings), shape)


def hill(tokens):
    """The highest reward where every option is 2."""
    return -float(sum((option - 2) ** 2 for option in tokens))


def search(searcher, budget, m=1, reward=hill, name=0, space=TABLE):
    """Play a search; returns every state on the way, and the history."""
    states, history = [searcher.initial(0)], []
    while len(history) < budget:
        seeds = [derive_seed(name, len(history) + k) for k in range(m)]
        tokens = [p.tokens for p in searcher.propose(states[-1], len(history), seeds, history)]
        rewards = [reward(t) for t in tokens]
        states.append(searcher.learn(states[-1], [Experience(len(history), tokens, rewards, states[-1])])[0])
        history += [Trial(t, r, True) for t, r in zip(tokens, rewards, strict=True)]
    return states, history


def best_of(history):
    return max(trial.reward for trial in history)


@pytest.mark.parametrize("m", [1, 8])
def test_it_finds_the_top_of_a_hill_where_random_does_not(m):
    _, history = search(guided(), 48, m)
    generator = random.Random(0)
    drawn = max(hill([generator.randrange(4) for _ in range(8)]) for _ in range(48))
    assert best_of(history) > drawn
    assert best_of(history) >= -1


def test_the_first_are_random_whatever_their_grouping():
    searcher = guided(first=10)
    by = [p.by for p in searcher.propose(searcher.initial(0), 0, range(12))]
    assert by == ["random"] * 12  # nothing is known yet
    _, history = search(searcher, 8, m=8)
    by = [p.by for p in searcher.propose(searcher.initial(0), 8, range(8), history)]
    assert by[:2] == ["random"] * 2
    assert set(by[2:]) <= {"controller", "even draw", "neighbour"}
    assert len(set(by[2:])) > 1


def test_nothing_is_proposed_twice_while_there_is_something_else():
    searcher = guided(TabularSpace(choices=(3, 2, 3)), mutations=10)
    _, history = search(searcher, 18, m=6)
    assert len({trial.tokens for trial in history}) == 18
    assert len(search(searcher, 24, m=6)[1]) == 24  # and then it goes on


@pytest.mark.parametrize("settings", [{}, {"samples": 0, "mutations": 30}, {"samples": 20, "mutations": 20}])
def test_a_limit_is_kept_by_all_that_propose(settings):
    searcher = guided(CNNSpace(layers=2, grow_every=None), IMAGES, first=4, **settings)
    searcher.limit = {"parameters": 20_000.0}

    def size(tokens):
        return searcher.features(tokens).sizes["parameters"]

    _, history = search(searcher, 16, m=4, reward=size)
    assert 5_000 < best_of(history) <= 20_000
    allowed = {"random", "even draw", "controller", "mutation", "neighbour"}
    assert {p.by for p in searcher.propose(searcher.initial(0), 0, range(9), history)} <= allowed


def test_who_proposed_is_said():
    searcher = guided(samples=0, even=0, mutations=50, steps=0)
    _, history = search(guided(), 12)
    (proposal,) = searcher.propose(searcher.initial(0), 12, [1], history)
    assert (proposal.by, proposal.log_probability) == ("mutation", None)
    best = sorted(history, key=lambda t: -t.reward)[:10]
    assert min(sum(a != b for a, b in zip(proposal.tokens, t.tokens, strict=True)) for t in best) == 1


def test_of_a_round_no_two_are_neighbours_of_one_thought():
    searcher = guided(samples=200)
    _, history = search(guided(), 24)
    together = searcher.propose(searcher.initial(0), 24, [7] * 4, history)  # the same candidates for all
    assert len({p.tokens for p in together}) == 4
    alone = searcher.propose(searcher.initial(0), 24, [7], history)
    assert alone == together[:1]  # a proposal depends on those before it, not on those after


def test_failures_and_losses_are_seen_for_what_they_are():
    searcher = guided()
    _, history = search(guided(), 20)
    failed = [Trial((0,) * 8, -1e6, False), Trial((1,) * 8, None, False)]
    plain = searcher.propose(searcher.initial(0), 20, [3], history)
    for reward in (-1e6, -1e3):  # a rank, not a size
        failed[0] = Trial((0,) * 8, reward, False)
        seen = searcher.propose(searcher.initial(0), 22, [3], [*history, *failed])
        assert len(seen) == len(plain) == 1
    tiny = guided(TabularSpace(choices=(2,)), first=1)
    lost = [Trial((0,), None, False)]
    assert tiny.propose(tiny.initial(0), 1, [5], lost)[0].tokens == (1,)  # a lost child is known all the same


def test_proposals_are_a_function_of_state_history_and_seeds_and_not_of_what_a_process_remembers():
    searcher = guided(mutations=10)
    states, history = search(searcher, 40, m=4)
    for at in (3, 7, 10):
        fresh, seeds = guided(mutations=10), [derive_seed("x", k) for k in range(4)]
        assert fresh.propose(states[at], at * 4, seeds, history[: at * 4]) == searcher.propose(
            states[at], at * 4, seeds, history[: at * 4]
        )


def test_a_fresh_process_repeats_a_search_to_the_byte():
    code = """
import hashlib, sys
sys.path[:0] = ["tests/controller"]
import torch; torch.set_num_threads(1)
from test_guided import guided, search
from rlnas.tensors import pack
states, history = search(guided(mutations=10), 24, m=4)
print(hashlib.sha256(pack(states[-1].tensors, {"m": states[-1].memory, "t": [t.tokens for t in history]})).hexdigest())
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONHASHSEED": str(k)}
        ).stdout
        for k in (1, 2)
    }
    assert len(outputs) == 1


# What it takes up of an earlier search


def begun(history, space=TABLE, scale=1.0):
    """Children of an earlier search, whose rewards are of another kind."""
    return [Trial(t.tokens, t.reward * scale, t.scored, t.metrics, space) for t in history]


def test_it_begins_where_the_earlier_search_ended():
    _, before = search(guided(), 60, m=4)
    searcher = guided()
    proposals = searcher.propose(searcher.initial(0), 0, [derive_seed("x", k) for k in range(4)], begun(before))
    tokens = [p.tokens for p in proposals]
    assert len(set(tokens)) == 4
    assert "random" not in {p.by for p in proposals[:1]}
    assert max(map(hill, tokens)) >= best_of(before), "what was good there may be proposed again"
    mean = sum(t.reward for t in before[:10]) / 10
    assert sum(map(hill, tokens)) / 4 > mean + 3, "the first random ones"


def test_only_ranks_within_each_search_count():
    _, before = search(guided(), 30, m=4)
    _, own = search(guided(), 12, name=1)
    searcher = guided()
    for mine in ([], own[:1], own):
        found = [
            searcher.propose(searcher.initial(0), len(mine), [3, 4], [*begun(before, scale=s), *mine])
            for s in (1.0, 1e-3, 1e6)
        ]
        assert found[0] == found[1] == found[2]


def test_an_earlier_search_that_taught_nothing_is_none():
    searcher = guided()
    lost = [Trial((0,) * 8, None, False, {}, TABLE)]
    assert searcher.propose(searcher.initial(0), 0, [1, 2], lost) == searcher.propose(searcher.initial(0), 0, [1, 2])


def test_it_may_begin_with_architectures_that_are_deeper_or_less_deep_than_its_own():
    for layers, theirs in ((1, 2), (3, 2), (2, 4)):
        space = TYPED.model_copy(update={"layers": layers, "max_layers": layers})
        other = TYPED.model_copy(update={"layers": theirs, "max_layers": theirs})
        _, before = search(guided(other, IMAGES), 20, m=4, reward=lambda t: float(sum(t)), space=other)
        searcher = guided(space, IMAGES, mutations=10)
        proposals = searcher.propose(searcher.initial(0), 0, [1, 2], begun(before, other))
        assert {len(space.decode(p.tokens).layers) for p in proposals} == {layers}


def surrogate_of(history):
    return guided()._surrogate(_Known.of(history), history)


def test_many_earlier_children_leave_room_for_its_own(monkeypatch):
    monkeypatch.setattr("rlnas.controller.guided.MOST_POINTS", 30)
    monkeypatch.setattr("rlnas.controller.guided.MOST_FITTED", 20)
    _, before = search(guided(samples=16), 40, m=4)
    for own, seen in ((before[:4], 15 + 4), (before, 30)):
        assert len(surrogate_of([*begun(before), *own])._scores) == seen


# What the controller learns


def test_it_imitates_the_best_and_turns_by_the_last():
    searcher = guided(TabularSpace(choices=(3, 3)), learning_rate=0.005)
    state = searcher.initial(0)
    good, bad = (0, 1), (2, 2)
    state, _ = searcher.learn(state, [Experience(0, [good], [1.0], state)])

    def likelihood(state, tokens):
        return float(searcher._score(searcher._policy(state), [tokens])[0].detach())

    before = likelihood(state, good), likelihood(state, bad)
    after, numbers = searcher.learn(state, [Experience(1, [bad], [-1.0], state)])
    assert likelihood(after, good) > before[0]
    assert likelihood(after, bad) < before[1]
    assert numbers["baseline"] == 0.0
    assert all(math.isfinite(value) for value in numbers.values())


def test_its_gradient_is_that_of_the_rule():
    searcher = guided(TabularSpace(choices=(3, 3)), parents=2)
    start = searcher.initial(0)
    rewards = {(0, 0): 1.0, (1, 1): 3.0, (2, 2): 2.5, (0, 2): 0.5}
    state = start
    for tokens, reward in rewards.items():
        state, _ = searcher.learn(state, [Experience(0, [tokens], [reward], state)])
    before = state
    state, numbers = searcher.learn(state, [Experience(0, [(1, 0)], [2.0], state)])
    values = [*rewards.values(), 2.0]
    mean = sum(values) / 5
    z = (2.0 - mean) / (sum((v - mean) ** 2 for v in values) / 5) ** 0.5
    policy = searcher._policy(before)
    score, _ = searcher._score(policy, [(1, 1), (2, 2), (1, 0)])
    gradient = torch.autograd.grad(-score[:2].mean() - z * score[2], list(policy.parameters()), materialize_grads=True)
    assert numbers["gradient_norm"] == pytest.approx(float(torch.nn.utils.get_total_norm(gradient)), rel=1e-4)
    assert [tuple(tokens) for tokens, _ in state.memory["best"]] == [(1, 1), (2, 2)]


def test_what_it_remembers_is_plain_and_small():
    searcher = guided(parents=3)
    states, history = search(searcher, 30)
    memory = states[-1].memory
    assert json.loads(json.dumps(memory)) == memory
    assert len(memory["best"]) == 3
    rewards = [t.reward for t in history]
    mean = sum(rewards) / 30
    assert memory["count"] == 30
    assert memory["mean"] == pytest.approx(mean)
    assert memory["square"] == pytest.approx(sum((r - mean) ** 2 for r in rewards))


def test_children_that_count_for_nothing_teach_nothing_and_suggestions_teach_as_others_do():
    searcher = guided()
    start = searcher.initial(0)
    lost, _ = searcher.learn(start, [Experience(0, [(0,) * 8], [None], start)])
    assert lost.memory == start.memory
    assert all(torch.equal(lost.tensors[name], tensor) for name, tensor in start.tensors.items())
    own, _ = searcher.learn(start, [Experience(0, [(1,) * 8], [2.0], start)])
    told, _ = searcher.learn(start, [Experience(0, [], [], start, [Trial((1,) * 8, 2.0, True)])])
    assert told.memory == own.memory
    assert all(torch.equal(told.tensors[name], tensor) for name, tensor in own.tensors.items())


def test_the_order_of_children_is_the_order_of_steps():
    searcher = guided()
    start = searcher.initial(0)
    first, second = (0, 1, 2, 3, 0, 1, 2, 3), (3, 2, 1, 0, 3, 2, 1, 0)
    together, _ = searcher.learn(start, [Experience(0, [first, second], [1.0, 2.0], start)])
    one, _ = searcher.learn(start, [Experience(0, [first], [1.0], start)])
    two, _ = searcher.learn(one, [Experience(1, [second], [2.0], one)])
    assert all(torch.equal(together.tensors[name], tensor) for name, tensor in two.tensors.items())


def test_without_a_learning_rate_the_controller_stays_as_it_starts():
    searcher = guided(learning_rate=0)
    start = searcher.initial(0)
    after, numbers = searcher.learn(start, [Experience(0, [(1,) * 8], [2.0], start)])
    assert after.tensors.keys() == start.tensors.keys()
    assert all(torch.equal(after.tensors[name], tensor) for name, tensor in start.tensors.items())
    assert numbers == {"baseline": 2.0}


def test_a_space_that_grows_is_learned_across_depths():
    searcher = guided(TYPED, IMAGES, first=4)
    states, history = search(searcher, 28, m=4, reward=lambda t: float(len(t)), name=1)
    depths = [len(TYPED.decode(t.tokens).layers) for t in history]
    assert depths == [2] * 20 + [3] * 8
    log_probability, _ = searcher._score(searcher._policy(states[-1]), [t.tokens for t in history])
    for at in (0, 27, 12):
        alone, _ = searcher._score(searcher._policy(states[-1]), [history[at].tokens])
        assert float(log_probability[at].detach()) == pytest.approx(float(alone.detach()), abs=1e-5)


@pytest.mark.parametrize(("space", "shape"), [(RNNSpace(base=4), DataShape("text", 10)), (CNNSpace(), IMAGES)])
def test_it_works_on_every_space(space, shape):
    searcher = guided(space, shape, first=4, samples=16, mutations=4)
    _, history = search(searcher, 12, m=4, reward=lambda t: float(sum(t)), space=space)
    assert all(space.decode(trial.tokens) for trial in history)


def test_many_trials_cost_no_more_than_a_bounded_surrogate(monkeypatch):
    monkeypatch.setattr("rlnas.controller.guided.MOST_POINTS", 30)
    monkeypatch.setattr("rlnas.controller.guided.MOST_FITTED", 20)
    _, history = search(guided(samples=16), 60, m=4)
    surrogate = surrogate_of(history)
    assert len(surrogate._scores) == 30
    assert best_of(history) >= -2


def test_version_0_is_a_function_of_the_seed():
    searcher = guided()
    assert all(torch.equal(searcher.initial(3).tensors[n], t) for n, t in searcher.initial(3).tensors.items())
    assert not torch.equal(searcher.initial(3).tensors["policy/v"], searcher.initial(4).tensors["policy/v"])
    assert isinstance(searcher.initial(0), SearcherState)
