"""What searchers with an LSTM policy share: its weights in their state, and a step of Adam."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rlnas.adam import adam_step
from rlnas.controller.policy import Policy
from rlnas.controller.searchers import Searcher, SearcherState
from rlnas.controller.settings import PolicySettings

_PREFIX = "policy/"


class PolicySearcher(Searcher):
    """A searcher whose state holds the weights of a `Policy`, and the moments of Adam that go with them."""

    settings: PolicySettings

    def _start(self, seed: int) -> dict[str, Tensor]:
        """Return the tensors of version 0."""
        # A generator of its own: torch's is shared by all threads, and version 0 must be a function of the seed alone.
        return _tensors(self._policy(generator=torch.Generator().manual_seed(seed)))

    def _policy(self, state: SearcherState | None = None, generator: torch.Generator | None = None) -> Policy:
        s = self.settings
        policy = Policy(self.space.heads, s.hidden, s.layers, s.init, s.temperature, generator)
        if state is not None:
            weights = {k.removeprefix(_PREFIX): t for k, t in state.tensors.items() if k.startswith(_PREFIX)}
            policy.load_state_dict(weights)
        return policy


def policy_step(
    policy: Policy, gradient: Sequence[Tensor], tensors: Mapping[str, Tensor], learning_rate: float
) -> dict[str, Tensor]:
    """Move a policy's weights in place.

    Args:
        policy: whose weights are moved.
        gradient: of the loss, for each of its parameters.
        tensors: with Adam's moments from the step before; none: this is the first.
        learning_rate: of Adam.

    Returns:
        The new weights and moments, as a state holds them.
    """
    names = [name for name, _ in policy.named_parameters()]
    moments = {
        key: tensors[key].clone() if key in tensors else torch.zeros_like(like)
        for name, parameter in policy.named_parameters()
        for key, like in (
            (f"adam/mean/{name}", parameter.detach()),
            (f"adam/square/{name}", parameter.detach()),
            (f"adam/step/{name}", torch.zeros(())),
        )
    }
    adam_step(
        list(policy.parameters()),
        gradient,
        [moments[f"adam/mean/{name}"] for name in names],
        [moments[f"adam/square/{name}"] for name in names],
        [moments[f"adam/step/{name}"] for name in names],
        learning_rate,
    )
    return _tensors(policy) | moments


def _tensors(policy: Policy) -> dict[str, Tensor]:
    return {f"{_PREFIX}{name}": tensor.detach() for name, tensor in policy.state_dict().items()}
