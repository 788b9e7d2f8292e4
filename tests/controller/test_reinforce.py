"""REINFORCE against exact gradients: sums over all architectures of a small space, and cases worked by hand."""

import math

import pytest
import torch
from enumeration import sequences

from rlnas.controller import Experience, SearcherState
from rlnas.controller.policy import Actions
from rlnas.controller.reinforce import Reinforce
from rlnas.controller.settings import ReinforceSettings
from rlnas.seeds import derive_seed
from rlnas.spaces.cnn import CNNSpace
from rlnas.spaces.tabular import TabularSpace
from rlnas.tensors import pack, read_document, unpack

COIN = TabularSpace(choices=(3,))
PAPER = CNNSpace(grow_every=8)
# Two layers, each a convolution of one of two sizes or batch normalisation, and one link: 3 · 3 · 2 architectures.
TINY = CNNSpace(
    layers=2,
    grow_every=None,
    layer_types=("convolution", "batch_norm"),
    filter_heights=(1, 3),
    filter_widths=(3,),
    filters=(24,),
)


def searcher(space, **settings):
    return Reinforce(space, ReinforceSettings(**{"init": 0.7} | settings))


def with_baseline(state, baseline):
    return SearcherState(state.tensors, {"baseline": baseline})


def weights(state):
    return {name: tensor for name, tensor in state.tensors.items() if name.startswith("policy/")}


def gradient(before, after):
    """What Adam was given to ascend, by weight: it moved the average of gradients a tenth of the way."""
    found = {}
    for name in weights(before):
        moment = name.replace("policy/", "adam/mean/")
        earlier = before.tensors.get(moment, torch.zeros(()))
        found[name] = -(after.tensors[moment] - 0.9 * earlier) / 0.1
    return found


def assert_close(found, expected, rel=1e-4):
    assert found.keys() == expected.keys()
    scale = max(float(tensor.abs().max()) for tensor in expected.values())
    assert scale > 0
    for name in expected:
        assert torch.allclose(found[name], expected[name], rtol=0, atol=rel * scale), name


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def coin_gradient(state, tokens, advantages):
    """By hand, of a single decision's bias: the mean of (what was chosen − probability) · advantage."""
    reinforce = searcher(COIN)
    policy = reinforce._policy(state)
    decisions = COIN.decisions(0)
    log_p, _ = policy.score(decisions, Actions.from_tokens(decisions, [(0,), (1,), (2,)]))
    p = log_p.detach().exp()
    terms = [(torch.eye(3)[t] - p) * a for t, a in zip(tokens, advantages, strict=True)]
    return torch.stack(terms).mean(0)


def play(reinforce, state, samples=0, m=8, name="play"):
    """One round with made-up rewards."""
    proposals = reinforce.propose(state, samples, [derive_seed(name, samples, k) for k in range(m)])
    rewards = [derive_seed(str(proposal.tokens)) % 1000 / 1000 for proposal in proposals]
    return Experience(samples, [proposal.tokens for proposal in proposals], rewards, state)


@pytest.mark.parametrize("baseline", [None, 0.0, 0.4, -3.0])
def test_the_mean_gradient_is_the_exact_gradient_of_the_expected_reward(baseline):
    reinforce, decisions = searcher(TINY), TINY.decisions(0)
    state = with_baseline(reinforce.initial(1), baseline)
    everything = sequences(decisions)
    rewards = [math.sin(3.0 * k) for k in range(len(everything))]

    policy = reinforce._policy(state)
    probability = policy.score(decisions, Actions.from_tokens(decisions, everything))[0].exp()
    expected_reward = (probability * torch.tensor(rewards)).sum()
    named = dict(policy.named_parameters())
    exact = torch.autograd.grad(expected_reward, list(named.values()), materialize_grads=True)

    mean = {f"policy/{name}": torch.zeros_like(parameter) for name, parameter in named.items()}
    for tokens, reward, p in zip(everything, rewards, probability.tolist(), strict=True):
        after, _ = reinforce.learn(state, [Experience(0, [tokens], [reward], state)])
        for name, part in gradient(state, after).items():
            mean[name] += p * part
    assert len(everything) == 18
    assert_close(mean, {f"policy/{name}": part for name, part in zip(named, exact, strict=True)}, rel=1e-3)


def test_each_architecture_is_credited_with_its_own_reward():
    reinforce = searcher(COIN)
    state = reinforce.initial(0)
    found = {}
    for rewards in ([1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.5, 0.5, 0.5]):
        after, _ = reinforce.learn(state, [Experience(0, [(0,), (1,), (1,)], rewards, state)])
        found[tuple(rewards)] = gradient(state, after)["policy/head.bias"]
        assert torch.allclose(found[tuple(rewards)], coin_gradient(state, (0, 1, 1), rewards), atol=1e-6)
    assert not torch.allclose(found[1.0, 0.0, 0.5], found[0.0, 1.0, 0.5], atol=1e-2)
    # Order is nothing: the same architectures with the same rewards.
    after, _ = reinforce.learn(state, [Experience(0, [(1,), (1,), (0,)], [0.5, 0.0, 1.0], state)])
    assert torch.allclose(gradient(state, after)["policy/head.bias"], found[1.0, 0.0, 0.5], atol=1e-6)


def test_the_baseline_is_an_average_of_the_rewards_before():
    reinforce = searcher(COIN, baseline_decay=0.5)
    start = reinforce.initial(0)
    assert start.memory == {"baseline": None}
    # Nothing before the first update: the baseline is 0, and then runs 1, (skip), 0.5, 0.75 in order.
    rewards = [1.0, None, 0.0, 1.0]
    first, numbers = reinforce.learn(start, [Experience(0, [(0,), (1,), (2,), (0,)], rewards, start)])
    assert first.memory == {"baseline": 0.75}
    assert numbers["baseline"] == 0.75
    by_hand = coin_gradient(start, (0, 1, 2, 0), [1.0, 0.0, 0.0, 1.0])
    assert torch.allclose(gradient(start, first)["policy/head.bias"], by_hand, atol=1e-6)
    # The second update subtracts 0.75, whatever its own rewards are.
    second, _ = reinforce.learn(first, [Experience(4, [(0,), (1,)], [0.25, 2.0], first)])
    by_hand = coin_gradient(first, (0, 1), [0.25 - 0.75, 2.0 - 0.75])
    assert torch.allclose(gradient(first, second)["policy/head.bias"], by_hand, atol=1e-5)
    assert second.memory == {"baseline": (0.75 / 2 + 0.25 / 2) / 2 + 2.0 / 2}


def test_the_rounds_of_an_update_share_the_baseline_before_it_and_feed_it_in_order():
    reinforce = searcher(COIN, baseline_decay=0.5)
    state = with_baseline(reinforce.initial(0), 2.0)
    rounds = [Experience(0, [(0,)], [1.0], state), Experience(1, [(1,)], [4.0], state)]
    after, _ = reinforce.learn(state, rounds)
    by_hand = coin_gradient(state, (0, 1), [1.0 - 2.0, 4.0 - 2.0])
    assert torch.allclose(gradient(state, after)["policy/head.bias"], by_hand, atol=1e-6)
    assert after.memory == {"baseline": 2.75}
    after, _ = reinforce.learn(state, rounds[::-1])
    assert after.memory == {"baseline": 2.0}


def test_children_without_a_reward_count_for_nothing():
    reinforce = searcher(COIN)
    state = with_baseline(reinforce.initial(0), 0.3)
    alone, _ = reinforce.learn(state, [Experience(0, [(0,)], [1.0], state)])
    beside, _ = reinforce.learn(state, [Experience(0, [(0,), (1,)], [1.0, None], state)])
    half = {name: part / 2 for name, part in gradient(state, alone).items()}
    assert_close(gradient(state, beside), half)  # the mean is over the m that were proposed
    assert beside.memory == alone.memory
    lost, numbers = reinforce.learn(state, [Experience(0, [(0,), (1,)], [None, None], state)])
    assert lost.memory == state.memory
    assert numbers["gradient_norm"] == 0
    assert all(math.isfinite(number) for number in numbers.values())


def test_the_gradients_of_several_rounds_are_averaged():
    reinforce = searcher(PAPER)
    state = with_baseline(reinforce.initial(0), 0.5)
    rounds = [play(reinforce, state, samples) for samples in (0, 8, 16)]  # of 6, 8 and 10 layers
    each = [gradient(state, reinforce.learn(state, [one])[0]) for one in rounds]
    mean = {name: torch.stack([part[name] for part in each]).mean(0) for name in each[0]}
    together, _ = reinforce.learn(state, rounds)
    assert_close(gradient(state, together), mean)


def test_a_late_gradient_is_taken_where_it_was_proposed_and_applied_to_the_newest_weights():
    reinforce = searcher(PAPER, learning_rate=0.05)
    old = reinforce.initial(0)
    late = play(reinforce, old, samples=0, name="late")
    newer, _ = reinforce.learn(old, [play(reinforce, old)])
    at_old = gradient(old, reinforce.learn(with_baseline(old, newer.memory["baseline"]), [late])[0])
    newest, _ = reinforce.learn(newer, [late])
    assert_close(gradient(newer, newest), at_old)
    at_newer = gradient(newer, reinforce.learn(newer, [Experience(late.samples, late.tokens, late.rewards, newer)])[0])
    with pytest.raises(AssertionError):
        assert_close(at_newer, at_old, rel=1e-2)
    # Adam's second step, by hand, from the newer weights.
    for name in weights(newer):
        first, second = (newer.tensors[name.replace("policy/", f"adam/{moment}/")] for moment in ("mean", "square"))
        mean = (0.9 * first - 0.1 * at_old[name]) / (1 - 0.9**2)
        square = (0.999 * second + 0.001 * at_old[name] ** 2) / (1 - 0.999**2)
        expected = newer.tensors[name] - 0.05 * mean / (square.sqrt() + 1e-8)
        assert torch.allclose(newest.tensors[name], expected, atol=1e-4), name


def test_a_state_that_was_stored_goes_on_as_if_it_had_not_been():
    reinforce = searcher(PAPER, entropy_weight=0.01)
    stayed = stored = reinforce.initial(7)
    for samples in (0, 8, 16):
        stayed, numbers = reinforce.learn(stayed, [play(reinforce, stayed, samples)])
        data = pack(stored.tensors, stored.memory)
        stored = SearcherState(unpack(data), read_document(data))
        stored, again = reinforce.learn(stored, [play(reinforce, stored, samples)])
        assert numbers == again
        assert stayed.memory == stored.memory
        assert_equal(stored.tensors, stayed.tensors)
        assert pack(stored.tensors, stored.memory) == pack(stayed.tensors, stayed.memory)
    assert float(stayed.tensors["adam/step/start"]) == 3


def test_learning_changes_no_state_but_the_one_it_returns():
    reinforce = searcher(PAPER)
    first, _ = reinforce.learn(reinforce.initial(0), [play(reinforce, reinforce.initial(0))])
    before = {name: tensor.clone() for name, tensor in first.tensors.items()}
    one, _ = reinforce.learn(first, [play(reinforce, first)])
    assert_equal(dict(first.tensors), before)
    two, _ = reinforce.learn(first, [play(reinforce, first)])
    assert_equal(one.tensors, two.tensors)


def test_proposals_are_a_function_of_state_samples_and_seeds():
    reinforce = searcher(PAPER)
    state = reinforce.initial(3)
    assert_equal(reinforce.initial(3).tensors, state.tensors)
    assert not torch.equal(reinforce.initial(4).tensors["policy/v"], state.tensors["policy/v"])
    first = reinforce.propose(state, 0, [5, 6])
    torch.manual_seed(99)
    assert reinforce.propose(state, 0, [5, 6]) == first
    assert [len(PAPER.decode(p.tokens).layers) for p in first + reinforce.propose(state, 8, [5])] == [6, 6, 8]
    decisions = PAPER.decisions(0)
    scored, _ = reinforce._policy(state).score(decisions, Actions.from_tokens(decisions, [p.tokens for p in first]))
    assert [p.log_probability for p in first] == pytest.approx(scored.tolist(), rel=1e-6)


@pytest.mark.parametrize("space", [PAPER, TINY, COIN], ids=["paper", "tiny", "coin"])
def test_a_rewarded_architecture_becomes_more_probable(space):
    reinforce, decisions = searcher(space, learning_rate=1e-4), space.decisions(0)
    state = reinforce.initial(0)
    good, bad = reinforce.propose(state, 0, [1, 3])
    after, _ = reinforce.learn(state, [Experience(0, [good.tokens, bad.tokens], [1.0, -1.0], state)])
    actions = Actions.from_tokens(decisions, [good.tokens, bad.tokens])
    after_good, after_bad = reinforce._policy(after).score(decisions, actions)[0].tolist()
    assert after_good > good.log_probability
    assert after_bad < bad.log_probability


@pytest.mark.parametrize(
    "space",
    [
        CNNSpace(layers=4, grow_every=None, filter_heights=(3,), filter_widths=(3,), filters=(24,)),
        CNNSpace(layers=1, grow_every=None, filter_heights=(3,), filter_widths=(3,), filters=(24,)),
    ],
    ids=["links alone", "nothing to decide"],
)
def test_a_space_without_a_softmax_can_be_searched(space):
    reinforce = searcher(space)
    state = reinforce.initial(0)
    after, numbers = reinforce.learn(state, [play(reinforce, state)])
    assert all(math.isfinite(number) for number in numbers.values())
    assert all(tensor.isfinite().all() for tensor in after.tensors.values())
    for proposal in reinforce.propose(after, 8, [1, 2, 3]):
        assert space.encode(space.decode(proposal.tokens)) == proposal.tokens


def test_entropy_is_kept_up_by_its_weight():
    entropies = {}
    for weight in (0.0, 1.0):
        reinforce = searcher(TINY, entropy_weight=weight, learning_rate=0.02, init=1.0)
        state = reinforce.initial(0)
        for samples in range(0, 80, 8):
            proposals = reinforce.propose(state, samples, [derive_seed(samples, k) for k in range(8)])
            experience = Experience(samples, [p.tokens for p in proposals], [None] * 8, state)
            state, _ = reinforce.learn(state, [experience])
        drawn = reinforce.propose(state, 0, range(200))
        entropies[weight] = -sum(p.log_probability for p in drawn) / len(drawn)
    assert entropies[1.0] > entropies[0.0] + 0.2


def test_the_papers_settings_are_the_defaults():
    settings = ReinforceSettings()
    assert (settings.hidden, settings.layers, settings.init, settings.learning_rate) == (35, 2, 0.08, 6e-4)
    assert (settings.entropy_weight, settings.temperature) == (0, 1)
