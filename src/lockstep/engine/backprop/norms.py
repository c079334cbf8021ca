"""Norms: ``x̂ = (z − mean)/√(var + ε)`` and ``h = γ ⊙ x̂ + β``, over the batch or over features.

The way back is the same for all: each output depends on every number that its mean and variance were taken of. With
``g = γ ⊙ δ`` and means over those same numbers, ``δ_below = (g − mean(g) − x̂ ⊙ mean(g ⊙ x̂))/√(var + ε)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lockstep.engine.backprop.layer import Layer, Pass

Kept = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Affine:
    """``h = γ ⊙ x̂ + β``;  ``dγ = Σ_B δ ⊙ x̂``, ``dβ = Σ_B δ``, ``δ_below = γ ⊙ δ``. Either may be absent."""

    weight: str | None
    bias: str | None

    def forward(self, x_hat: Tensor, now: Pass) -> tuple[Tensor, Tensor]:
        match self.weight, self.bias:
            case str(weight), str(bias):
                return torch.addcmul(now.row(bias), x_hat, now.row(weight)), x_hat
            case str(weight), None:
                return x_hat * now.row(weight), x_hat
        return x_hat, x_hat

    def backward(self, delta: Tensor, x_hat: Tensor, now: Pass) -> Tensor:
        now.total(delta, self.bias)
        now.total(delta * x_hat, self.weight)
        return delta if self.weight is None else delta.mul_(now.row(self.weight))


@dataclass(frozen=True)
class BatchNorm:
    """Over the batch, ``[K, B, H]`` → the same, with its running statistics moved on:
    ``running ← (1 − m) running + m batch``, the variance that of a sample (``B − 1``). Keeps ``x̂``, ``1/√(var + ε)``.

    With its affine part, ``h = γ ⊙ x̂ + β``, the sums over the batch serve twice: ``dβ = Σ_B δ``, ``dγ = Σ_B δ ⊙ x̂``,
    ``δ_below = γ ⊙ (δ − dβ/B − x̂ ⊙ dγ/B)/√(var + ε)``.
    """

    name: str
    eps: float
    momentum: float
    tracked: bool
    weight: str | None = None
    bias: str | None = None

    def forward(self, z: Tensor, now: Pass) -> tuple[Tensor, Kept]:
        B = z.shape[1]
        if B == 1:
            raise ValueError("Expected more than 1 value per channel when training")
        mean = z.mean(1)
        centred = z - mean.unsqueeze(1)
        var = (centred * centred).mean(1)
        if self.tracked:
            self._track("running_mean", mean, now)
            self._track("running_var", var * (B / (B - 1)), now)
            count = f"{self.name}.num_batches_tracked"
            now.became[count] = now.weights[count] + 1
        rstd = var.add_(self.eps).rsqrt_().unsqueeze(1)
        x_hat = centred.mul_(rstd)
        h = x_hat if self.weight is None else torch.addcmul(now.row(self.bias), x_hat, now.row(self.weight))
        return h, (x_hat, rstd)

    def backward(self, delta: Tensor, kept: Kept, now: Pass) -> Tensor:
        x_hat, rstd = kept
        B = delta.shape[1]
        d_bias, d_weight = now.total(delta, self.bias), now.total(delta * x_hat, self.weight)
        delta.sub_(d_bias.unsqueeze(1), alpha=1 / B).addcmul_(x_hat, d_weight.unsqueeze(1), value=-1 / B)
        return delta.mul_(rstd if self.weight is None else rstd * now.row(self.weight))

    def _track(self, statistic: str, batch: Tensor, now: Pass) -> None:
        name = f"{self.name}.{statistic}"
        now.became[name] = torch.lerp(now.weights[name], batch, self.momentum)


@dataclass(frozen=True)
class FeatureNorm:
    """Over the features of each sample, ``[K, B, H]`` → the same: layer norm with one group, group norm with several.
    Keeps ``x̂`` and ``1/√(var + ε)``."""

    eps: float
    groups: int = 1

    def forward(self, z: Tensor, now: Pass) -> tuple[Tensor, Kept]:  # noqa: ARG002
        grouped = z.unflatten(-1, (self.groups, -1))
        centred = grouped - grouped.mean(-1, keepdim=True)
        rstd = centred.square().mean(-1, keepdim=True).add_(self.eps).rsqrt_()
        x_hat = centred.mul_(rstd)
        return x_hat.flatten(-2), (x_hat, rstd)

    def backward(self, delta: Tensor, kept: Kept, now: Pass) -> Tensor:  # noqa: ARG002
        return through_norm(delta.view_as(kept[0]), *kept, over=-1).flatten(-2)


@dataclass(frozen=True)
class RootMeanSquare:
    """``x̂ = z/√(mean(z²) + ε)`` over features (Zhang and Sennrich 2019): no mean is taken off, so none comes back,
    ``δ_below = (δ − x̂ ⊙ mean(δ ⊙ x̂))/√(mean(z²) + ε)``."""

    eps: float

    def forward(self, z: Tensor, now: Pass) -> tuple[Tensor, Kept]:  # noqa: ARG002
        rstd = z.square().mean(-1, keepdim=True).add_(self.eps).rsqrt_()
        x_hat = z * rstd
        return x_hat, (x_hat, rstd)

    def backward(self, delta: Tensor, kept: Kept, now: Pass) -> Tensor:  # noqa: ARG002
        x_hat, rstd = kept
        return delta.addcmul_(x_hat, (delta * x_hat).mean(-1, keepdim=True), value=-1).mul_(rstd)


def through_norm(delta: Tensor, x_hat: Tensor, rstd: Tensor, *, over: int) -> Tensor:
    """``(δ − mean(δ) − x̂ ⊙ mean(δ ⊙ x̂))/√(var + ε)``, the means over axis ``over``."""
    along = (delta * x_hat).mean(over, keepdim=True)
    delta = delta - delta.mean(over, keepdim=True)
    return delta.addcmul_(x_hat, along, value=-1).mul_(rstd)


def together(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, each batch norm as one with the affine part behind it."""
    merged: list[Layer] = []
    for layer in layers:
        match merged[-1:], layer:
            case [BatchNorm() as norm], Affine(weight=str(weight), bias=str(bias)):
                merged[-1] = replace(norm, weight=weight, bias=bias)
            case _:
                merged.append(layer)
    return merged
