"""Images, series and text on their way into a network: shapes, masks, and one fold's rows alone."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from lockstep.network import shapes
from lockstep.network.preprocess.images import ImageShape, fit_pixels
from lockstep.network.preprocess.series import SeriesShape, fit_steps

Rng = np.random.Generator


def fused(parts: Sequence[nn.Module], *inputs: Tensor) -> list[tuple[Tensor, ...]]:
    """What the stacked parts give, each one's apart."""
    params, buffers = stack_module_state(list(parts))  # type: ignore[arg-type]

    def call(p: dict[str, Tensor], b: dict[str, Tensor]) -> tuple[Tensor, ...]:
        out = functional_call(parts[0], (p, b), inputs)
        return out if isinstance(out, tuple) else (out,)

    return list(zip(*vmap(call)(params, buffers), strict=True))


@pytest.mark.parametrize(
    ("size", "axes", "grid"),
    [
        ((5, 7), None, (1, 5, 7)),
        ((5, 7, 3), (0, 3, 1, 2), (3, 5, 7)),
        ((3, 5, 7), (0, 1, 2, 3), (3, 5, 7)),
        ((1, 28, 28), (0, 1, 2, 3), (1, 28, 28)),
        ((4, 4, 4), (0, 3, 1, 2), (4, 4, 4)),
    ],
)
def test_pixels_of_any_layout_become_channels_height_width(
    rng: Rng, size: tuple[int, ...], axes: tuple[int, ...] | None, grid: tuple[int, int, int]
) -> None:
    images = rng.integers(0, 256, (20, *size)).astype(np.uint8)
    data = ImageShape(size)
    pixels = fit_pixels(data, data.grid, images)
    assert pixels.shape == shapes.Grid(*grid)
    z = (images.astype(np.float64) - images.mean()) / images.std()
    expected = z[:, None] if axes is None else z.transpose(axes)
    np.testing.assert_allclose(pixels(torch.from_numpy(images)), expected, atol=1e-5)


def some_series(rng: Rng, rows: int = 30, steps: int = 7) -> tuple[np.ndarray, np.ndarray, SeriesShape]:
    """Series of two channels, the second of which has gaps."""
    lengths = rng.integers(1, steps + 1, rows)
    lengths[0] = steps
    values = (rng.normal(size=(rows, steps, 2)) * [3, 0.1] + [5, -2]).astype(np.float32)
    values[:, :, 1][rng.random((rows, steps)) < 0.2] = np.nan
    values[np.arange(steps) >= lengths[:, None]] = np.nan
    return values, lengths.astype(np.int64), SeriesShape(steps, 2, np.array([1]))


def test_series_are_standardised_over_the_steps_that_are_there_and_zero_elsewhere(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    part = fit_steps(data, data.sequence, values, lengths)
    x, mask = part(torch.from_numpy(values), torch.from_numpy(lengths))
    assert part.shape == shapes.Sequence(7, 3)
    assert x.shape == (30, 7, 3)
    assert mask.dtype == torch.bool
    np.testing.assert_array_equal(mask.sum(1), lengths)
    missing = torch.from_numpy(np.isnan(values))
    for channel in range(2):
        there = x[..., channel][~missing[..., channel]].double()
        assert abs(float(there.mean())) < 1e-4
        assert abs(float(there.std(correction=0)) - 1) < 1e-4
    assert (x[..., :2][missing] == 0).all()
    assert torch.equal(x[..., 2].bool(), missing[..., 1] & mask)


def test_flat_series_are_the_sequence_laid_flat(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    inputs = torch.from_numpy(values), torch.from_numpy(lengths)
    flat = fit_steps(data, data.flat, values, lengths)
    assert flat.shape == shapes.Flat(21)
    assert torch.equal(flat(*inputs), fit_steps(data, data.sequence, values, lengths)(*inputs)[0].flatten(1))


def test_what_stands_behind_the_end_of_a_series_says_nothing(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    there = np.arange(7) < lengths[:, None]
    other = np.where(there[..., None], values, 1e9).astype(np.float32)
    first, second = (
        fit_steps(data, data.sequence, x, lengths)(torch.from_numpy(x), torch.from_numpy(lengths))
        for x in (values, other)
    )
    torch.testing.assert_close(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_channel_that_a_folds_rows_lack_or_hold_constant_is_zero(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    values[:, :, 0], values[:, :, 1] = np.nan, 3.0
    x, _ = fit_steps(data, data.sequence, values, lengths)(torch.from_numpy(values), torch.from_numpy(lengths))
    assert (x[..., :2] == 0).all()


def test_series_of_a_stack_equal_each_members_alone(rng: Rng) -> None:
    values, lengths, data = some_series(rng)
    parts = [fit_steps(data, data.sequence, values[k::3], lengths[k::3]) for k in range(3)]
    inputs = torch.from_numpy(values), torch.from_numpy(lengths)
    for part, (x, mask) in zip(parts, fused(parts, *inputs), strict=True):
        alone = part(*inputs)
        torch.testing.assert_close(x, alone[0])
        assert torch.equal(mask, alone[1])
