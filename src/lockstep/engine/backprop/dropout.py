"""Dropout with each member's own mask."""

from dataclasses import dataclass

from torch import Tensor

from lockstep.engine.backprop.layer import Pass
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
        kept = bits(places(h.shape[1:], h.device), key).ge_(threshold)
        r = kept * scale  # not by way of booleans, which cost a CPU more than the hash
        return h * r, r

    def backward(self, delta: Tensor, r: Tensor, now: Pass) -> Tensor:  # noqa: ARG002
        return delta.mul_(r)
