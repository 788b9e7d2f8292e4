"""The controller network: an LSTM that makes one decision after another (Zoph & Le 2017, Sections 3.1 to 3.3).

Every decision is a softmax over its kind's options and is fed back as the next input. At an anchor point the
decision is a set: each earlier anchor point j is chosen with probability sigmoid(vᵀ tanh(W_prev h_j + W_curr h_i)).
Nothing here depends on the number of layers, so a deeper architecture needs no new weights.

Architectures of different lengths are handled together: tensors span all positions, and at a position that an
architecture lacks its LSTM state stands still.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlnas.spaces import Decision, Tokens, walk

ABSENT = -1
_IMPOSSIBLE = -1e9  # a logit whose probability is exactly 0, but whose product with it is not NaN


@dataclass(frozen=True)
class Actions:
    """The choices of B architectures over P positions, A of them anchor points.

    Args:
        options: int64 [P, B], `ABSENT` where the architecture lacks the decision; 0 at anchor points.
        links: bool [A, A, B]; `links[i, j]`: anchor point i chose the earlier anchor point j.
    """

    options: Tensor
    links: Tensor

    @classmethod
    def from_tokens(cls, decisions: Sequence[Decision], sequences: Sequence[Tokens]) -> "Actions":
        """Read B token sequences.

        Raises:
            ValueError: a sequence does not fit the decisions.
        """
        count = sum(d.anchor for d in decisions)
        options, links = [], []  # of each architecture: lists, since writing single elements of tensors is slow
        for tokens in sequences:
            row, bits = [ABSENT] * len(decisions), []
            for position, _, choice in walk(decisions, tokens):
                if isinstance(choice, tuple):
                    bits.append(choice + (0,) * (count - len(choice)))
                row[position] = 0 if isinstance(choice, tuple) else choice
            for option, decision in zip(row, decisions, strict=True):
                if option == ABSENT and (decision.when is None or row[decision.when[0]] in decision.when[1]):
                    raise ValueError(f"the tokens end before {decision.label}")
            options.append(row)
            links.append(bits)
        shape = len(sequences), count, count
        return cls(torch.tensor(options).T, torch.tensor(links, dtype=torch.bool).reshape(shape).permute(1, 2, 0))

    def to_tokens(self, decisions: Sequence[Decision]) -> list[Tokens]:
        """Write them as token sequences."""
        sequences: list[list[int]] = [[] for _ in range(self.options.shape[1])]
        anchor = 0
        for decision, row in zip(decisions, self.options.tolist(), strict=True):
            bits = self.links[anchor, : decision.choices].int().T.tolist() if decision.anchor else None
            anchor += decision.anchor
            for b, option in enumerate(row):
                if option != ABSENT:
                    sequences[b] += bits[b] if bits is not None else [option]
        return [tuple(sequence) for sequence in sequences]


class Policy(nn.Module):
    """An LSTM over decisions.

    Args:
        heads: kind of decision -> number of options.
        hidden: units of each LSTM layer, and size of the embeddings.
        layers: of the LSTM.
        init: all weights start uniform in ± this (Section 4.1: 0.08).
        temperature: divides every logit.
        generator: of the random weights; None: torch's own.
    """

    def __init__(
        self,
        heads: Mapping[str, int],
        hidden: int = 35,
        layers: int = 2,
        init: float = 0.08,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        ends = list(accumulate(heads.values()))
        self.spans = {kind: (end - heads[kind], end) for kind, end in zip(heads, ends, strict=True)}
        self.temperature = temperature
        self.lstm = nn.LSTM(hidden, hidden, layers)
        self.start = nn.Parameter(torch.empty(hidden))  # the first input
        rows = max(1, sum(heads.values()))  # a space of anchor points alone still needs one to index
        self.embedding = nn.Parameter(torch.empty(rows, hidden))  # an option, fed back
        self.linked = nn.Parameter(torch.empty(2, hidden))  # an anchor point's choice, fed back: none, ..., all
        self.head = nn.Linear(hidden, rows)  # one softmax for each span of rows
        self.w_prev = nn.Linear(hidden, hidden, bias=False)
        self.w_curr = nn.Linear(hidden, hidden, bias=False)
        self.v = nn.Parameter(torch.empty(hidden))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init, init, generator=generator)

    def sample(self, decisions: Sequence[Decision], seeds: Sequence[int]) -> tuple[Actions, Tensor]:
        """Draw one architecture for each seed; an architecture depends on its own seed only.

        Args:
            decisions: P positions.
            seeds: B of them.

        Returns:
            The architectures, and the log-probability [B] of each.
        """
        uniform = torch.stack([self._uniform(decisions, 1, seed)[:, 0] for seed in seeds], dim=1)
        with torch.inference_mode():
            actions, outputs = self._draw(decisions, uniform)
            log_probability = self._judge(self._spans_of(decisions), actions, outputs)[0]
        # Copies, since autograd may not save tensors of inference mode.
        return Actions(actions.options.clone(), actions.links.clone()), log_probability.clone()

    @torch.inference_mode()
    def sample_many(self, decisions: Sequence[Decision], count: int, seed: int) -> list[Tokens]:
        """Draw many architectures from one seed, unscored: for who keeps few of them."""
        return self._draw(decisions, self._uniform(decisions, count, seed))[0].to_tokens(decisions)

    def _uniform(self, decisions: Sequence[Decision], count: int, seed: int) -> Tensor:
        """What decides the draws [D, B] of B architectures: a number for each option, and for each link."""
        draws = sum(d.choices if d.anchor else 1 for d in decisions)
        return torch.rand(draws, count, generator=torch.Generator().manual_seed(seed))

    def _draw(self, decisions: Sequence[Decision], uniform: Tensor) -> tuple[Actions, Tensor]:
        """Draw architectures; beside them the LSTM's outputs [P, B, H]."""
        batch, hidden = uniform.shape[1], self.lstm.hidden_size
        count = sum(d.anchor for d in decisions)
        options = torch.full((len(decisions), batch), ABSENT)
        links = torch.zeros(count, count, batch, dtype=torch.bool)
        outputs = torch.empty(len(decisions), batch, hidden)
        earlier = torch.zeros(count, batch, hidden)  # W_prev h_j of the anchor points passed
        weights = [tuple(getattr(self.lstm, name) for name in names) for names in self.lstm._all_weights]
        state = [(torch.zeros(batch, hidden), torch.zeros(batch, hidden)) for _ in weights]
        heads = {
            kind: (self.head.weight[first:end].T, self.head.bias[first:end], self.embedding[first:end])
            for kind, (first, end) in self.spans.items()
        }
        x = self.start.expand(batch, hidden)
        anchor = draw = 0
        for position, decision in enumerate(decisions):
            exists = None  # everywhere
            if decision.when:
                parent, allowed = decision.when
                exists = torch.isin(options[parent], torch.tensor(sorted(allowed)))
            output = x
            for layer, weight in enumerate(weights):
                h, c = torch.lstm_cell(output, state[layer], *weight)
                if exists is not None:
                    h = torch.where(exists[:, None], h, state[layer][0])
                    c = torch.where(exists[:, None], c, state[layer][1])
                state[layer], output = (h, c), h
            outputs[position] = output
            if decision.anchor:
                chance = torch.sigmoid(self._attention(earlier[:anchor], output))
                links[anchor, :anchor] = uniform[draw : draw + anchor] < chance
                earlier[anchor] = self.w_prev(output)
                options[position], fed = 0, self._feed_links(links[anchor : anchor + 1], torch.tensor([anchor]))[0]
                anchor, draw = anchor + 1, draw + anchor
            else:
                matrix, offset, embedding = heads[decision.kind]
                logits = torch.addmm(offset, output, matrix)
                edges = (logits if self.temperature == 1 else logits / self.temperature).softmax(1).cumsum(1)
                option = (uniform[draw][:, None] >= edges[:, :-1]).sum(1)
                options[position] = option if exists is None else option.where(exists, torch.tensor(ABSENT))
                fed = embedding[option]
                draw += 1
            x = fed if exists is None else torch.where(exists[:, None], fed, x)
        return Actions(options, links), outputs

    def score(self, decisions: Sequence[Decision], actions: Actions) -> tuple[Tensor, Tensor]:
        """Score given architectures, all at once and differentiably.

        Returns:
            log-probability [B] of each whole architecture, and the summed entropy [B] of the decisions it met.
        """
        options, links = actions.options, actions.links
        spans = is_anchor, first, _ = self._spans_of(decisions)
        fed = self.embedding[first[:, None] + options.clamp(min=0)]
        fed = fed.masked_scatter(
            is_anchor[:, None, None].expand_as(fed), self._feed_links(links, torch.arange(len(links)))
        )
        return self._judge(spans, actions, self._unroll(fed, options != ABSENT))

    def _judge(self, spans: tuple[Tensor, Tensor, Tensor], actions: Actions, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What `score` returns, from the LSTM's outputs [P, B, H]; where a decision is absent they do not matter."""
        options, links = actions.options, actions.links
        is_anchor, first, ends = spans
        exists = options != ABSENT
        rows = torch.arange(len(self.embedding))
        inside = (rows >= first[:, None]) & (rows < ends[:, None])
        softmax = ~is_anchor
        logits = self.head(hidden[softmax]) / self.temperature
        log_p = logits.masked_fill(~inside[softmax][:, None], _IMPOSSIBLE).log_softmax(-1)
        picked = (first[:, None] + options.clamp(min=0))[softmax]
        here = exists[softmax]
        log_probability = (log_p.gather(-1, picked[..., None])[..., 0] * here).sum(0)
        entropy = (-(log_p.exp() * log_p).sum(-1) * here).sum(0)

        at_anchors = hidden[is_anchor]
        attention = self._attention(self.w_prev(at_anchors), at_anchors[:, None])
        earlier = torch.ones(len(links), len(links), dtype=torch.bool).tril(-1)[..., None]
        log_yes, log_no = F.logsigmoid(attention), F.logsigmoid(-attention)
        log_probability = log_probability + (torch.where(links, log_yes, log_no) * earlier).sum((0, 1))
        bernoulli = -(log_yes.exp() * log_yes + log_no.exp() * log_no)
        return log_probability, entropy + (bernoulli * earlier).sum((0, 1))

    def _spans_of(self, decisions: Sequence[Decision]) -> tuple[Tensor, Tensor, Tensor]:
        """Which positions are anchor points, and where the rows of the others' options begin and end: [P] each."""
        spans = [(0, 0) if d.anchor else self.spans[d.kind] for d in decisions]
        first, ends = torch.tensor(spans).T
        return torch.tensor([d.anchor for d in decisions]), first, ends

    def _attention(self, earlier: Tensor, current: Tensor) -> Tensor:
        """Logits of the links: W_prev h_j of earlier anchor points [J, B, H] against h_i [..., B, H]."""
        return torch.tanh(earlier + self.w_curr(current)) @ self.v / self.temperature

    def _feed_links(self, links: Tensor, earlier: Tensor) -> Tensor:
        """The input after an anchor point (the paper is silent): between "none" and "all" by the fraction chosen."""
        fraction = (links.sum(1) / earlier.clamp(min=1)[:, None])[..., None]
        return torch.lerp(self.linked[0], self.linked[1], fraction)

    def _unroll(self, fed: Tensor, exists: Tensor) -> Tensor:
        """Hidden states [P, B, H] when fed the given choices: one fused LSTM call over what exists."""
        order = (~exists).int().argsort(dim=0, stable=True)[..., None].expand_as(fed)
        inputs = torch.cat([self.start.expand(1, *fed.shape[1:]), fed.gather(0, order)[:-1]])
        return torch.zeros_like(fed).scatter(0, order, self.lstm(inputs)[0])
