"""A table whose rows follow one another in time, for forecasting: read, put in order, cut into windows and split."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lockstep.data.columns import check_finite
from lockstep.data.encoded import Encoded
from lockstep.data.raw import RawTable, listing
from lockstep.data.schema import Schema
from lockstep.data.splits import Fold, Splits
from lockstep.data.target import find_column
from lockstep.data.values import USUAL_MISSING, as_date, as_number, as_text, clean, date_formats, number_style
from lockstep.errors import DataError
from lockstep.findings import Finding, count_of
from lockstep.spec.data import DataSpec

Rows = NDArray[np.int64]

# Of what is measured this often (seconds), how many steps make the usual season: a day, a week, a year.
SEASONS = ((60.0, 60), (600.0, 144), (900.0, 96), (1800.0, 48), (3600.0, 24), (86_400.0, 7), (604_800.0, 52))
MONTH, YEAR = 28 * 86_400.0, 365 * 86_400.0


@dataclass(frozen=True, eq=False)
class Timeline:
    """``values`` ``[T, C]`` float64 of the columns ``names``, in order of ``times`` ``[T]`` (seconds, or row numbers).

    ``step`` is the usual one between two rows, ``period`` how many rows make the usual season (1: none known).
    ``clock`` says whether times are dates.
    """

    values: NDArray[np.float64]
    times: NDArray[np.float64]
    names: tuple[str, ...]
    step: float
    period: int
    clock: bool

    def __len__(self) -> int:
        return len(self.values)


def read_timeline(raw: RawTable, spec: DataSpec, names: tuple[str, ...] = ()) -> tuple[Timeline, list[Finding]]:
    """The rows of ``raw`` in order of time. ``names`` are the columns wanted, () all that hold numbers.

    The time column is ``data.time``, else the first column of dates, else the order of the rows. Gaps in a column are
    filled with the value before. Raises ``DataError`` for a time twice or missing, for columns without numbers, and for
    numbers that are infinite or enormous.
    """
    frame = raw.frame
    time = find_column(frame.columns, spec.time, "data.time") if spec.time else first_dates(frame, spec)
    times, clock = moments(frame, time, spec, raw.origin)
    order = np.argsort(times, kind="stable")
    findings = check_times(times[order], time, clock, raw.origin)
    wanted = names or tuple(name for name in frame.columns if name != time and name not in spec.drop)
    columns, taken = [], []
    for name in wanted:
        numbers = as_numbers(frame[find_column(frame.columns, name, "The target")], spec)
        if numbers is not None:
            check_finite(numbers, np.arange(len(numbers)), raw.origin)
            columns.append(numbers.to_numpy()[order])
            taken.append(name)
        elif names:
            empty = clean(frame[find_column(frame.columns, name, "The target")], (*USUAL_MISSING, *spec.missing))
            what = "is empty" if empty.null_count() == len(empty) else "holds words"
            raise DataError(f"A forecast needs numbers, however {name} of {raw.origin} {what}. Choose another.")
    if not taken:
        raise DataError(f"A forecast needs a column of numbers, however {raw.origin} has none: {listing(wanted)}.")
    values, filled = without_gaps(np.stack(columns, axis=1), taken)
    step = float(np.median(np.diff(times[order]))) if len(times) > 1 else 1.0
    period = season(step) if clock else 1
    ready = Timeline(values, times[order], tuple(taken), step, period, clock)
    return ready, [*findings, *filled]


def first_dates(frame: pl.DataFrame, spec: DataSpec) -> str | None:
    """The first column whose values are dates, as they are or by their spelling."""
    for name in frame.columns:
        values = clean(frame[name], (*USUAL_MISSING, *spec.missing))
        if values.dtype.is_temporal() or (values.dtype == pl.String and date_formats(as_text(values.drop_nulls()))):
            return name
    return None


def moments(frame: pl.DataFrame, time: str | None, spec: DataSpec, origin: str) -> tuple[NDArray[np.float64], bool]:
    """The time of each row, in seconds where it is a date, and whether it is one."""
    if time is None:
        return np.arange(frame.height, dtype=np.float64), False
    values = clean(frame[time], (*USUAL_MISSING, *spec.missing))
    numbers = None if values.dtype.is_temporal() else as_number(values)
    if numbers is not None and not numbers.null_count():
        return numbers.to_numpy(), False
    forms = date_formats(as_text(values.drop_nulls().head(1))) if values.dtype == pl.String else [None]
    tries = [as_date(values, form).cast(pl.Int64) for form in forms or [None]]
    read = min(tries, key=lambda tried: tried.null_count())
    if read.null_count():
        at = int(np.flatnonzero(read.is_null().to_numpy())[0])
        raise DataError(
            f"Every row of a forecast needs a time, however {time} of {origin} is {as_text(values)[at]!r} in row "
            f"{at + 1:,} ({read.null_count():,} rows in all). Mend these rows, or name another column with data.time."
        )
    return read.to_numpy() / 1e6, True


def as_numbers(series: pl.Series, spec: DataSpec) -> pl.Series | None:
    """The column as numbers, null where missing; None where it holds anything else."""
    values = clean(series, (*USUAL_MISSING, *spec.missing))
    if values.dtype.is_temporal():
        return None
    style = number_style(values.drop_nulls().unique()) if values.dtype == pl.String else "plain"
    numbers = as_number(values, style)
    return numbers if numbers.null_count() == values.null_count() < len(values) else None


def check_times(times: NDArray[np.float64], name: str | None, clock: bool, origin: str) -> list[Finding]:
    """Times in order: each once (an error if not), and evenly spaced (a finding if not)."""
    gaps = np.diff(times)
    if len(gaps) and (gaps == 0).any():
        where = f"of {name} in {origin}"
        again = count_of(len(np.unique(times[1:][gaps == 0])), f"time {where} stands", f"times {where} stand")
        raise DataError(
            f"Every time must stand once, however {again} more "
            "often. Several series belong in columns of their own, one row per time."
        )
    odd = int((np.abs(gaps - np.median(gaps)) > 0.01 * np.median(gaps)).sum()) if len(gaps) else 0
    if not odd or (clock and np.median(gaps) >= MONTH):  # months and years are not all of one length
        return []
    return [
        Finding(
            severity="warning", code="uneven-times", subject=str(name),
            what="The rows are not evenly spaced in time; a forecast counts rows and takes them as if they were.",
            evidence=f"{odd:,} of {len(gaps):,} steps {'differs' if odd == 1 else 'differ'} from the usual one",
            remedy="Put in the rows that are missing, with empty cells.",
        )
    ]  # fmt: skip


def without_gaps(values: NDArray[np.float64], names: list[str]) -> tuple[NDArray[np.float64], list[Finding]]:
    """Missing values filled with the last one before (at the start with the first one after)."""
    gaps = np.isnan(values).sum(axis=0)
    if not gaps.any():
        return values, []
    frame = pl.DataFrame({name: values[:, c] for c, name in enumerate(names)}).fill_nan(None)
    filled = frame.fill_null(strategy="forward").fill_null(strategy="backward").to_numpy()
    return filled, [
        Finding(
            severity="info", code="gaps-filled", subject=name,
            what=f"Missing values of {name} were filled with the value before them.",
            evidence=f"{int(count):,} of {len(values):,} rows", remedy="Fill them in the file if you know better.",
        )
        for name, count in zip(names, gaps, strict=True)
        if count
    ]  # fmt: skip


def season(step: float) -> int:
    """How many rows make the usual season of rows ``step`` seconds apart: a day of hours, a week of days, …"""
    if step >= MONTH:
        return max(1, round(YEAR / step))
    return next((period for seconds, period in SEASONS if abs(step - seconds) < 0.01 * seconds), 1)


def windows(values: NDArray[np.float32], context: int, horizon: int) -> Encoded:
    """Every window of ``context`` rows and the ``horizon`` rows after it, as views of ``values`` ``[T, C]``.

    Inputs ``[N, C, context]`` and target ``[N, C, horizon]`` share one memory: N windows cost no more than T rows.
    """
    if len(values) < context + horizon:
        return Encoded(
            (np.empty((0, values.shape[1], context), values.dtype),), np.empty((0, values.shape[1], horizon))
        )
    views = sliding_window_view(values, context + horizon, axis=0, writeable=True)
    return Encoded((views[..., :context],), views[..., context:])


def without_offsets(values: NDArray[np.float64], schema: Schema) -> NDArray[np.float32]:
    """``values`` ``[T, C]`` less each column's offset: far from zero, float32 would round its spread away."""
    return (values - [column.offset for column in schema.columns]).astype(np.float32)


def encode_timeline(raw: RawTable, schema: Schema, *, with_target: bool) -> Encoded:
    """The windows of ``raw`` that have something after them; without target, the one window that ends with it.

    Raises ``DataError`` where there are fewer rows than a window takes.
    """
    forecast = schema.forecast
    assert forecast is not None
    names = tuple(column.name for column in schema.columns)
    timeline, _ = read_timeline(raw, DataSpec(time=forecast.time, missing=schema.missing), names)
    needed = forecast.context + (forecast.horizon if with_target else 0)
    if len(timeline) < needed:
        raise DataError(
            f"A forecast needs the last {forecast.context:,} rows{' and what came after them' if with_target else ''}, "
            f"{needed:,} in all, however {raw.origin} has {len(timeline):,}. Give more rows before these."
        )
    values = without_offsets(timeline.values, schema)
    if with_target:
        return windows(values, forecast.context, forecast.horizon)
    return Encoded((values[-forecast.context :].T[None],), None)


def times_ahead(raw: RawTable, schema: Schema) -> pl.Series:
    """The times of the ``horizon`` rows after the last one of ``raw``; months and years go by the calendar."""
    forecast = schema.forecast
    assert forecast is not None
    timeline, _ = read_timeline(raw, DataSpec(time=forecast.time, missing=schema.missing), (schema.columns[0].name,))
    steps = np.arange(1, forecast.horizon + 1)
    name, last = forecast.time or "row", timeline.times[-1]
    if not forecast.clock:
        whole = float(forecast.step).is_integer() and float(last).is_integer()
        return pl.Series(name, (last + steps * forecast.step).astype(np.int64 if whole else np.float64))
    start = pl.Series(name, [round(last * 1e6)]).cast(pl.Datetime("us"))
    if forecast.step >= MONTH:
        months = round(forecast.step / (YEAR / 12))
        return pl.concat([start.dt.offset_by(f"{months * step}mo") for step in steps])
    return pl.Series(name, np.round((last + steps * forecast.step) * 1e6).astype(np.int64)).cast(pl.Datetime("us"))


def time_splits(
    rows: int, context: int, horizon: int, *, folds: int, valid_size: float, test_size: float, parts: tuple[int, ...]
) -> Splits:
    """Which windows train, validate and test: by the rows that they forecast, each part after the one before.

    ``parts`` are the rows of training, validation and test (what lies behind them is left alone), else the last
    ``test_size`` of the rows are for test, and before these the last ``valid_size`` for validation. A window belongs to
    the part in which all of its target lies, and may look back into the part before. ``folds`` > 1 chain forward.
    Raises ``DataError`` where a part holds no window, and where ``parts`` are more rows than there are.
    """
    if sum(parts) > rows:
        raise DataError(f"data.parts must be at most the {rows:,} rows of the table, however: {sum(parts):,} in all.")
    if parts:
        train_end, valid_end, end = (int(edge) for edge in np.cumsum(parts))
    else:
        end, valid_end = rows, rows - round(test_size * rows)
        train_end = valid_end - round(valid_size * valid_end)
    test = within(valid_end, end, context, horizon, rows)
    if folds == 1 or parts:
        pairs = [(train_end, valid_end)]
        how = f"validation: rows {train_end:,} to {valid_end:,}"
    else:
        edges = [round(valid_end * (block + 1) / (folds + 1)) for block in range(folds + 1)]
        pairs = list(pairwise(edges))
        how = f"{folds} folds by time, each trained on all rows before its own block (forward chaining)"
    made = tuple(
        Fold(within(0, start, context, horizon, rows), within(start, stop, context, horizon, rows))
        for start, stop in pairs
    )
    short = [part for fold in made for part in (fold.train, fold.valid) if len(part) == 0]
    if short or (valid_end < end and len(test) == 0):
        raise DataError(
            f"Each part needs room for a window of {context} rows and the {horizon} to forecast, however "
            f"{rows:,} rows in parts of {train_end:,}, {valid_end - train_end:,} and {end - valid_end:,} leave none. "
            "Lower data.horizon or data.context, or give more rows."
        )
    when = f"test: rows {valid_end:,} to {end:,}" if len(test) else "no test rows"
    return Splits(test, made, f"by time; {when}; {how}")


def within(start: int, stop: int, context: int, horizon: int, rows: int) -> Rows:
    """The windows whose target lies in rows ``start`` to ``stop``; window n forecasts rows n + context and on."""
    first = max(start - context, 0)
    last = min(stop, rows) - horizon - context
    return np.arange(first, last + 1, dtype=np.int64) if last >= first else np.array([], dtype=np.int64)


def naive(inputs: NDArray[Any], horizon: int, period: int = 1) -> NDArray[np.float64]:
    """The naive forecast ``[N, C, horizon]`` of windows ``[N, C, context]``: the last ``period`` values, repeated."""
    season = inputs[..., -period:]
    repeats = -(-horizon // period)
    return np.asarray(np.tile(season, (1, 1, repeats))[..., :horizon], dtype=np.float64)
