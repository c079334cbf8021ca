"""The target: which column, which task, which classes."""

import difflib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.columns import check_finite, sorted_labels
from lockstep.data.raw import listing
from lockstep.data.schema import Column, LabelType
from lockstep.data.text import is_number
from lockstep.data.values import as_number, as_text, number_style
from lockstep.errors import DataError
from lockstep.spec.data import Task

# Whole numbers with at most so many different values are classes.
FEW_CLASSES = 20


@dataclass(frozen=True)
class Target:
    """The task, the classes with their rows, the type that labels had, and the target as a column."""

    task: Task
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    label_type: LabelType
    column: Column


def find_column(columns: list[str], name: str, what: str) -> str:
    """The column called ``name``, or at that position (from 0, or from the end if negative)."""
    if name in columns:
        return name
    try:
        position = int(name)
    except ValueError:
        position = len(columns)
    if -len(columns) <= position < len(columns):
        return columns[position]
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    near = near or [column for column in columns if column.lower() == name.lower()]
    hint = f"Did you mean {near[0]}? " if near else ""
    headless = " The names look like values: if there is no line of names, give --no-header."
    numeric = headless if sum(map(is_number, columns)) > len(columns) / 2 else ""
    raise DataError(
        f"{what} must name a column, however there is no {name}. {hint}Columns: {listing(columns, 30)}.{numeric}"
    )


def understand_target(
    values: pl.Series, task: Task | None, rows: NDArray[np.int64], origin: str, *, most_classes: int = FEW_CLASSES
) -> Target:
    """Task and classes from the cleaned, present ``values`` [N] of the target, which are ``rows`` of the source.

    Up to ``most_classes`` different whole numbers are classes if they recur.
    """
    name = values.name
    if values.dtype.is_nested() or values.dtype in (pl.Object, pl.Binary):
        raise DataError(f"The target {name} must be a number or a label in each row, however it holds {values.dtype}.")
    if values.dtype.is_temporal():
        raise DataError(f"The target {name} must be a number or a label, however it holds dates or times.")
    numbers = _numbers(values)
    whole = numbers is not None and bool((numbers == numbers.round()).all())
    distinct = as_text(values).n_unique() if numbers is None else numbers.n_unique()
    if task is None:
        few = distinct <= min(most_classes, max(2, len(values) // 2))
        task = _guess_task(values, numbers, whole and few, distinct, rows, origin)
    if distinct == 1:
        raise DataError(
            f"The target must differ between rows, however {name} is {as_text(values)[0]} in all {len(values):,}."
        )
    if task == "regression":
        return _regression(values, numbers, rows, origin)
    return _classes(values, numbers, whole, task)


def _numbers(values: pl.Series) -> pl.Series | None:
    """The target as Float64 where every value is a number (not true or false), else None."""
    if values.dtype == pl.Boolean:
        return None
    numbers = as_number(values, number_style(values.unique()) if values.dtype == pl.String else "plain")
    return None if numbers.null_count() else numbers


def _guess_task(
    values: pl.Series, numbers: pl.Series | None, few_wholes: bool, distinct: int, rows: NDArray[np.int64], origin: str
) -> Task:
    if numbers is None:
        _check_words(values, distinct, rows, origin)
    if distinct <= 2:
        return "binary"
    return "multiclass" if numbers is None or few_wholes else "regression"


def _check_words(values: pl.Series, distinct: int, rows: NDArray[np.int64], origin: str) -> None:
    """Words as a target must recur, and must not be strays among numbers."""
    name = values.name
    text = as_text(values)
    numeric = as_number(text).is_not_null()
    strays = int((~numeric).sum())
    if distinct > FEW_CLASSES and strays < 0.2 * len(values):
        at = int(np.flatnonzero(~numeric.to_numpy())[0])
        raise DataError(
            f"The target {name} of {origin} must be numbers or classes, however {strays:,} of {len(values):,} values "
            f"are no numbers, the first {text[at]!r} in row {rows[at] + 1:,}. Mend them, or declare them missing: "
            f"--set data.missing={text[at]}."
        )
    if distinct > 2 * FEW_CLASSES and distinct > 0.5 * len(values):
        raise DataError(
            f"The classes of a target must recur, however {name} has {distinct:,} different values in {len(values):,} "
            f"rows. Is another column the target?"
        )


def _regression(values: pl.Series, numbers: pl.Series | None, rows: NDArray[np.int64], origin: str) -> Target:
    if numbers is None:
        if values.dtype != pl.Boolean:
            unread = as_number(values).is_null()
            words = as_text(values.filter(unread)).unique().sort().to_list()
            raise DataError(
                f"For regression the target {values.name} must hold numbers, however: {listing(words, 5)}. "
                f"Leave data.task out to train a classifier."
            )
        numbers = values.cast(pl.Float64)
    check_finite(numbers, rows, origin)
    present = numbers.to_numpy()
    mean, std = float(present.mean()), float((present - present.mean()).std())
    column = Column(
        name=values.name,
        kind="number",
        offset=mean if abs(mean) > 100 * std else 0.0,  # as for a number column: float32 keeps 7 digits
        distinct=numbers.n_unique(),
        low=float(present.min()),
        high=float(present.max()),
        mean=mean,
        std=std,
        number_style=number_style(values.unique()) if values.dtype == pl.String else "plain",
    )
    return Target("regression", (), (), "number", column)


def _classes(values: pl.Series, numbers: pl.Series | None, whole: bool, task: Task) -> Target:
    text = as_text(values)  # whole floats like integers
    counts = dict(text.value_counts().iter_rows())
    classes = tuple(sorted_labels(list(counts)))
    if task == "binary" and len(classes) != 2:
        raise DataError(
            f"A binary target has two classes, however {values.name} has {len(classes):,}: {listing(classes)}. "
            f"Leave data.task out, or set it to multiclass."
        )
    if len(classes) > max(1000, 2 * FEW_CLASSES):
        raise DataError(
            f"A target of classes may have 1,000 of them, however {values.name} has {len(classes):,}. "
            f"Set data.task=regression if they are quantities."
        )
    label_type: LabelType = "text"
    if values.dtype == pl.Boolean:
        label_type = "boolean"
    elif numbers is not None and all(_plain_integer(label) for label in classes):
        label_type = "integer"
    elif numbers is not None and not whole and all(is_number(label) for label in classes):
        label_type = "number"
    column = Column(name=values.name, kind="category", categories=classes, distinct=len(classes))
    return Target(task, classes, tuple(counts[label] for label in classes), label_type, column)


def _plain_integer(label: str) -> bool:
    """Whether a label is an integer spelled the one way, so that 007 stays text."""
    return is_number(label) and label.lstrip("-").isdigit() and str(int(label)) == label and len(label) < 19
