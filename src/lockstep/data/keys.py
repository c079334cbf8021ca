"""What rows are split by: the group or the time of each, taken from the columns that the user names."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.raw import Raw, RawTable
from lockstep.data.target import find_column
from lockstep.data.values import USUAL_MISSING, as_date, as_number, as_text, clean, date_formats, number_style
from lockstep.errors import DataError
from lockstep.spec.data import DataSpec


def split_keys(raw: Raw, spec: DataSpec) -> tuple[NDArray[Any] | None, NDArray[np.float64] | None]:
    """The group (text, None where missing) and the time (a number) of each row, for ``make_splits``; None if not named.

    Raises ``DataError`` where the column is absent, or a time is missing or is neither number nor date.
    """
    if spec.group is None and spec.time is None:
        return None, None
    if not isinstance(raw, RawTable):
        raise DataError(
            f"Only a table has columns to split by, however data.group or data.time names one for {raw.origin}. "
            "Unset it."
        )
    missing = (*USUAL_MISSING, *spec.missing)
    groups = times = None
    if spec.group is not None:
        name = find_column(raw.frame.columns, spec.group, "data.group")
        groups = np.array(as_text(clean(raw.frame[name], missing)).to_list(), dtype=object)
    if spec.time is not None:
        name = find_column(raw.frame.columns, spec.time, "data.time")
        times = _times(clean(raw.frame[name], missing), raw.origin)
    return groups, times


def _times(values: pl.Series, origin: str) -> NDArray[np.float64]:
    if values.dtype in (pl.Date, pl.Datetime):
        read = as_date(values, None).cast(pl.Int64)
    else:
        style = number_style(values.drop_nulls().unique()) if values.dtype == pl.String else "plain"
        read = as_number(values, style)
        if read.null_count() > values.null_count():
            form = next(iter(date_formats(as_text(values))), None)
            read = as_date(values, form).cast(pl.Int64)
    if read.null_count():
        at = int(np.flatnonzero(read.is_null().to_numpy())[0])
        spelled = as_text(values)[at]
        raise DataError(
            f"Every row needs a time to be split by, however {values.name} of {origin} is "
            f"{'missing' if spelled is None else repr(spelled)} in row {at + 1:,} "
            f"({read.null_count():,} rows in all). Mend these rows, or unset data.time."
        )
    return read.cast(pl.Float64).to_numpy()
