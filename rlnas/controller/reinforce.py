"""REINFORCE (Williams 1992) as the paper uses it (Zoph & Le 2017, Section 3.2).

The gradient of the expected reward is estimated by (1/m) Σ_k ∇ log P(architecture k) · (R_k − b), where R_k is
architecture k's own reward and b a moving average of the rewards before this update.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlnas.controller.learner import PolicySearcher, policy_step
from rlnas.controller.policy import Actions
from rlnas.controller.searchers import Experience, Proposal, SearcherState, Trial
from rlnas.controller.settings import ReinforceSettings


class Reinforce(PolicySearcher):
    """The paper's searcher: an LSTM policy trained by REINFORCE with Adam."""

    settings: ReinforceSettings

    def initial(self, seed: int) -> SearcherState:
        return SearcherState(self._start(seed), {"baseline": None})

    def propose(
        self, state: SearcherState, samples: int, seeds: Sequence[int], history: Sequence[Trial] = ()
    ) -> list[Proposal]:
        policy, decisions = self._policy(state), self.space.decisions(samples)
        actions, log_probabilities = policy.sample(decisions, seeds)
        sequences = actions.to_tokens(decisions)
        return [Proposal(t, lp) for t, lp in zip(sequences, log_probabilities.tolist(), strict=True)]

    def learn(self, state: SearcherState, rounds: Sequence[Experience]) -> tuple[SearcherState, dict[str, float]]:
        """Do one Adam step with the mean of the rounds' gradients, each taken at the policy that proposed it.

        Suggested children are no samples of the policy: neither the gradient nor the baseline sees them.
        """
        baseline: float | None = state.memory["baseline"]
        rounds = [experience for experience in rounds if experience.tokens]
        if not rounds:
            return state, {"baseline": baseline or 0.0}
        gradients: list[list[Tensor]] = []
        entropies: list[float] = []
        head = self._policy(state)
        for experience in rounds:
            policy = head if experience.policy is state else self._policy(experience.policy)
            decisions = self.space.decisions(experience.samples)
            actions = Actions.from_tokens(decisions, experience.tokens)
            log_probability, entropy = policy.score(decisions, actions)
            advantage = torch.tensor([0.0 if r is None else r - (baseline or 0.0) for r in experience.rewards])
            objective = (log_probability * advantage).mean() + self.settings.entropy_weight * entropy.mean()
            gradients.append(list(torch.autograd.grad(-objective, list(policy.parameters()), materialize_grads=True)))
            entropies.append(float(entropy.detach().mean()))

        gradient = [torch.stack(parts).mean(0) for parts in zip(*gradients, strict=True)]
        norm = torch.nn.utils.get_total_norm(gradient)
        tensors = policy_step(head, gradient, state.tensors, self.settings.learning_rate)
        rewards = [reward for experience in rounds for reward in experience.rewards if reward is not None]
        after = self._average(baseline, rewards)
        numbers = {"baseline": after or 0.0, "entropy": sum(entropies) / len(entropies), "gradient_norm": float(norm)}
        return SearcherState(tensors, {"baseline": after}), numbers

    def _average(self, baseline: float | None, rewards: Sequence[float]) -> float | None:
        """Move the average over the rewards in order; the first reward of a search starts it."""
        for reward in rewards:
            decay = self.settings.baseline_decay
            baseline = reward if baseline is None else decay * baseline + (1 - decay) * reward
        return baseline
