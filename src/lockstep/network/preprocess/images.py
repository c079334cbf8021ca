"""Pixels to numbers."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.shapes import Flat, Grid


@dataclass(frozen=True)
class ImageShape:
    """``size`` of one image as it was given: ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)``."""

    size: tuple[int, ...]

    @property
    def flat(self) -> Flat:
        return Flat(prod(self.size))

    @property
    def channels_last(self) -> bool:
        """Whether the last of three axes holds the channels: the shorter of first and last does."""
        return len(self.size) == 3 and self.size[2] <= self.size[0]

    @property
    def grid(self) -> Grid:
        match self.size:
            case (height, width):
                return Grid(1, height, width)
            case (height, width, channels) if self.channels_last:
                return Grid(channels, height, width)
            case (channels, height, width):
                return Grid(channels, height, width)
        raise AssertionError(f"no image has the shape {self.size}")


class Pixels(nn.Module):
    """Images of any layout to ``shape``, ``[B, D]`` or ``[B, C, H, W]``: ``(x − centre)/spread``, one centre and spread
    for all pixels."""

    centre: Tensor
    spread: Tensor

    def __init__(self, centre: float, spread: float, images: ImageShape, shape: Flat | Grid) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("spread", torch.tensor(spread))
        self.images = images
        self.shape = shape

    def forward(self, pixels: Tensor) -> Tensor:
        z = (pixels.to(self.centre.dtype) - self.centre) / self.spread
        if isinstance(self.shape, Flat):
            return z.flatten(1)
        if z.dim() == 3:
            return z.unsqueeze(1)
        return z.movedim(3, 1) if self.images.channels_last else z


def fit_pixels(images: ImageShape, shape: Flat | Grid, pixels: NDArray[Any]) -> Pixels:
    """The preprocessing of images, fitted on the given (training) images; a sample of them settles two numbers."""
    sample = pixels[:: max(1, len(pixels) // 2000)].astype(np.float64)
    spread = float(sample.std())
    return Pixels(float(sample.mean()), spread if spread > 0 else 1.0, images, shape)
