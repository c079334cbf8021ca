"""A path from preprocessing straight to the head, beside a body."""

import torch
from torch import Tensor, nn


class Beside(nn.Module):
    """The features of ``inner`` ``[B, H]`` and behind them a row ``[B, S]`` as it is.

    What a linear model can say of the row, the body need not learn (wide and deep, Cheng et al. 2016).
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, mask: Tensor, row: Tensor) -> Tensor:
        return torch.cat([self.inner(x, mask), row], dim=1)
