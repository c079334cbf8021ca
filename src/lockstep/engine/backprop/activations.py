"""Activations ``h = f(z)``: going back, ``δ_below = δ ⊙ f′(z)``.

Each is a pair of functions, ``z ↦ (h, kept)`` and ``kept ↦ f′(z)``: the first keeps what the second can use again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.engine.backprop.layer import Pass

Pair = tuple[Callable[[Tensor], tuple[Tensor, Any]], Callable[[Any], Tensor]]

# SELU is ELU with the two numbers that keep mean 0 and variance 1 (Klambauer et al. 2017).
SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


@dataclass(frozen=True)
class Activation:
    """``function`` is applied to each number by itself; ``slope`` gives ``f′(z)`` of what the function kept.

    ``name`` is the function's, with its numbers ``a`` and ``s`` where it has such.
    """

    function: Callable[[Tensor], tuple[Tensor, Any]]
    slope: Callable[[Any], Tensor]
    name: str
    a: float = 0.0
    s: float = 1.0

    def forward(self, z: Tensor, now: Pass) -> tuple[Tensor, Any]:  # noqa: ARG002
        return self.function(z)

    def backward(self, delta: Tensor, kept: Any, now: Pass) -> Tensor:  # noqa: ARG002
        return delta.mul_(self.slope(kept))


@dataclass(frozen=True)
class Softmax:
    """``h_c = e^{z_c}/Σ e^{z_j}`` over the last axis, where each output depends on every input:
    ``∂h_c/∂z_j = h_c([c = j] − h_j)``, so ``δ_below = h ⊙ (δ − Σ_c δ_c h_c)``."""

    def forward(self, z: Tensor, now: Pass) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        h = z.softmax(-1)
        return h, h

    def backward(self, delta: Tensor, h: Tensor, now: Pass) -> Tensor:  # noqa: ARG002
        return delta.sub_((delta * h).sum(-1, keepdim=True)).mul_(h)


def positive(z: Tensor) -> Tensor:
    """1 where ``z > 0``, else 0, in ``z``'s own type: on a CPU several times faster than to go by a boolean."""
    return torch.gt(z, 0, out=torch.empty_like(z))


def relu() -> Pair:
    """``max(0, z)``; ``f′ = [z > 0]``, which is ``[h > 0]``."""
    return lambda z: (h := z.relu(), h), torch.sign


def leaky_relu(a: float) -> Pair:
    """``z`` where positive, else ``a z``; ``f′ = a + (1 − a)[z > 0]``."""
    return lambda z: (F.leaky_relu(z, a), z), lambda z: positive(z).mul_(1 - a).add_(a)


def elu(a: float, scale: float = 1.0) -> Pair:
    """``s z`` where positive, else ``s a(e^z − 1)``; ``f′ = s`` where positive, else ``s a e^z``."""

    def function(z: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        e = z.clamp(max=0).exp_()
        return torch.add(F.relu(z), e - 1, alpha=a).mul_(scale), (z, e)

    def slope(kept: tuple[Tensor, Tensor]) -> Tensor:
        z, e = kept
        return (a * e if a == 1 else positive(z).mul_(1 - a).add_(e, alpha=a)).mul_(scale)

    return function, slope


def gelu() -> Pair:
    """``z Φ(z)`` with ``Φ(z) = ½(1 + erf(z/√2))``; ``f′ = Φ(z) + z φ(z)`` with ``φ(z) = e^{−z²/2}/√(2π)``."""

    def function(z: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        phi = torch.erf(z * math.sqrt(0.5)).add_(1).mul_(0.5)
        return z * phi, (z, phi)

    def slope(kept: tuple[Tensor, Tensor]) -> Tensor:
        z, phi = kept
        return (z * z).mul_(-0.5).exp_().mul_(z).mul_(1 / math.sqrt(2 * math.pi)).add_(phi)

    return function, slope


def gelu_tanh() -> Pair:
    """``½z(1 + t)`` with ``t = tanh(u)``, ``u = √(2/π)(z + 0.044715 z³)``; ``f′ = ½(1 + t) + ½z(1 − t²)u′``."""
    c, cubic = math.sqrt(2 / math.pi), 0.044715

    def function(z: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        t = (z * z).mul_(cubic).add_(1).mul_(z).mul_(c).tanh_()
        return (t + 1).mul_(z).mul_(0.5), (z, t)

    def slope(kept: tuple[Tensor, Tensor]) -> Tensor:
        z, t = kept
        inner = (z * z).mul_(3 * cubic).add_(1).mul_(c)
        return (1 - t * t).mul_(inner).mul_(z).add_(t).add_(1).mul_(0.5)

    return function, slope


def silu() -> Pair:
    """``h = z σ(z)``; ``f′ = σ + z σ(1 − σ) = σ + h(1 − σ)``."""

    def function(z: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        s = torch.sigmoid(z)
        return (h := z * s), (h, s)

    return function, lambda kept: (1 - kept[1]).mul_(kept[0]).add_(kept[1])


def mish() -> Pair:
    """``z t`` with ``t = tanh(log(1 + e^z))``; ``f′ = t + z(1 − t²)σ(z)``.

    With ``n = e^z(e^z + 2)``: ``t = n/(n + 2)`` and ``(1 − t²)σ(z) = 4e^z(1 + e^z)/(n + 2)²``, one exponential for all.
    Beyond ``z = 20`` ``t`` is 1 to double precision.
    """

    def function(z: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        e = z.clamp(max=20).exp_()
        n = (e + 2).mul_(e)
        t = n / (n + 2)
        return z * t, (z, e, t)

    def slope(kept: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        z, e, t = kept
        bent = (e + 1).mul_(e).mul_(4) / (e + 2).mul_(e).add_(2).square_()
        return bent.mul_(z).add_(t)

    return function, slope


def sigmoid() -> Pair:
    """``h = 1/(1 + e^{−z})``; ``f′ = h(1 − h)``."""
    return lambda z: (h := torch.sigmoid(z), h), lambda h: (1 - h).mul_(h)


def tanh() -> Pair:
    """``h = tanh z``; ``f′ = 1 − h²``."""
    return lambda z: (h := torch.tanh(z), h), lambda h: 1 - h * h


def activation(module: nn.Module) -> Activation | Softmax | None:
    """The written-out form of an activation of torch; None for what is not one."""
    match module:
        case nn.ReLU():
            return Activation(*relu(), "relu")
        case nn.LeakyReLU(negative_slope=a):
            return Activation(*leaky_relu(a), "leaky_relu", a)
        case nn.ELU(alpha=a):
            return Activation(*elu(a), "elu", a)
        case nn.SELU():
            return Activation(*elu(*SELU), "elu", *SELU)
        case nn.GELU(approximate="none"):
            return Activation(*gelu(), "gelu")
        case nn.GELU(approximate="tanh"):
            return Activation(*gelu_tanh(), "gelu_tanh")
        case nn.SiLU():
            return Activation(*silu(), "silu")
        case nn.Mish():
            return Activation(*mish(), "mish")
        case nn.Sigmoid():
            return Activation(*sigmoid(), "sigmoid")
        case nn.Tanh():
            return Activation(*tanh(), "tanh")
        case nn.Softmax(dim=-1 | 1):
            return Softmax()
    return None
