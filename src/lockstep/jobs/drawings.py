"""Rows as small pictures for the report."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 240, 120
MOST_CHANNELS = 12


def png(image: NDArray[Any]) -> str:
    """An image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` as a data URI; anything but bytes is stretched to 0 … 255."""
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = np.moveaxis(image, 0, 2)
    image = image[..., 0] if image.ndim == 3 and image.shape[2] != 3 else image
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) / (high - low or 1) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def strokes(x: NDArray[np.float64]) -> str:
    """A series ``[T, C]`` as a data URI: a line per channel (the first twelve), each over its own range."""
    lines = []
    shown = min(x.shape[1], MOST_CHANNELS)
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
