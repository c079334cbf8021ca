"""Series to numbers: each channel standardised over the steps that are there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.shapes import Flat, Sequence


@dataclass(frozen=True, eq=False)
class SeriesShape:
    """Series of up to ``length`` steps of ``channels`` numbers; ``gaps`` are the channels that get a missing flag."""

    length: int
    channels: int
    gaps: NDArray[np.int64]

    @property
    def sequence(self) -> Sequence:
        return Sequence(self.length, self.channels + len(self.gaps))

    @property
    def flat(self) -> Flat:
        return Flat(self.sequence.length * self.sequence.width)


class Steps(nn.Module):
    """Series ``values`` ``[B, T, C]`` (NaN: missing, or behind the end) of ``lengths`` ``[B]`` steps.

    Each channel is ``(x − centre)/spread``, 0 where missing; each of ``gaps`` gets one more channel that says where
    that is. To a ``Sequence``: ``[B, T, C + G]``, 0 behind the end, and the mask ``[B, T]`` of the steps that are
    there. To ``Flat``: the same as ``[B, T·(C + G)]``.
    """

    centre: Tensor
    spread: Tensor
    gaps: Tensor

    def __init__(
        self, centre: NDArray[np.float32], spread: NDArray[np.float32], gaps: NDArray[np.int64], shape: Flat | Sequence
    ) -> None:
        super().__init__()
        self.register_buffer("centre", torch.from_numpy(centre))
        self.register_buffer("spread", torch.from_numpy(spread))
        self.register_buffer("gaps", torch.from_numpy(gaps))
        self.shape = shape

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        z = torch.nan_to_num((values - self.centre) / self.spread, nan=0.0)
        flags = values.index_select(2, self.gaps).isnan().to(values.dtype)
        mask = torch.arange(values.shape[1], device=values.device) < lengths.unsqueeze(1)
        x = torch.cat([z, flags], dim=2) * mask.unsqueeze(2)
        return x.flatten(1) if isinstance(self.shape, Flat) else (x, mask)


def fit_steps(series: SeriesShape, shape: Flat | Sequence, values: NDArray[Any], lengths: NDArray[np.int64]) -> Steps:
    """The preprocessing of series, fitted on the given (training) rows."""
    there = (np.arange(values.shape[1]) < lengths[:, None])[:, :, None] & ~np.isnan(values)
    x = np.where(there, values, 0).astype(np.float64)
    count = np.maximum(there.sum((0, 1)), 1)
    centre = x.sum((0, 1)) / count
    spread = np.sqrt((np.where(there, x - centre, 0) ** 2).sum((0, 1)) / count)
    spread = np.where(spread > 0, spread, 1.0)
    return Steps(centre.astype(np.float32), spread.astype(np.float32), series.gaps, shape)
