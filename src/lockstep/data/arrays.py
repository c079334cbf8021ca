"""Arrays to what they are: a table, images or series."""

from typing import Any

import polars as pl
from numpy.typing import NDArray

from lockstep.data.frames import as_array, column_of, from_frame, one_target
from lockstep.data.raw import Raw, RawArrays, hash_arrays
from lockstep.data.series import series_of_array
from lockstep.errors import DataError
from lockstep.spec.data import DataSpec


def from_arrays(x: NDArray[Any], y: Any, origin: str, spec: DataSpec, lengths: Any = None) -> Raw:
    """2-D ``x`` as a table with columns x0, x1, …; 3-D and 4-D ``x`` as images.

    As series [N, T, C] or [N, T] where there are ``lengths`` or ``data.kind`` says so.
    """
    if spec.kind == "series" or lengths is not None:
        return series_of_array(x, y, origin, lengths)
    if x.ndim in (3, 4):
        labels = None if y is None else one_target(as_array(y))
        return _images(x, labels, origin)
    if x.ndim != 2:
        remedy = " A single column is x.reshape(-1, 1)." if x.ndim == 1 else ""
        raise DataError(
            f"x must be a table [N, D] or images [N, H, W], [N, H, W, C] or [N, C, H, W], "
            f"however its shape is {list(x.shape)}.{remedy}"
        )
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise DataError(f"x must have rows and columns, however its shape is {list(x.shape)}.")
    frame = pl.DataFrame([column_of(f"x{index}", x[:, index]) for index in range(x.shape[1])])
    return from_frame(frame, y, origin, spec.target, named=False)


def _images(x: NDArray[Any], y: NDArray[Any] | None, origin: str) -> RawArrays:
    if 0 in x.shape:
        raise DataError(f"x must hold images, however its shape is {list(x.shape)}.")
    if x.dtype.kind not in "biuf":
        raise DataError(f"Images must be numbers, however they are {x.dtype}.")
    if y is not None and len(x) != len(y):
        raise DataError(f"x and y must have as many rows, however x has {len(x):,} and y has {len(y):,}.")
    return RawArrays(x, y, origin, hash_arrays(x, y))
