"""Rows as small pictures for the report."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lockstep.data.schema import Column

WIDTH, HEIGHT = 240, 120
MOST_LINES, MOST_ROWS = 3, 60  # channels that are told apart as lines; as rows of a picture
BLUE, PLAIN, ORANGE = np.array([30.0, 75, 190]), np.array([246.0, 244, 240]), np.array([205.0, 100, 0])


def png(image: NDArray[Any]) -> str:
    """An image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` as a data URI; anything but bytes is stretched to 0 … 255."""
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = np.moveaxis(image, 0, 2)
    image = image[..., 0] if image.ndim == 3 and image.shape[2] != 3 else image
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) / (high - low or 1) * 255).astype(np.uint8)
    return _uri(image)


def _uri(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def series(x: NDArray[np.float64], columns: Sequence[Column]) -> str:
    """A series ``[T, C]`` as a data URI: lines of a few channels, a heat map of many; ``legend`` says how to read it.

    ``columns`` are the C channels as they were in training.
    """
    if x.shape[1] <= MOST_LINES:
        return strokes(x)
    mean, spread = (np.array([getattr(column, name) or 0.0 for column in columns]) for name in ("mean", "std"))
    return heat((x - mean) / np.where(spread > 0, spread, 1.0))


def legend(channels: int) -> str:
    """What a picture of a series of so many channels shows."""
    if channels <= MOST_LINES:
        return f"Lines are {'the channel' if channels == 1 else f'the {channels} channels, each'} over its own range."
    which = f"a row each for the {channels} channels"
    if channels > MOST_ROWS:
        which = f"a row each for the first {MOST_ROWS} of {channels} channels"
    return f"Pictures have {which}, from left to right the steps; blue is below the channel's mean, orange above it."


def heat(z_TC: NDArray[np.float64]) -> str:
    """Channels ``[T, C]`` in units of their spread as a data URI: rows are the channels (the first sixty), blue is
    below 0, orange above, at full colour from 2.5 on, and clear is missing. Long series are averaged into columns."""
    z_TC = z_TC if len(z_TC) else np.full((1, z_TC.shape[1]), np.nan)  # a series without any step
    z = _pooled(z_TC[:, :MOST_ROWS].T, WIDTH)
    strength = np.clip(np.nan_to_num(z) / 2.5, -1, 1)[..., None]
    colours = np.where(strength < 0, PLAIN + strength * (PLAIN - BLUE), PLAIN + strength * (ORANGE - PLAIN))
    pixels = np.concatenate([colours, 255.0 * np.isfinite(z)[..., None]], axis=2).round().astype(np.uint8)
    high, wide = (max(1, most // size) for most, size in zip((HEIGHT, WIDTH), z.shape, strict=True))
    return _uri(pixels.repeat(high, axis=0).repeat(wide, axis=1))


def _pooled(z_CT: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """At most so many columns, each the mean of the values that are there in its share of the steps."""
    steps = z_CT.shape[1]
    if steps <= most:
        return z_CT
    starts = np.arange(most) * steps // most
    there = np.isfinite(z_CT)
    counts = np.add.reduceat(there.astype(np.float64), starts, axis=1)
    sums = np.add.reduceat(np.where(there, z_CT, 0.0), starts, axis=1)
    pooled: NDArray[np.float64] = np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return pooled


def strokes(x: NDArray[np.float64]) -> str:
    """A series ``[T, C]`` as a data URI: a line per channel, each over its own range."""
    lines = []
    shown = x.shape[1]
    for channel in range(shown):
        values = x[:, channel]
        there = np.flatnonzero(~np.isnan(values))
        if not len(there):
            continue
        low, high = values[there].min(), values[there].max()
        across = 4 + (WIDTH - 8) * there / max(len(values) - 1, 1)
        up = HEIGHT - 6 - (HEIGHT - 12) * ((values[there] - low) / (high - low) if high > low else 0.5 + 0 * there)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
        hue = 210 + 360 * channel // shown
        lines.append(f'<polyline points="{points}" fill="none" stroke="hsl({hue} 60% 50%)" stroke-width="1.5"/>')
    picture = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(lines)}</svg>'
    return "data:image/svg+xml;base64," + base64.b64encode(picture.encode()).decode()
