"""Losses of a stack and where backpropagation starts: (output ``[K, B, …]``, target, numbers ``[K, …]``) →
(loss ``[K]``, ``δ = ∂L/∂output``). Each is its namesake in ``lockstep.network.losses``, differentiated."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lockstep.engine.backprop.layer import beside

Numbers = Mapping[str, Tensor]
LossAndDelta = Callable[[Tensor, Tensor, Numbers], tuple[Tensor, Tensor]]


def cross_entropy(output: Tensor, target: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy on logits ``[K, B, C]``, ``target`` ``[K, B]`` int64.

    ``L = −Σᵢ Σ_c a_ic log p_ic`` with ``p = softmax(z)``; without smoothing and weights ``a`` is the one-hot target
    over ``B``. As ``∂log p_c/∂z_j = [c = j] − p_j``, ``δ = p ⊙ Σ_c a_c − a``: the well-known ``(p − y)/B``.
    """
    B, C = output.shape[1:]
    weights, smoothing = numbers.get("class_weights"), numbers.get("label_smoothing")
    log_p = output.log_softmax(-1)
    true: Any = 1 / B
    others: Any = 1 / B
    if weights is not None:
        w_true = weights.gather(1, target)
        total = w_true.sum(1)[:, None, None]
        true, others = w_true[..., None] / total, weights[:, None] / total
    a = torch.zeros_like(log_p).scatter_(-1, target[..., None], true)
    if smoothing is not None:
        e = smoothing[:, None, None]
        a = (1 - e) * a + e / C * others
    share = 1 / B if weights is None else a.sum(-1, keepdim=True)
    return -(a * log_p).sum((1, 2)), log_p.exp().mul_(share).sub_(a)


def binary_cross_entropy(output: Tensor, target: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
    """Sigmoid cross-entropy on logits ``[K, B]`` or ``[K, B, 1]``.

    ``L = −Σᵢ a_i log σ(z_i) + b_i log(1 − σ(z_i))``; without smoothing and weights ``a`` is the target over ``B`` and
    ``b`` the rest. ``δ = (a + b) σ(z) − a``: ``(σ(z) − y)/B``.
    """
    z, y = aligned(output, target)
    weights, smoothing = numbers.get("class_weights"), numbers.get("label_smoothing")
    w0, w1 = (1.0, 1.0) if weights is None else (beside(w, z) for w in weights.unbind(1))
    a, b = w1 * y, w0 * (1 - y)
    total = per_member(a + b)
    if smoothing is not None:
        e = beside(smoothing, z)
        a, b = (1 - e) * a + e / 2 * w1, (1 - e) * b + e / 2 * w0
    a, b = a / beside(total, z), b / beside(total, z)
    losses = per_member(a * F.softplus(-z) + b * F.softplus(z))
    return losses, ((a + b) * torch.sigmoid(z) - a).view_as(output)


def mse(output: Tensor, target: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
    """``L = mean(e²)`` with ``e = (h − y)/s``; ``δ = 2e/(s N)``."""
    e, weight = errors(output, target, numbers)
    return per_member(e * e) / e[0].numel(), (2 * e * weight).view_as(output)


def mae(output: Tensor, target: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
    """``L = mean|e|`` with ``e = (h − y)/s``; ``δ = sign(e)/(s N)``."""
    e, weight = errors(output, target, numbers)
    return per_member(e.abs()) / e[0].numel(), (e.sign() * weight).view_as(output)


def huber(output: Tensor, target: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
    """``L = mean(e²/2)`` up to ``|e| = d``, ``d(|e| − d/2)`` beyond; ``δ`` is ``e`` cut off at ``±d``, over ``s N``."""
    e, weight = errors(output, target, numbers)
    d = beside(numbers["delta"], e) if "delta" in numbers else torch.ones_like(e[:, :1])
    cut = torch.minimum(torch.maximum(e, -d), d)
    return per_member(cut * (e - cut / 2)) / e[0].numel(), (cut * weight).view_as(output)


def quantile(output: Tensor, target: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
    """``L = mean(max(−q e, (1 − q) e))``; ``δ`` is ``1 − q`` where ``e > 0`` and ``−q`` where ``e < 0``, over ``s N``:
    ``(1 − 2q + sign e)/2``."""
    e, weight = errors(output, target, numbers)
    q = beside(numbers["quantile"], e) if "quantile" in numbers else torch.full_like(e[:, :1], 0.5)
    slope = (1 - 2 * q + e.sign()) / 2
    return per_member(slope * e) / e[0].numel(), (slope * weight).view_as(output)


def errors(output: Tensor, target: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
    """``e = (h − y)/s`` and ``∂mean(e)/∂h = 1/(s N)``, ``N`` numbers per member, ``s`` their scale (1 unless given)."""
    h, y = aligned(output, target)
    scale = beside(numbers["scale"], h) if "scale" in numbers else torch.ones((), dtype=h.dtype, device=h.device)
    return (h - y) / scale, 1 / (scale * h[0].numel())


def aligned(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """A last axis of 1 on one side only is no axis; the target in the output's type."""
    return output.reshape(target.shape), target.to(output.dtype)


def per_member(x: Tensor) -> Tensor:
    """The sum ``[K]`` over all but the members."""
    return x.flatten(1).sum(1)


LOSSES_AND_DELTAS: dict[str, LossAndDelta] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "quantile": quantile,
}


def fits(loss: str, output: tuple[int, ...], targets: Tensor) -> bool:
    """Whether a loss takes samples of such outputs with ``targets`` ``[N, …]``."""
    own = tuple(targets.shape[1:])
    if loss == "cross_entropy":
        return len(output) == 1 and own == () and targets.dtype == torch.int64
    return output in (own, (*own, 1))
