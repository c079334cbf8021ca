"""Multi-head attention in a form that stacks."""

import torch
from torch import Tensor, nn

from lockstep.network.layers.dropout import dropout_layer
from lockstep.network.layers.linear import Linear
from lockstep.network.layers.positions import Rotary


class SelfAttention(nn.Module):
    """``softmax(QKᵀ/√d) V`` per head (Vaswani et al. 2017): ``x`` ``[B, T, E]``, ``mask`` ``[B, T]`` → ``[B, T, E]``.

    Nobody attends to a token that ``mask`` says is not there; where none is there the weights are equal, and the output
    is finite and means nothing. Parameters are named, shaped and drawn as ``nn.MultiheadAttention``'s.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0, rotary: Rotary | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
        self.rotary = rotary
        self.dropout = dropout_layer(dropout)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        B, T, E = x.shape
        projected = nn.functional.linear(x.reshape(B * T, E), self.in_proj_weight, self.in_proj_bias)
        q, k, v = projected.view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, T, d]
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + absent(mask, q.dtype)[:, None, None, :]
        mixed = self.dropout(scores.softmax(-1)) @ v
        return self.out_proj(mixed.transpose(1, 2).reshape(B, T, E))  # type: ignore[no-any-return]


def absent(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to a score: 0 for a token that is there, and so low a number for one that is not that its weight
    is exactly 0. Not −∞: of a row without any token the weights would be NaN."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min / 2)
