"""Preprocessing as a part of the network: raw columns, pixels, series or text to numbers.

What it knows of the data are buffers, fitted on the training rows of the member's own fold: nothing leaks, it stacks as
any other buffer, and it travels with the weights, so that a network eats raw rows.
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from lockstep.network.preprocess.images import ImageShape, Pixels, fit_pixels
from lockstep.network.preprocess.table import Table, TableShape, fit_table
from lockstep.network.shapes import Flat, Wants
from lockstep.spec import Preprocess
from lockstep.spec.data import Kind

DataShape = TableShape | ImageShape
Fitted = Table | Pixels


def kind_of(data: DataShape) -> Kind:
    return "table" if isinstance(data, TableShape) else "images"


def fit_preprocess(spec: Preprocess, data: DataShape, wanted: Wants, inputs: Sequence[NDArray[Any]]) -> Fitted:
    """The preprocessing that makes ``wanted`` of data of this shape, fitted on the given (training) rows.

    The module's ``shape`` says what it makes.
    """
    match data, wanted:
        case TableShape(), _ if wanted is Flat:
            numbers, codes = inputs
            return fit_table(spec, data, numbers, codes)
        case ImageShape(), _ if wanted is Flat:
            (pixels,) = inputs
            return fit_pixels(data, pixels)
    raise AssertionError(f"no preprocessing from {data!r} to {wanted}")


__all__ = ["DataShape", "Fitted", "ImageShape", "Pixels", "Table", "TableShape", "fit_preprocess", "kind_of"]
