"""Windows of series to forecast: each one standardised by itself, each channel a row of its own."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.shapes import Flat, Sequence, Shape


@dataclass(frozen=True)
class WindowShape:
    """Windows of ``context`` rows of ``channels`` columns, after which ``horizon`` rows are forecast."""

    channels: int
    context: int
    horizon: int


class Windows(nn.Module):
    """``[B, C, context] → [B·C, context]`` (for a ``Sequence`` ``[B·C, context, 1]`` and a mask), and back.

    A channel is first standardised by its training rows, then each window by its own mean and spread (reversible
    instance normalisation, Kim et al. 2022), so that a level that drifts is no news to the network. All channels go
    through one network as if they were windows of their own (Nie et al. 2023). ``back`` undoes both.
    """

    centre: Tensor
    spread: Tensor
    LEAST = 1e-2  # of a window's spread, in units of the channel's: a flat window is not blown up

    def __init__(self, centre: NDArray[np.float32], spread: NDArray[np.float32], shape: Shape) -> None:
        super().__init__()
        self.register_buffer("centre", torch.from_numpy(centre)[:, None])
        self.register_buffer("spread", torch.from_numpy(spread)[:, None])
        self.shape = shape

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rows for the body, and the windows' own centre and spread ``[B, C, 1]`` in the data's units."""
        z = (x - self.centre) / self.spread
        level = z.mean(-1, keepdim=True)
        size = (z - level).square().mean(-1, keepdim=True).add(self.LEAST**2).sqrt()
        rows = ((z - level) / size).flatten(0, 1)
        return rows, level * self.spread + self.centre, size * self.spread


def fit_windows(windows: WindowShape, wanted: type, inputs: NDArray[Any]) -> Windows:
    """The preprocessing of windows ``[N, C, context]``, fitted on the given (training) ones."""
    rows = np.concatenate([inputs[:, :, 0], inputs[-1].T]).astype(np.float64)  # every row once, but the first few
    spread = rows.std(axis=0)
    shape: Shape = Sequence(windows.context, 1) if wanted is Sequence else Flat(windows.context)
    centre = rows.mean(axis=0).astype(np.float32)
    return Windows(centre, np.where(spread > 0, spread, 1.0).astype(np.float32), shape)


class Forecaster(nn.Module):
    """preprocess → body → head for every channel alike, ``[B, C, context] → [B, C, horizon]`` in the data's units."""

    def __init__(self, preprocess: Windows, body: nn.Module, features: int, horizon: int) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.body = body
        self.head = nn.Linear(features, horizon)

    def forward(self, x: Tensor) -> Tensor:
        rows, level, size = self.preprocess(x)
        if isinstance(self.preprocess.shape, Sequence):
            present = torch.ones_like(rows, dtype=torch.bool)
            h = self.body(rows.unsqueeze(-1), present)
        else:
            h = self.body(rows)
        forecast: Tensor = self.head(h)
        return forecast.view(*x.shape[:2], -1) * size + level
