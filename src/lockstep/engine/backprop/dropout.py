"""Dropout with each member's own mask."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lockstep.engine.backprop.layer import Layer, Pass, Tensors
from lockstep.network.layers.dropout import bits, places


@dataclass(frozen=True)
class Dropout:
    """``h ⊙ r`` with ``r`` 0 with probability ``p``, else ``1/(1 − p)``; ``δ_below = δ ⊙ r``.

    ``r`` is that of ``KeyedDropout``: a function of the member's key and the place in ``[B, H]``. Keeps ``r``.
    """

    name: str

    def forward(self, h: Tensor, now: Pass) -> tuple[Tensor, Tensor]:
        key, threshold, scale = (
            x.view(-1, *(1,) * (h.dim() - 1))
            for x in (now.keys[self.name], now.weights[f"{self.name}.threshold"], now.weights[f"{self.name}.scale"])
        )
        kept = bits(same_places(h.shape[1:], h.device), key).ge_(threshold)
        r = kept * scale  # not by way of booleans, which cost a CPU more than the hash
        return h * r, r

    def backward(self, delta: Tensor, r: Tensor, now: Pass) -> Tensor:  # noqa: ARG002
        return delta.mul_(r)


def idle(layer: Layer, buffers: Tensors) -> bool:
    """Whether a layer is a dropout by which no member drops anything, so that ``r`` is 1 everywhere."""
    if not isinstance(layer, Dropout):
        return False
    return bool((buffers[f"{layer.name}.threshold"] == torch.iinfo(torch.int32).min).all())


@lru_cache(maxsize=16)
def same_places(shape: torch.Size, device: torch.device) -> Tensor:
    """``places``, which are the same at every step."""
    return places(shape, device)
