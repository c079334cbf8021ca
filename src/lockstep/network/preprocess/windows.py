"""Windows of series to forecast: each one standardised by itself, each channel a row of its own."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.shapes import Flat, Sequence


@dataclass(frozen=True)
class WindowShape:
    """Windows of ``context`` rows of ``channels`` columns, after which ``horizon`` rows are forecast."""

    channels: int
    context: int
    horizon: int

    @property
    def flat(self) -> Flat:
        return Flat(self.context)

    @property
    def sequence(self) -> Sequence:
        return Sequence(self.context, 1)


class Windows(nn.Module):
    """``[B, C, context]`` to rows ``[B·C, context]`` (for a ``Sequence`` ``[B·C, context, 1]``), and what undoes it.

    A channel is first standardised by its training rows, then each window by its own mean and spread (reversible
    instance normalisation, Kim et al. 2022), so that a level that drifts is no news to the network. Every channel goes
    through the network as a row of its own (Nie et al. 2023). Beside the rows come each window's centre and spread
    ``[B, C, 1]`` in the data's units.
    """

    centre: Tensor
    spread: Tensor
    LEAST = 1e-2  # of a window's spread, in units of the channel's: a flat window is not blown up

    def __init__(self, centre: NDArray[np.float32], spread: NDArray[np.float32], shape: Flat | Sequence) -> None:
        super().__init__()
        self.register_buffer("centre", torch.from_numpy(centre)[:, None])
        self.register_buffer("spread", torch.from_numpy(spread)[:, None])
        self.shape = shape

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = (x - self.centre) / self.spread
        level = z.mean(-1, keepdim=True)
        size = (z - level).square().mean(-1, keepdim=True).add(self.LEAST**2).sqrt()
        rows = ((z - level) / size).flatten(0, 1)
        if isinstance(self.shape, Sequence):
            rows = rows.unsqueeze(-1)
        return rows, level * self.spread + self.centre, size * self.spread


class PerChannel(nn.Module):
    """A body for rows, with what belongs to their windows handed on."""

    def __init__(self, body: nn.Module, shape: Flat | Sequence) -> None:
        super().__init__()
        self.body = body
        self.masked = isinstance(shape, Sequence)

    def forward(self, rows: Tensor, centre: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        present = (torch.ones_like(rows[..., 0], dtype=torch.bool),) if self.masked else ()
        return self.body(rows, *present), centre, spread


class Horizon(nn.Module):
    """The next ``horizon`` values of every channel, ``[B·C, H] → [B, C, horizon]`` in the data's units."""

    def __init__(self, features: int, horizon: int) -> None:
        super().__init__()
        self.output = nn.Linear(features, horizon)

    def forward(self, h: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
        return self.output(h).view(*centre.shape[:2], -1) * spread + centre  # type: ignore[no-any-return]


def fit_windows(shape: Flat | Sequence, inputs: NDArray[Any]) -> Windows:
    """The preprocessing of windows ``[N, C, context]``, fitted on the given (training) ones."""
    rows = np.concatenate([inputs[:, :, 0], inputs[-1].T]).astype(np.float64)  # windows that follow one another
    spread = rows.std(axis=0)
    return Windows(rows.mean(axis=0).astype(np.float32), np.where(spread > 0, spread, 1.0).astype(np.float32), shape)
