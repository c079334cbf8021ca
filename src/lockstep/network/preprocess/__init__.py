"""Preprocessing as a part of the network: raw columns, pixels, series or text to numbers.

What it knows of the data are buffers, fitted on the training rows of the member's own fold: nothing leaks, it stacks as
any other buffer, and it travels with the weights, so that a network eats raw rows.
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from lockstep.network import shapes
from lockstep.network.preprocess.columns import ColumnTokens, fit_columns
from lockstep.network.preprocess.images import ImageShape, Pixels, fit_pixels
from lockstep.network.preprocess.series import SeriesShape, Steps, fit_steps
from lockstep.network.preprocess.table import Table, TableShape, fit_table
from lockstep.network.preprocess.tokens import TextShape, Tokens, fit_tokens
from lockstep.network.preprocess.windows import Windows, WindowShape, fit_windows
from lockstep.network.shapes import Flat, Grid, Wants
from lockstep.spec import Preprocess
from lockstep.spec.data import Kind

DataShape = TableShape | ImageShape | SeriesShape | TextShape | WindowShape
Fitted = Table | ColumnTokens | Pixels | Steps | Tokens | Windows


def kind_of(data: DataShape) -> Kind:
    match data:
        case TableShape():
            return "table"
        case ImageShape():
            return "images"
        case SeriesShape():
            return "series"
        case TextShape():
            return "text"
        case WindowShape():
            return "forecast"


def fit_preprocess(spec: Preprocess, data: DataShape, wanted: Wants, inputs: Sequence[NDArray[Any]]) -> Fitted:
    """The preprocessing that makes ``wanted`` of data of this shape, fitted on the given (training) rows.

    The module's ``shape`` says what it makes.
    """
    match data, wanted:
        case TableShape(), _ if wanted is Flat:
            numbers, codes = inputs
            return fit_table(spec, data, numbers, codes)
        case TableShape(), _ if wanted is shapes.Sequence:
            numbers, codes = inputs
            return fit_columns(spec, data, numbers, codes)
        case ImageShape(), _ if wanted in (Flat, Grid):
            (pixels,) = inputs
            return fit_pixels(data, data.flat if wanted is Flat else data.grid, pixels)
        case SeriesShape(), _ if wanted in (Flat, shapes.Sequence):
            values, lengths = inputs
            return fit_steps(data, data.flat if wanted is Flat else data.sequence, values, lengths)
        case TextShape(), _ if wanted in (Flat, shapes.Sequence):
            size = spec.token_size
            return fit_tokens(data, size, data.flat(size) if wanted is Flat else data.sequence(size), inputs[0])
        case WindowShape(), _ if wanted in (Flat, shapes.Sequence):
            return fit_windows(data.flat if wanted is Flat else data.sequence, inputs[0])
    raise AssertionError(f"no preprocessing from {data!r} to {wanted}")


__all__ = [
    "DataShape",
    "Fitted",
    "ImageShape",
    "SeriesShape",
    "TableShape",
    "TextShape",
    "WindowShape",
    "fit_preprocess",
    "kind_of",
]
