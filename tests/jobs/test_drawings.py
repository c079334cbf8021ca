"""Pictures of series: each value is where a reader looks for it, whatever is missing."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from lockstep.data.schema import Column
from lockstep.jobs import drawings

Rng = np.random.Generator


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng()


def pixels(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))).astype(int)


def channels(x: np.ndarray) -> list[Column]:
    return [Column(name=f"channel {c}", kind="number", mean=v.mean(), std=v.std()) for c, v in enumerate(x.T)]


def test_many_channels_are_rows_of_a_heat_map_blue_below_their_mean_and_orange_above(rng: Rng) -> None:
    steps, count = int(rng.integers(2, 40)), int(rng.integers(4, 30))
    x = rng.normal(size=(steps, count)) * 10.0 ** rng.integers(-3, 4, count) + rng.normal(0, 1e3, count)
    columns = channels(x)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    gone = rng.random(x.shape) < 0.2
    picture = pixels(drawings.series(np.where(gone, np.nan, x), columns))
    high, wide = picture.shape[0] // count, picture.shape[1] // steps
    assert picture.shape == (high * count, wide * steps, 4)
    cells = picture[high // 2 :: high, wide // 2 :: wide]
    red, _, blue, there = np.moveaxis(cells.transpose(1, 0, 2), 2, 0)
    np.testing.assert_array_equal(there == 0, gone)
    clear = ~gone & (np.abs(z) > 0.2)
    np.testing.assert_array_equal((red > blue)[clear], (z > 0)[clear])


def test_a_few_channels_are_a_line_each(rng: Rng) -> None:
    count = int(rng.integers(1, drawings.MOST_LINES + 1))
    x = rng.normal(size=(9, count))
    uri = drawings.series(x, channels(x))
    assert base64.b64decode(uri.partition(",")[2]).count(b"<polyline") == count
    assert "Lines are" in drawings.legend(count)


def test_a_long_series_is_averaged_over_what_is_there(rng: Rng) -> None:
    z = rng.normal(size=(1, drawings.WIDTH * 3))
    z[rng.random(z.shape) < 0.3] = np.nan
    z[0, :3] = np.nan
    pooled = drawings._pooled(z, drawings.WIDTH)
    wanted = [np.nan if np.isnan(part).all() else np.nanmean(part) for part in z.reshape(-1, 3)]
    np.testing.assert_allclose(pooled[0], wanted)
    assert pixels(drawings.heat(np.tile(z.T, (1, 5)))).shape[1] == drawings.WIDTH


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("count", [1, 12, 200])
def test_a_series_that_says_next_to_nothing_is_drawn_all_the_same(steps: int, count: int) -> None:
    blank = [Column(name="c", kind="constant", used=False)] * count
    uri = drawings.series(np.full((steps, count), np.nan), blank)
    assert uri.startswith("data:image/")
    assert ("first 60 of 200" in drawings.legend(count)) == (count == 200)
