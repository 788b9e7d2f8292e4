"""The LSTM policy against the plainest one there is, and against sums over all architectures of a small space."""

import math
from collections import Counter

import pytest
import torch
from enumeration import sequences
from scipy.stats import chisquare
from torch import nn

from rlnas.controller.policy import ABSENT, Actions, Policy
from rlnas.seeds import derive_seed
from rlnas.spaces.cnn import CNNSpace
from rlnas.spaces.tabular import TabularSpace

ALL_TYPES = ("convolution", "max_pool", "avg_pool", "batch_norm", "local_contrast_norm", "dropout")
PAPER = CNNSpace()
EVERYTHING = CNNSpace(
    layers=7,
    grow_every=None,
    layer_types=ALL_TYPES,
    stride_heights=(1, 2, 3),
    stride_widths=(1, 2, 3),
    learning_rates=(0.1, 0.05, 0.01),
)
TABLE = TabularSpace(choices=(5, 2, 3, 1, 4))
# 2 learning rates, 5 layers of three types, and the links: 2 · 5 · (5 · 2) = 100 networks of two layers.
TINY = CNNSpace(
    layers=2,
    grow_by=1,
    grow_every=1,
    max_layers=3,
    layer_types=("convolution", "max_pool", "batch_norm"),
    filter_heights=(1, 3),
    filter_widths=(3,),
    filters=(24,),
    pool_sizes=(2,),
    learning_rates=(0.1, 0.01),
)
LINKS = CNNSpace(layers=4, grow_every=None, filter_heights=(3,), filter_widths=(3,), filters=(24,))
SPACES = pytest.mark.parametrize(
    "space", [PAPER, EVERYTHING, TABLE, TINY, LINKS], ids=["paper", "everything", "table", "tiny", "links"]
)


def policy_for(space, seed=0, init=0.7, **settings):
    """A policy far from uniform, so that every weight matters."""
    torch.manual_seed(seed)
    return Policy(space.heads, init=init, **settings)


def seeds(count, name="policy"):
    return [derive_seed(name, i) for i in range(count)]


@torch.no_grad()
def plain_score(policy, heads, decisions, tokens):
    """Log-probability and entropy of one architecture: one decision, one Bernoulli after the other."""
    cells = []
    for layer in range(policy.lstm.num_layers):
        cell = nn.LSTMCell(policy.lstm.input_size, policy.lstm.hidden_size)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        cell.load_state_dict({name: getattr(policy.lstm, f"{name}_l{layer}") for name in names})
        cells.append(cell)
    states = [None] * len(cells)
    left, chosen, anchors = list(tokens), {}, []
    log_probability = entropy = 0.0
    x = policy.start
    for position, decision in enumerate(decisions):
        if decision.when and chosen.get(decision.when[0]) not in decision.when[1]:
            continue
        h = x
        for layer, cell in enumerate(cells):
            states[layer] = cell(h, states[layer])
            h = states[layer][0]
        if decision.anchor:
            bits = []
            for earlier in anchors:
                logit = float(policy.v @ torch.tanh(policy.w_prev(earlier) + policy.w_curr(h))) / policy.temperature
                yes = 1 / (1 + math.exp(-logit))
                bits.append(left.pop(0))
                log_probability += math.log(yes if bits[-1] else 1 - yes)
                entropy -= yes * math.log(yes) + (1 - yes) * math.log(1 - yes)
            fraction = sum(bits) / len(bits) if bits else 0.0
            x = (1 - fraction) * policy.linked[0] + fraction * policy.linked[1]
            anchors.append(h)
        else:
            first = sum(list(heads.values())[: list(heads).index(decision.kind)])
            rows = slice(first, first + decision.choices)
            logits = (policy.head.weight[rows] @ h + policy.head.bias[rows]) / policy.temperature
            exponentials = [math.exp(logit) for logit in logits.tolist()]
            option = chosen[position] = left.pop(0)
            log_probability += math.log(exponentials[option] / sum(exponentials))
            for exponential in exponentials:
                entropy -= exponential / sum(exponentials) * math.log(exponential / sum(exponentials))
            x = policy.embedding[first + option]
    assert not left
    return log_probability, entropy


@SPACES
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_batched_scores_are_those_of_one_architecture_at_a_time(space, temperature):
    policy, decisions = policy_for(space, temperature=temperature), space.decisions(0)
    actions, drawn = policy.sample(decisions, seeds(12))
    tokens = actions.to_tokens(decisions)
    scores = torch.stack(policy.score(decisions, Actions.from_tokens(decisions, tokens)), dim=1)
    expected = [plain_score(policy, space.heads, decisions, t) for t in tokens]
    assert scores.tolist() == [pytest.approx(pair, rel=1e-5, abs=1e-5) for pair in expected]
    assert drawn.tolist() == pytest.approx([log_probability for log_probability, _ in expected], rel=1e-5)
    if space is EVERYTHING:
        assert len({len(t) for t in tokens}) > 5  # of different lengths


@pytest.mark.parametrize(("hidden", "layers"), [(8, 1), (16, 3)])
def test_any_lstm_will_do(hidden, layers):
    policy, decisions = policy_for(EVERYTHING, hidden=hidden, layers=layers), EVERYTHING.decisions(0)
    actions = policy.sample(decisions, seeds(4))[0]
    expected = [plain_score(policy, EVERYTHING.heads, decisions, t)[0] for t in actions.to_tokens(decisions)]
    assert policy.score(decisions, actions)[0].tolist() == pytest.approx(expected, rel=1e-5)


@SPACES
def test_actions_and_tokens_say_the_same(space):
    policy, decisions = policy_for(space), space.decisions(0)
    actions = policy.sample(decisions, seeds(20))[0]
    again = Actions.from_tokens(decisions, actions.to_tokens(decisions))
    assert torch.equal(actions.options, again.options)
    assert torch.equal(actions.links, again.links)
    for t in actions.to_tokens(decisions):
        space.decode(t)


def test_what_a_network_lacks_is_absent():
    decisions = TINY.decisions(0)
    assert [d.kind for d in decisions[:5]] == [
        "learning_rate",
        "layer_type",
        "convolution.filter_height",
        "pool.stride",
        "anchor",
    ]
    actions = Actions.from_tokens(decisions, [(1, 0, 1, 1, 0, 1), (0, 2, 2, 0)])
    assert actions.options.T.tolist() == [
        [1, 0, 1, ABSENT, 0, 1, ABSENT, 0, 0],
        [0, 2, ABSENT, ABSENT, 0, 2, ABSENT, ABSENT, 0],
    ]
    assert actions.links[1, 0].tolist() == [True, False]
    with pytest.raises(ValueError, match="layer 1 type: 3 is not one of the 3 options"):
        Actions.from_tokens(decisions, [(0, 3)])
    for short in ((), (1,), (1, 0), (1, 0, 1), (1, 0, 1, 2), (1, 0, 1, 0, 1)):
        with pytest.raises(ValueError, match="the tokens end before l"):
            Actions.from_tokens(decisions, [(1, 2, 2, 0), short])


@pytest.mark.parametrize("space", [TINY, LINKS, TABLE], ids=["tiny", "links", "table"])
def test_the_probabilities_of_all_architectures_sum_to_one(space):
    policy, decisions = policy_for(space), space.decisions(0)
    everything = sequences(decisions)
    assert len(everything) == {TINY: 100, LINKS: 64, TABLE: 120}[space]
    with torch.no_grad():
        log_probability, entropy = policy.score(decisions, Actions.from_tokens(decisions, everything))
    probability = log_probability.double().exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)
    assert float(probability.max() / probability.min()) > 10  # a policy with preferences
    # The chain rule of entropy: on average, the entropies met on the way are the policy's entropy.
    total = -(probability * log_probability).sum()
    assert float((probability * entropy).sum()) == pytest.approx(float(total), rel=1e-5)


@pytest.mark.parametrize("space", [TINY, LINKS, TABLE], ids=["tiny", "links", "table"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_architectures_are_drawn_as_often_as_they_are_probable(space, temperature):
    policy, decisions, draws = policy_for(space, temperature=temperature), space.decisions(0), 10_000
    everything = sequences(decisions)
    log_probability, _ = policy.score(decisions, Actions.from_tokens(decisions, everything))
    expected = dict(zip(everything, (draws * log_probability.double().exp()).tolist(), strict=True))
    seen = Counter(policy.sample(decisions, seeds(draws))[0].to_tokens(decisions))
    assert set(seen) <= set(expected)
    often = [tokens for tokens in everything if expected[tokens] >= 5]
    observed = [*(seen[tokens] for tokens in often), draws - sum(seen[tokens] for tokens in often)]
    wanted = [*(expected[tokens] for tokens in often), draws - sum(expected[tokens] for tokens in often)]
    pairs = [(o, w) for o, w in zip(observed, wanted, strict=True) if w >= 1]
    scale = sum(o for o, _ in pairs) / sum(w for _, w in pairs)
    assert len(pairs) > 20
    assert chisquare([o for o, _ in pairs], [w * scale for _, w in pairs]).pvalue > 1e-3


def test_an_architecture_depends_on_its_own_seed_only():
    policy, decisions = policy_for(EVERYTHING), EVERYTHING.decisions(0)
    a, b, c = seeds(3)
    together = policy.sample(decisions, [a, b, c])[0].to_tokens(decisions)
    torch.manual_seed(123)
    assert policy.sample(decisions, [c, b, b, a])[0].to_tokens(decisions) == [together[i] for i in (2, 1, 1, 0)]
    assert policy.sample(decisions, [b])[0].to_tokens(decisions) == [together[1]]
    assert len(set(together)) == 3


def test_temperature_flattens_the_policy():
    def entropy(space, temperature):
        decisions = space.decisions(0)
        everything = Actions.from_tokens(decisions, sequences(decisions))
        log_probability, _ = policy_for(space, temperature=temperature).score(decisions, everything)
        return float(-(log_probability.exp() * log_probability).sum().detach())

    assert entropy(TABLE, 0.1) < entropy(TABLE, 1) < entropy(TABLE, 10) < math.log(5 * 2 * 3 * 1 * 4)
    # Every choice even: a learning rate of two; in each layer one of three types, two of them with two options; a link.
    layer = math.log(3) + 2 / 3 * math.log(2)
    assert entropy(TINY, 1e6) == pytest.approx(math.log(2) + 2 * layer + math.log(2), rel=1e-4)


def test_gradients_reach_every_weight():
    policy, decisions = policy_for(EVERYTHING), EVERYTHING.decisions(0)
    log_probability, _ = policy.score(decisions, policy.sample(decisions, seeds(16))[0])
    (log_probability * torch.linspace(-1, 1, 16)).sum().backward()
    names = {name for name, _ in policy.named_parameters()}
    assert {"start", "embedding", "linked", "v", "head.weight", "head.bias"} < names
    assert {"w_prev.weight", "w_curr.weight", "lstm.weight_hh_l1"} < names
    for name, parameter in policy.named_parameters():
        rows = parameter.grad.reshape(len(parameter), -1).abs().sum(1)
        assert (rows > 0).all(), name


def test_weights_start_uniform_in_the_papers_range():
    policy = Policy(PAPER.heads)
    weights = torch.cat([parameter.detach().flatten() for parameter in policy.parameters()])
    assert (policy.lstm.num_layers, policy.lstm.hidden_size) == (2, 35)
    assert float(weights.abs().max()) <= 0.08
    assert float(weights.std()) == pytest.approx(0.08 / math.sqrt(3), rel=0.02)
    assert all(parameter.std() > 0.03 for parameter in policy.parameters())


def test_growing_keeps_the_weights_and_what_shallow_networks_are_worth():
    assert [len(PAPER.decisions(samples)) for samples in (0, 1600)] == [6 * 4, 8 * 4]
    grown = PAPER.model_copy(update={"layers": 8})
    shapes = [{n: p.shape for n, p in Policy(space.heads).named_parameters()} for space in (PAPER, grown)]
    assert shapes[0] == shapes[1]
    policy = policy_for(TINY)
    shallow, deep = TINY.decisions(0), TINY.decisions(1)
    before, _ = policy.score(shallow, Actions.from_tokens(shallow, sequences(shallow)))
    children = sequences(deep)
    after, _ = policy.score(deep, Actions.from_tokens(deep, children))
    # The probability of a shallow network is that of all the deeper ones that begin like it.
    total = Counter()
    for tokens, log_probability in zip(children, after.double().tolist(), strict=True):
        architecture = TINY.decode(tokens)
        total[TINY.encode(architecture.model_copy(update={"layers": architecture.layers[:2]}))] += math.exp(
            log_probability
        )
    assert len(children) == 100 * 5 * 4
    expected = dict(zip(sequences(shallow), before.double().exp().tolist(), strict=True))
    assert dict(total) == pytest.approx(expected, rel=1e-4)
