"""How much faster the batched controller is than one architecture at a time."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical

from rlnas.controller import Experience
from rlnas.controller.reinforce import Reinforce
from rlnas.controller.settings import ReinforceSettings
from rlnas.spaces import Decision, Tokens
from rlnas.spaces.cnn import CNNSpace

LAYERS, M, WINDOWS = 15, 8, 7


class PlainController(nn.Module):
    """The same network as it is usually written: LSTM cells, and one distribution for each choice and each link."""

    def __init__(self, heads: dict[str, int], hidden: int = 35, layers: int = 2) -> None:
        super().__init__()
        self.cells = nn.ModuleList(nn.LSTMCell(hidden, hidden) for _ in range(layers))
        self.start = nn.Parameter(torch.empty(hidden))
        self.embeddings = nn.ModuleDict({kind.replace(".", " "): nn.Embedding(n, hidden) for kind, n in heads.items()})
        self.heads = nn.ModuleDict({kind.replace(".", " "): nn.Linear(hidden, n) for kind, n in heads.items()})
        self.linked = nn.Parameter(torch.empty(2, hidden))
        self.w_prev = nn.Linear(hidden, hidden, bias=False)
        self.w_curr = nn.Linear(hidden, hidden, bias=False)
        self.v = nn.Parameter(torch.empty(hidden))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.08, 0.08)

    def sample(self, decisions: tuple[Decision, ...]) -> tuple[Tokens, Tensor]:
        """Draw one architecture; its log-probability keeps the graph."""
        tokens: list[int] = []
        log_probability = torch.zeros(())
        states: list = [None] * len(self.cells)
        anchors: list[Tensor] = []
        x: Tensor = self.start
        for decision in decisions:
            h = x
            for i, cell in enumerate(self.cells):
                states[i] = cell(h, states[i])
                h = states[i][0]
            if decision.anchor:
                bits = []
                for earlier in anchors:
                    link = Bernoulli(logits=self.v @ torch.tanh(self.w_prev(earlier) + self.w_curr(h)))
                    bit = link.sample()
                    log_probability = log_probability + link.log_prob(bit)
                    bits.append(int(bit))
                fraction = sum(bits) / max(1, len(bits))
                x = (1 - fraction) * self.linked[0] + fraction * self.linked[1]
                anchors.append(h)
                tokens += bits
            else:
                kind = decision.kind.replace(".", " ")
                choice = Categorical(logits=self.heads[kind](h))
                option = choice.sample()
                log_probability = log_probability + choice.log_prob(option)
                x = self.embeddings[kind](option)
                tokens.append(int(option))
        return tuple(tokens), log_probability


def measure() -> list[dict]:
    """Time sampling and one update of m = 8 architectures of 15 layers, side by side.

    Returns:
        One entry: how many times as many architectures a second, the median of interleaved windows.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        ours, plain = _ours(), _plain()
        ours(), plain()  # the first optimiser step imports much
        ratios = [_seconds(plain, 1) / _seconds(ours, 10) for _ in range(WINDOWS)]
    finally:
        torch.set_num_threads(threads)
    ratio, goal = statistics.median(ratios), 30
    name = f"controller: sample + update, m={M}, {LAYERS} layers, batched / one at a time"
    return [{"name": name, "value": round(ratio, 1), "unit": "times", "goal": goal, "met": ratio >= goal}]


def _seconds(call: Callable[[], None], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def _reward(tokens: Tokens) -> float:
    return sum(tokens) / 100


def _ours() -> Callable[[], None]:
    searcher = Reinforce(CNNSpace(layers=LAYERS, grow_every=None), ReinforceSettings())
    state = searcher.initial(0)

    def step() -> None:
        nonlocal state
        proposals = searcher.propose(state, 0, range(M))
        tokens = [proposal.tokens for proposal in proposals]
        state, _ = searcher.learn(state, [Experience(0, tokens, [_reward(t) for t in tokens], state)])

    return step


def _plain() -> Callable[[], None]:
    space = CNNSpace(layers=LAYERS, grow_every=None)
    controller, decisions = PlainController(space.heads), space.decisions(0)
    optimizer = torch.optim.Adam(controller.parameters(), lr=6e-4)
    baseline = 0.0

    def step() -> None:
        nonlocal baseline
        loss = torch.zeros(())
        rewards = []
        for _ in range(M):
            tokens, log_probability = controller.sample(decisions)
            rewards.append(_reward(tokens))
            loss = loss - log_probability * (rewards[-1] - baseline) / M
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for reward in rewards:
            baseline = 0.95 * baseline + 0.05 * reward

    return step


if __name__ == "__main__":
    for result in measure():
        print("{name}: {value} {unit} (goal {goal})".format(**result))
