"""Cross-entropy of a linear classifier over many words, with its gradients formed in the buffer of the logits."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 350  # of logits at a time: few enough for the caches, enough for fast matrix products


def softmax_loss(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, divisor: float) -> Tensor:
    """Return `sum(cross_entropy(h weightᵀ + bias, targets)) / divisor`, a scalar.

    The probabilities overwrite the logits, and the gradients are taken from them at once, `ROWS` rows at a time: the
    logits of a window, larger than everything else in a language model, never exist as a whole.

    Args:
        h: [N, hidden].
        weight: [words, hidden].
        bias: [words].
        targets: int64 [N].
        divisor: a positive number.
    """
    return _SoftmaxLoss.apply(h, weight, bias, targets, divisor, torch.is_grad_enabled())


class _SoftmaxLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, divisor: float, with_gradients: bool
    ) -> Tensor:
        loss = h.new_zeros(())
        buffer = h.new_empty(min(ROWS, len(h)), len(weight))
        if with_gradients:
            g_h, g_weight, g_bias = torch.empty_like(h), torch.zeros_like(weight), torch.zeros_like(bias)
            scaled = h / divisor  # scaling h here is cheaper than scaling the gradient of the weights
        for start in range(0, len(h), ROWS):
            rows, target = slice(start, start + ROWS), targets[start : start + ROWS, None]
            logits = torch.addmm(bias, h[rows], weight.t(), out=buffer[: len(target)])
            right, peak = logits.gather(1, target), logits.amax(1, keepdim=True)
            p = torch.softmax(logits, 1, out=logits)
            loss += (peak - p.amax(1, keepdim=True).log() - right).sum()  # log-sum-exp = peak − log(largest p)
            if with_gradients:
                p.scatter_add_(1, target, p.new_full((len(p), 1), -1.0))
                torch.mm(p, weight, out=g_h[rows])
                g_weight.addmm_(p.t(), scaled[rows])
                g_bias += p.sum(0)
        if with_gradients:
            ctx.gradients = g_h.div_(divisor), g_weight, g_bias.div_(divisor)
        return loss / divisor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # a second backward pass would find them used
        return *(t if g == 1 else t.mul_(g) for t in gradients), None, None, None
