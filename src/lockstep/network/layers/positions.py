"""Where a token stands in its sequence, told to a network that would not know."""

import torch
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """Adds a learned vector for each place; ``[B, T, E] → [B, T, E]``."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class Rotary(nn.Module):
    """Turns the pairs (i, i + d/2) of queries or keys ``[…, T, d]`` by angles ``t · base^(−2i/d)``, ``t`` the place.

    The product of a query and a key then depends on their distance alone (Su et al. 2021, RoFormer).
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, length: int, width: int, base: float = 10_000.0) -> None:
        super().__init__()
        rates = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = torch.arange(length, dtype=torch.float64).outer(rates)
        real = torch.get_default_dtype()
        self.register_buffer("cos", torch.cat([angles.cos()] * 2, dim=1).to(real), persistent=False)
        self.register_buffer("sin", torch.cat([-angles.sin(), angles.sin()], dim=1).to(real), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat([b, a], dim=-1) * self.sin
