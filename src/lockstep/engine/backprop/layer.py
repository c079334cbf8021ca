"""What a layer is to backpropagation: a way forward that keeps what the way back needs."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Pass:
    """What the layers read and write on one way forward and back, by name; every tensor has a row per member.

    ``weights`` are the parameters ``[K, *shape]`` and the buffers as they were, ``became`` the buffers as they are
    after it, ``grads`` where the gradients of the trained parameters belong, ``keys`` ``[K]`` each dropout's key.
    """

    weights: Tensors
    became: Tensors
    grads: Tensors
    keys: Tensors

    def row(self, name: str | None) -> Tensor:
        """A tensor ``[K, H]`` as ``[K, 1, H]``, to meet a batch."""
        return self.weights[name].unsqueeze(1)  # type: ignore[index]

    def total(self, x: Tensor, name: str | None) -> Tensor:
        """``Σ_B x``, ``[K, H]``, which is the gradient of ``name`` and is left where that belongs, if it is trained."""
        return torch.sum(x, 1, out=self.grads.get(name))  # type: ignore[arg-type]


class Layer(Protocol):
    """One layer of a stack, ``h`` and ``δ = ∂L/∂h`` being ``[K, B, …]``.

    ``forward`` returns the output and the cache; ``h`` stays as it is. ``backward`` takes δ of the output, writes the
    gradients of its parameters into ``now.grads``, and returns δ of the input; it may overwrite the δ that it is given.
    """

    def forward(self, h: Tensor, now: Pass) -> tuple[Tensor, Any]: ...

    def backward(self, delta: Tensor, cache: Any, now: Pass) -> Tensor: ...


def beside(x: Tensor, h: Tensor) -> Tensor:
    """``x`` ``[K, …]`` with axes of 1 behind ``K``, to meet each member's ``h`` as it would alone."""
    return x.view(len(x), *(1,) * (h.dim() - x.dim()), *x.shape[1:])


def parameters_of(layer: Layer) -> list[str]:
    """The names of a layer's parameters."""
    own = (getattr(layer, "weight", None), getattr(layer, "bias", None))
    return [name for name in own if name is not None]
