"""Transformer: tokens, positions, pre-norm encoder blocks, a pooled row."""

import torch
from torch import Tensor, nn

from lockstep.errors import SpecError
from lockstep.network.layers.activations import activation
from lockstep.network.layers.attention import SelfAttention
from lockstep.network.layers.dropout import dropout_layer
from lockstep.network.layers.linear import Linear
from lockstep.network.layers.pooling import masked, masked_mean
from lockstep.network.layers.positions import LearnedPositions, Rotary
from lockstep.network.shapes import Sequence
from lockstep.spec.network import Transformer


def transformer(spec: Transformer, shape: Sequence) -> tuple[nn.Module, int]:
    """The body ``([B, T, E], mask [B, T]) → [B, H]`` and its width ``H``."""
    if not shape.ordered and (spec.patch > 1 or spec.positions in ("learned", "rotary")):
        setting = f"patch={spec.patch}" if spec.patch > 1 else f"positions={spec.positions}"
        raise SpecError(
            "Columns of a table have no order, so there are no positions and no patches, "
            f"however: model.{setting}. Leave it out."
        )
    return Encoder(spec, shape), spec.width


class Encoder(nn.Module):
    """Patches, a linear map to ``width``, positions, blocks, a last norm, pooling."""

    def __init__(self, spec: Transformer, shape: Sequence) -> None:
        super().__init__()
        self.patch, self.stride = min(spec.patch, shape.length), min(spec.stride or spec.patch, shape.length)
        tokens = patches(shape.length, self.patch, self.stride)
        learned = spec.positions == "learned" or (spec.positions == "auto" and shape.ordered)
        self.tokens = Linear(shape.width * self.patch, spec.width)
        self.positions = LearnedPositions(tokens, spec.width) if learned else nn.Identity()
        self.cls = nn.Parameter(torch.randn(spec.width) * 0.02) if spec.pooling == "cls" else None
        places = tokens + (self.cls is not None)
        rotary = Rotary(places, spec.width // spec.heads) if spec.positions == "rotary" else None
        self.blocks = nn.ModuleList(Block(spec, rotary) for _ in range(spec.layers))
        self.norm = norm(spec)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x, mask = into_patches(masked(x, mask), mask, self.patch, self.stride)
        h = self.positions(self.tokens(x))
        if self.cls is not None:
            h = torch.cat([self.cls.expand(len(h), 1, -1), h], dim=1)
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        for block in self.blocks:
            h = block(h, mask)
        return self.norm(h[:, 0]) if self.cls is not None else masked_mean(self.norm(h), mask)


class Block(nn.Module):
    """``h + attention(norm(h))``, then ``h + W₂ f(W₁ norm(h))``, dropout on what is added (Xiong et al. 2020).

    Its parameters are named as ``nn.TransformerEncoderLayer``'s.
    """

    def __init__(self, spec: Transformer, rotary: Rotary | None) -> None:
        super().__init__()
        rate = spec.dropout
        self.self_attn = SelfAttention(
            spec.width, spec.heads, dropout=spec.attention_dropout, rotary=rotary
        )  # fmt: skip
        self.linear1 = Linear(spec.width, spec.feedforward)
        self.linear2 = Linear(spec.feedforward, spec.width)
        self.norm1, self.norm2 = norm(spec), norm(spec)
        self.activation = activation(spec.activation)
        self.dropout, self.dropout1, self.dropout2 = dropout_layer(rate), dropout_layer(rate), dropout_layer(rate)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        h = h + self.dropout1(self.self_attn(self.norm1(h), mask))
        inner = self.dropout(self.activation(self.linear1(self.norm2(h))))
        return h + self.dropout2(self.linear2(inner))  # type: ignore[no-any-return]


def norm(spec: Transformer) -> nn.Module:
    return nn.LayerNorm(spec.width) if spec.norm == "layer" else nn.RMSNorm(spec.width)


def patches(length: int, patch: int, stride: int) -> int:
    """How many patches hold every step."""
    return -(-(length - patch) // stride) + 1


def into_patches(x: Tensor, mask: Tensor, patch: int, stride: int) -> tuple[Tensor, Tensor]:
    """``[B, T, E]`` to patches ``[B, N, patch · E]``, and which of them hold a step; the last is filled up with 0."""
    if patch == 1:
        return x, mask
    count = patches(x.shape[1], patch, stride)
    missing = (count - 1) * stride + patch - x.shape[1]
    x, mask = nn.functional.pad(x, (0, 0, 0, missing)), nn.functional.pad(mask, (0, missing))
    starts = [slice(first, first + (count - 1) * stride + 1, stride) for first in range(patch)]
    pieces, there = [x[:, start] for start in starts], [mask[:, start] for start in starts]
    return torch.stack(pieces, dim=2).flatten(2), torch.stack(there, dim=2).any(2)
