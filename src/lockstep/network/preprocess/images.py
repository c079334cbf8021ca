"""Pixels to numbers."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.shapes import Flat


@dataclass(frozen=True)
class ImageShape:
    """``size`` of one image as it was given: ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)``."""

    size: tuple[int, ...]


class Pixels(nn.Module):
    """Images of any layout to ``[B, D]``: ``(x − centre)/spread``, one centre and spread for all pixels."""

    centre: Tensor
    spread: Tensor

    def __init__(self, centre: float, spread: float, shape: Flat) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("spread", torch.tensor(spread))
        self.shape = shape

    def forward(self, pixels: Tensor) -> Tensor:
        return ((pixels.to(self.centre.dtype) - self.centre) / self.spread).flatten(1)


def fit_pixels(images: ImageShape, pixels: NDArray[Any]) -> Pixels:
    """The preprocessing of images, fitted on the given (training) images; a sample of them settles two numbers."""
    sample = pixels[:: max(1, len(pixels) // 2000)].astype(np.float64)
    spread = float(sample.std())
    return Pixels(float(sample.mean()), spread if spread > 0 else 1.0, Flat(prod(images.size)))
