"""REINFORCE (Williams 1992) as the paper uses it (Zoph & Le 2017, Section 3.2).

The gradient of the expected reward is estimated by (1/m) Σ_k ∇ log P(architecture k) · (R_k − b), where R_k is
architecture k's own reward and b a moving average of the rewards before this update.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

from rlnas.controller.policy import Actions, Policy
from rlnas.controller.searchers import Experience, Proposal, Searcher, SearcherState, Trial
from rlnas.controller.settings import ReinforceSettings


class Reinforce(Searcher):
    """The paper's searcher: an LSTM policy trained by REINFORCE with Adam."""

    settings: ReinforceSettings

    def initial(self, seed: int) -> SearcherState:
        # A generator of its own: torch's is shared by all threads, and version 0 must be a function of the seed alone.
        policy = self._policy(generator=torch.Generator().manual_seed(seed))
        return SearcherState(_policy_tensors(policy), {"baseline": None})

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
        moments = self._adam_step(head, gradient, state)
        tensors = _policy_tensors(head) | moments
        rewards = [reward for experience in rounds for reward in experience.rewards if reward is not None]
        after = self._average(baseline, rewards)
        numbers = {"baseline": after or 0.0, "entropy": sum(entropies) / len(entropies), "gradient_norm": float(norm)}
        return SearcherState(tensors, {"baseline": after}), numbers

    def _adam_step(self, head: Policy, gradient: list[Tensor], state: SearcherState) -> dict[str, Tensor]:
        """Move the weights in place and return Adam's moments for the next version."""
        names = [name for name, _ in head.named_parameters()]
        moments = {
            key: state.tensors[key].clone() if key in state.tensors else torch.zeros_like(like)
            for name, parameter in head.named_parameters()
            for key, like in (
                (f"adam/mean/{name}", parameter.detach()),
                (f"adam/square/{name}", parameter.detach()),
                (f"adam/step/{name}", torch.zeros(())),
            )
        }
        # The function, not the class torch.optim.Adam: making the first optimiser imports all of torch._dynamo.
        with torch.no_grad():
            adam(
                list(head.parameters()),
                gradient,
                [moments[f"adam/mean/{name}"] for name in names],
                [moments[f"adam/square/{name}"] for name in names],
                [],
                [moments[f"adam/step/{name}"] for name in names],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self.settings.learning_rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
        return moments

    def _average(self, baseline: float | None, rewards: Sequence[float]) -> float | None:
        """Move the average over the rewards in order; the first reward of a search starts it."""
        for reward in rewards:
            decay = self.settings.baseline_decay
            baseline = reward if baseline is None else decay * baseline + (1 - decay) * reward
        return baseline

    def _policy(self, state: SearcherState | None = None, generator: torch.Generator | None = None) -> Policy:
        s = self.settings
        policy = Policy(self.space.heads, s.hidden, s.layers, s.init, s.temperature, generator)
        if state is not None:
            prefix = "policy/"
            policy.load_state_dict(
                {k.removeprefix(prefix): t for k, t in state.tensors.items() if k.startswith(prefix)}
            )
        return policy


def _policy_tensors(policy: Policy) -> dict[str, Tensor]:
    return {f"policy/{name}": tensor.detach() for name, tensor in policy.state_dict().items()}
