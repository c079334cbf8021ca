"""What series hold, channel by channel, and the arrays a network takes."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.columns import ENORMOUS, measured
from lockstep.data.raw import RawSeries, Rows, with_steps
from lockstep.data.schema import Column, Schema
from lockstep.errors import DataError
from lockstep.findings import Finding, count_of


def understand_channels(x: NDArray[np.float64], lengths: Rows, rows: Rows, origin: str) -> list[Column]:
    """A number column for each channel of the series [N, T, C], its steps up to each series' end taken together."""
    check_finite(x, rows, origin)
    there = np.arange(x.shape[1]) < lengths[:, None]
    columns = []
    for channel in range(x.shape[2]):
        values = pl.Series(x[:, :, channel][there]).fill_nan(None)
        facts: dict[str, Any] = {"name": f"channel {channel}", "kind": "number", "missing": values.null_count()}
        if values.null_count() == len(values):
            columns.append(Column(**facts | {"kind": "constant", "used": False, "why": "is empty"}))
        else:
            columns.append(_plain(measured(values, facts)))
    return columns


def _plain(column: Column) -> Column:
    why = column.why.replace("in every row", "at every step")
    return column.model_copy(update={"why": why, "examples": ()})


def check_finite(x: NDArray[np.float64], rows: Rows, origin: str) -> None:
    """Raise ``DataError`` at the first infinite or enormous (beyond 1e18) value, with its place."""
    with np.errstate(invalid="ignore"):
        bad = np.abs(x) > ENORMOUS
    if not bad.any():
        return
    row, step, channel = (int(place[0]) for place in np.nonzero(bad))
    raise DataError(
        f"Values of a series must be finite and at most 1e18 in size, however series {rows[row] + 1:,} of {origin} has "
        f"{x[row, step, channel]:g} at step {step + 1:,} of channel {channel} ({bad.sum():,} such values in all). "
        "Mend it, or write it as missing (NaN, in a .ts file ?)."
    )


def encode_series(raw: RawSeries, schema: Schema) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Values float32 [N, T, C] of the channels used, NaN where missing and behind the end, and lengths int64 [N].

    ``T`` is the longest series of training: what is longer is cut at its end. Raises ``DataError`` for another number
    of channels.
    """
    if raw.x.shape[2] != len(schema.columns):
        raise DataError(
            f"Series must have the {len(schema.columns)} channels of those in training, however {raw.origin} has "
            f"{raw.x.shape[2]}."
        )
    check_finite(raw.x, np.arange(len(raw)), raw.origin)
    used = [place for place, column in enumerate(schema.columns) if column.used]
    offsets = np.array([schema.columns[place].offset for place in used])
    scales = np.array([schema.columns[place].scale for place in used])
    x = with_steps(raw.x[:, :, used], schema.steps)
    # The offset goes in float64: afterwards there would be nothing left of the spread.
    return ((x - offsets) * scales).astype(np.float32), np.clip(raw.lengths, 1, schema.steps)


def cut_series(raw: RawSeries, schema: Schema) -> list[Finding]:
    """A finding where some series are longer than the longest of training, so that their end is cut off."""
    longer = int((raw.lengths > schema.steps).sum())
    if not longer:
        return []
    return [
        Finding(
            severity="warning" if longer > 0.05 * len(raw) else "info", code="series-cut", subject=raw.origin,
            what="Series longer than the longest of training are cut at their end.",
            evidence=f"{longer:,} of the {len(raw):,} in {raw.origin}: more than {schema.steps:,} steps, "
            f"up to {raw.lengths.max():,}",
            remedy="If the end says much, train on longer series too.",
        )
    ]  # fmt: skip


def empty_series(lengths: Rows, origin: str) -> list[Finding]:
    empty = int((lengths == 0).sum())
    if not empty:
        return []
    return [
        Finding(
            severity="warning", code="empty-series", subject=origin,
            what=f"{count_of(empty, 'series has', 'series have')} no step; taken for one step that is missing.",
            evidence=f"{empty:,} of {len(lengths):,} rows", remedy="Leave them out if they say nothing.",
        )
    ]  # fmt: skip
