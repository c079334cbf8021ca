"""The linear layer, and the layers that only reshape, scale or shift."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lockstep.engine.backprop.layer import Pass, beside


@dataclass(frozen=True)
class Linear:
    """A batch has a row per sample, so the text's ``W h`` is ``h Wᵀ`` here, and ``δ hᵀ``, summed over it, ``δᵀ h``.

    forward   ``z = h Wᵀ + b``                ``[K, B, D] → [K, B, H]``, keeps ``h``
    backward  ``dW = δᵀ h``, ``db = Σ_B δ``, ``δ_below = δ W``

    ``lowest``: nothing below learns, so nobody asks for ``δ_below``.
    """

    weight: str
    bias: str | None
    lowest: bool = False

    def forward(self, h: Tensor, now: Pass) -> tuple[Tensor, Tensor]:
        z = torch.bmm(h, now.weights[self.weight].mT)
        return z if self.bias is None else z.add_(now.row(self.bias)), h

    def backward(self, delta: Tensor, h: Tensor, now: Pass) -> Tensor:
        if self.weight in now.grads:
            torch.bmm(delta.mT, h, out=now.grads[self.weight])
        if self.bias in now.grads:
            now.total(delta, self.bias)
        return delta if self.lowest else torch.bmm(delta, now.weights[self.weight])


@dataclass(frozen=True)
class Reshape:
    """``[K, B, …] → [K, B, *shape]``; δ takes its old shape again."""

    shape: tuple[int, ...]

    def forward(self, h: Tensor, now: Pass) -> tuple[Tensor, torch.Size]:  # noqa: ARG002
        return h.reshape(*h.shape[:2], *self.shape), h.shape

    def backward(self, delta: Tensor, shape: torch.Size, now: Pass) -> Tensor:  # noqa: ARG002
        return delta.view(shape)


@dataclass(frozen=True)
class Scale:
    """By a number or a row that is not trained: ``h ⊙ s``, ``δ_below = δ ⊙ s``."""

    by: str

    def forward(self, h: Tensor, now: Pass) -> tuple[Tensor, None]:
        return h * beside(now.weights[self.by], h), None

    def backward(self, delta: Tensor, cache: None, now: Pass) -> Tensor:  # noqa: ARG002
        return delta.mul_(beside(now.weights[self.by], delta))


@dataclass(frozen=True)
class Shift:
    """By a number or a row that is not trained: ``h + c``, ``δ_below = δ``."""

    by: str

    def forward(self, h: Tensor, now: Pass) -> tuple[Tensor, None]:
        return h + beside(now.weights[self.by], h), None

    def backward(self, delta: Tensor, cache: None, now: Pass) -> Tensor:  # noqa: ARG002
        return delta
