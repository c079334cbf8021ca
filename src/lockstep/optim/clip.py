"""Gradient clipping per member."""

from torch import Tensor


def clip_factors(norms: Tensor, limits: Tensor) -> Tensor:
    """What each member's gradient is multiplied by so that its norm is at most its limit; both ``[K]``.

    ``torch.nn.utils.clip_grad_norm_``: ``limit/(norm + 1e-6)``, never above 1. An infinite limit clips nothing.
    """
    return (limits / (norms + 1e-6)).clamp(max=1.0)
