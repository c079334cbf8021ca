"""From the steps of a sequence to one row: only steps that are there count."""

from torch import Tensor


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` ``[B, T, E]`` with 0 where ``mask`` ``[B, T]`` says that nothing is there, whatever stood there."""
    return x.masked_fill(~mask.unsqueeze(-1), 0.0)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean of ``x`` ``[B, T, E]`` over the steps in ``mask`` ``[B, T]``; 0 where there is none."""
    return masked(x, mask).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """The maximum of ``x`` ``[B, T, E]`` over the steps in ``mask`` ``[B, T]``; 0 where there is none."""
    best = x.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(1)
    return best.masked_fill(~mask.any(1, keepdim=True), 0.0)
