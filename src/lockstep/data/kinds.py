"""Which kind a column is, guessed from its cleaned values. What follows from a kind is in ``columns.py``."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.schema import ColumnKind
from lockstep.data.values import NO_NUMBER, NumberStyle, as_number, as_text, date_formats, is_boolean, number_style

# Below this many rows a coincidence (every value another, every value larger than the last) proves nothing.
FEW_ROWS = 10
_ID_WORDS = {
    "id",
    "ids",
    "uid",
    "uuid",
    "guid",
    "index",
    "idx",
    "rowid",
    "rownum",
    "rownames",
    "rowname",
    "rn",
    "key",
    "pk",
}
_TIME_WORDS = {
    "year",
    "yr",
    "date",
    "time",
    "timestamp",
    "month",
    "week",
    "day",
    "hour",
    "minute",
    "period",
    "step",
    "t",
}


@dataclass(frozen=True)
class Cells:
    """A column's cleaned ``values`` and the ``rows`` (from 0) where they stand in the source called ``origin``."""

    values: pl.Series
    rows: NDArray[np.int64]
    origin: str

    @property
    def name(self) -> str:
        return self.values.name


@dataclass(frozen=True)
class Guess:
    """A kind and what led to it. ``mixed`` says that the words outweigh the numbers too clearly to call it a number."""

    kind: ColumnKind
    why: str = ""
    style: NumberStyle = "plain"
    mixed: bool = False
    broken: bool = False


def guess_kind(values: pl.Series, *, identifiers: bool = True) -> Guess:
    """The kind of a column from its cleaned ``values``; ``identifiers=False`` never takes numbers for identifiers."""
    dtype = values.dtype
    present = values.drop_nulls()
    if dtype.is_nested() or dtype in (pl.Object, pl.Binary):
        return Guess("text", "holds lists or objects")
    distinct = present.n_unique()
    if distinct == 0:
        return Guess("constant", "is empty")
    if distinct == 1:
        if len(present) == len(values):
            return Guess("constant", "has the same value in every row")
        return Guess("category", "has one value or none")
    if dtype == pl.Boolean:
        return Guess("boolean")
    if dtype in (pl.Date, pl.Datetime):
        return Guess("date")
    if dtype == pl.String:
        return _guess_text(values, present, identifiers)
    why = _numbers_as_identifier(as_number(values), values.name, distinct) if identifiers and dtype.is_numeric() else ""
    return Guess("identifier", why) if why else Guess("number")


def _guess_text(values: pl.Series, present: pl.Series, identifiers: bool) -> Guess:
    distinct = present.unique()
    if is_boolean(distinct):
        return Guess("boolean")
    style = number_style(distinct)
    numbers = as_number(distinct, style)
    if numbers.is_not_null().any():
        guess = _guess_numeric(values, present, distinct, numbers, style, identifiers)
        if guess is not None:
            return guess
    if date_formats(distinct):
        return Guess("date")
    return _guess_words(present, len(distinct), values.name)


def _guess_numeric(
    values: pl.Series,
    present: pl.Series,
    distinct: pl.Series,
    numbers: pl.Series,
    style: NumberStyle,
    identifiers: bool,
) -> Guess | None:
    """A guess for text among which there are numbers; None where the words prevail."""
    says_none = distinct.str.to_lowercase().is_in(list(NO_NUMBER))
    odd = distinct.filter(numbers.is_null() & ~says_none)
    wholes = distinct.filter(numbers.is_not_null()).str.contains(r"^[-+]?\d+$")
    if odd.is_empty():
        # 02134 is a code: as a number it would lose its zero.
        if wholes.all() and distinct.str.contains(r"^0\d").any():
            return _with_why(_guess_words(present, len(distinct), values.name), "has leading zeros, so it is a code")
        why = ""
        if identifiers and wholes.all() and not says_none.any():
            why = _numbers_as_identifier(as_number(values, style), values.name, len(distinct))
        return Guess("identifier", why) if why else Guess("number", style=style)
    numeric = float(present.is_in(distinct.filter(numbers.is_not_null()).implode()).mean())  # type: ignore[arg-type]
    if numeric < 0.5:
        return None
    decimals = not wholes.all()
    continuous = decimals or len(wholes) >= 20
    if continuous and (len(odd) <= 5 or (numeric >= 0.95 and len(odd) <= 10)):
        return Guess("number", style=style)
    if decimals:
        return Guess("number", style=style, broken=True)
    words = _guess_words(present, len(distinct), values.name)
    return Guess(words.kind, words.why, mixed=True)


def _with_why(guess: Guess, why: str) -> Guess:
    return Guess(guess.kind, guess.why or why)


def _numbers_as_identifier(numbers: pl.Series, name: str, distinct: int) -> str:
    """Why whole numbers are an identifier: another one in every row, and rising row by row or called so; "" if not."""
    if distinct != len(numbers) or distinct < FEW_ROWS or numbers.null_count():
        return ""
    if not (numbers == numbers.round()).all():
        return ""
    if is_id_name(name):
        return "has another whole number in every row and is named like an identifier"
    step = numbers.diff().drop_nulls()
    if ((step > 0).all() or (step < 0).all()) and not _TIME_WORDS & set(_words_of(name)):
        return "counts the rows: another whole number in every row, in order"
    return ""


def is_id_name(name: str) -> bool:
    """Whether a column's name says identifier: id, user_id, customerID, index, unnamed, …"""
    words = _words_of(name)
    return (
        not words or words[-1] in _ID_WORDS or words[0] == "unnamed" or words[:2] in (["row", "names"], ["row", "id"])
    )


def _words_of(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word.lower() for word in re.split(r"[\W_]+", spaced) if word]


def _guess_words(present: pl.Series, distinct: int, name: str) -> Guess:
    """Category, identifier or free text, by how often values recur and how long they are."""
    text = as_text(present)
    share = distinct / len(present)
    sample = text.head(10_000)
    words = float(sample.str.count_matches(r"\S+").mean())  # type: ignore[arg-type]
    length = float(sample.str.len_chars().mean())  # type: ignore[arg-type]
    counted = f"{distinct:,} different values in {len(present):,} rows"
    if share >= 0.5 and ((words >= 3 and length >= 15) or length >= 100):
        return Guess("text", f"is free text: {counted}, {words:.0f} words each on average")
    if distinct == len(present) and is_id_name(name) and distinct >= 3:
        return Guess("identifier", "has another value in every row and is named like an identifier")
    if share > 0.5 and len(present) >= 2 * FEW_ROWS:
        return Guess("identifier", f"hardly recurs: {counted}")
    return Guess("category")
