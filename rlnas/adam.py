"""Adam (Kingma & Ba 2015) with its authors' settings but for the rate, for the controller and for children.

By torch's function, not by the class `torch.optim.Adam`: making the first optimiser imports all of torch._dynamo,
seconds a process.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


@torch.no_grad()
def adam_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    learning_rate: float,
) -> None:
    """Move weights in place, and their moments along.

    Args:
        parameters: the weights.
        gradients: of the loss, for each of them.
        means, squares: first and second moment of each; zeros at first.
        steps: how many steps each has behind it; a 0 each at first.
        learning_rate: of this step.
    """
    adam(
        list(parameters),
        list(gradients),
        list(means),
        list(squares),
        [],
        list(steps),
        fused=True,
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=learning_rate,
        weight_decay=0.0,
        eps=1e-8,
        maximize=False,
    )
