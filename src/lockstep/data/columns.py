"""From a column's values to its entry in the schema, with what there is to say about it."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.kinds import Guess, guess_kind
from lockstep.data.raw import listing
from lockstep.data.schema import Column, ColumnKind
from lockstep.data.values import (
    DATE_PARTS,
    NO_NUMBER,
    as_boolean,
    as_date,
    as_number,
    as_text,
    clean,
    date_formats,
    date_part,
    number_style,
)
from lockstep.errors import DataError
from lockstep.findings import Finding
from lockstep.spec.data import DataSpec

MAX_CATEGORIES = 1000
# float32 holds up to 3e38, and a variance squares.
ENORMOUS = 1e18
_OVERRIDES: tuple[ColumnKind, ...] = ("number", "category", "boolean", "date", "identifier", "text")


@dataclass(frozen=True)
class Cells:
    """A column's cleaned ``values`` and the ``rows`` (from 0) where they stand in the source called ``origin``."""

    values: pl.Series
    rows: NDArray[np.int64]
    origin: str

    @property
    def name(self) -> str:
        return self.values.name


def override_of(name: str, spec: DataSpec) -> ColumnKind | None:
    """The kind that the user's spec gives to a column."""
    given = [kind for kind in _OVERRIDES if name in getattr(spec, kind)]
    if len(given) > 1:
        raise DataError(f"Column {name} can be of one kind, however data.{' and data.'.join(given)} name it. Keep one.")
    return given[0] if given else None


def understand(cells: Cells, spec: DataSpec, *, identifiers: bool) -> tuple[Column, list[Finding]]:
    """The column's entry in the schema. Raises ``DataError`` for values that cannot be used as its kind."""
    values, name = cells.values, cells.name
    forced = override_of(name, spec)
    guess = guess_kind(values, identifiers=identifiers and forced is None)
    facts: dict[str, Any] = {"name": name, "missing": values.null_count(), "distinct": _distinct(values)}
    facts["examples"] = tuple(as_text(values.drop_nulls().head(200)).unique(maintain_order=True).head(3).to_list())
    rows = len(values)
    if name in spec.drop:
        return Column(**facts, kind=guess.kind, used=False, why="dropped by data.drop"), []
    if guess.kind != "constant" and forced is not None:
        style = number_style(values.drop_nulls().unique()) if values.dtype == pl.String else "plain"
        guess = Guess(forced, f"set by data.{forced}", style)
    match guess.kind:
        case "number":
            column, findings = _number(cells, guess, facts, forced is not None)
        case "boolean":
            column, findings = _boolean(cells, guess, facts)
        case "date":
            column, findings = _date(cells, guess, facts)
        case "category":
            column, findings = _category(cells, guess, facts)
        case _:
            column, findings = Column(**facts, kind=guess.kind, used=False, why=guess.why), []
    if guess.mixed:
        findings = [*findings, _mixed_words(cells, column)]
    if column.used and column.missing > 0.5 * rows:
        findings = [*findings, _mostly_missing(column, rows)]
    return column, findings


def _distinct(values: pl.Series) -> int:
    if values.dtype.is_nested() or values.dtype in (pl.Object, pl.Binary):
        return as_text(values).drop_nulls().n_unique()
    return values.drop_nulls().n_unique()


def _number(cells: Cells, guess: Guess, facts: dict[str, Any], forced: bool) -> tuple[Column, list[Finding]]:
    numbers = as_number(cells.values, guess.style)
    unread = numbers.is_null() & cells.values.is_not_null()
    odd = tuple(sorted(as_text(cells.values.filter(unread)).unique().to_list()))
    words = [word for word in odd if word.lower() not in NO_NUMBER]
    readable = len(numbers) - numbers.null_count()
    if (
        guess.broken
        or readable == 0
        or (words and forced and readable < 0.5 * (readable + len(cells.values.filter(unread))))
    ):
        raise _mixed_types(cells, numbers, words or list(odd))
    check_finite(numbers, cells.rows, cells.origin)
    column = _measured(numbers, facts | {"kind": "number", "why": guess.why, "odd": odd, "number_style": guess.style})
    findings = [_odd_spellings(cells, odd, bool(words))] if odd else []
    if guess.style != "plain":
        findings.append(_styled(cells, column))
    return column, findings


def _measured(numbers: pl.Series, facts: dict[str, Any]) -> Column:
    """A number column with its statistics, and the offset and scale that keep float32 exact enough."""
    present = numbers.drop_nulls().to_numpy()
    mean = float(present.mean())
    std = float((present - mean).std())
    low, high = float(present.min()), float(present.max())
    facts = facts | {"missing": numbers.null_count(), "distinct": len(np.unique(present))}
    if low == high and not numbers.null_count():
        return Column(**facts | {"kind": "constant", "used": False, "why": "has the same value in every row"})
    # float32 keeps 7 digits: what is far from zero for its spread loses them to the offset.
    offset = mean if abs(mean) > 100 * std else 0.0
    scale = 1 / std if 0 < std < 1e-12 else 1.0
    return Column(**facts, low=low, high=high, mean=mean, std=std, offset=offset, scale=scale)


def check_finite(numbers: pl.Series, rows: NDArray[np.int64], origin: str) -> None:
    """Raise ``DataError`` at the first infinite or enormous (beyond 1e18) number, with its place."""
    values = numbers.to_numpy()
    with np.errstate(invalid="ignore"):
        at = np.flatnonzero(np.abs(values) > ENORMOUS)
    if not len(at):
        return
    value = float(values[at[0]])
    what = "infinite" if np.isinf(value) else "enormous"
    spelled = f"{value:g}"
    more = f" ({len(at):,} such values in all)" if len(at) > 1 else ""
    raise DataError(
        f"Numbers must be finite and at most 1e18 in size, however: column {numbers.name} of {origin} holds the "
        f"{what} value {spelled} in row {rows[at[0]] + 1:,}{more}. Mend it, or declare it missing: "
        f"--set data.missing={spelled}."
    )


def _boolean(cells: Cells, guess: Guess, facts: dict[str, Any]) -> tuple[Column, list[Finding]]:
    numbers = as_boolean(cells.values)
    odd = as_text(cells.values.filter(numbers.is_null() & cells.values.is_not_null())).unique().sort().to_list()
    if odd:
        raise DataError(
            f"Column {cells.name} is set as boolean by data.boolean, so it must hold true/false, yes/no, t/f, y/n "
            f"or 1/0, "
            f"however: {listing(odd, 5)}. Give --set data.category={cells.name} instead."
        )
    return Column(**facts, kind="boolean", why=guess.why, mean=float(numbers.drop_nulls().to_numpy().mean())), []


def _date(cells: Cells, guess: Guess, facts: dict[str, Any]) -> tuple[Column, list[Finding]]:
    values, findings, form = cells.values, [], None
    if values.dtype not in (pl.Date, pl.Datetime):
        forms = date_formats(as_text(values))
        if not forms:
            raise DataError(
                f"Column {cells.name} is set as date by data.date, however its values are in no known format: "
                f"{listing(facts['examples'])}. Spell them like 2024-03-31 or 2024-03-31 17:45:00."
            )
        form = forms[0]
        if len(forms) > 1:
            findings.append(_ambiguous_date(cells, forms))
    dates = as_date(values, form)
    odd = tuple(sorted(as_text(values.filter(dates.is_null() & values.is_not_null())).unique().to_list()))
    if odd:
        findings.append(_odd_spellings(cells, odd, True))
    days = date_part(dates, "days").drop_nulls().to_numpy()
    parts = tuple(part for part in DATE_PARTS if date_part(dates, part).drop_nulls().n_unique() > 1)
    facts = facts | {"missing": dates.null_count(), "distinct": len(np.unique(days)), "date_format": form, "odd": odd}
    low, high, mean, std = float(days.min()), float(days.max()), float(days.mean()), float(days.std())
    if not parts:
        return Column(**facts, kind="constant", used=False, why="has the same date in every row"), findings
    why = guess.why or f"is read as {'date and time' if 'hour' in parts else 'date'}"
    column = Column(
        **facts, kind="date", why=why, date_parts=parts, offset=round(mean), low=low, high=high, mean=mean, std=std
    )
    return column, findings


def _category(cells: Cells, guess: Guess, facts: dict[str, Any]) -> tuple[Column, list[Finding]]:
    text = as_text(cells.values).drop_nulls()
    counts = text.value_counts(sort=True)
    # Ties in order of spelling, so that the rows' order does not choose.
    counts = counts.sort(["count", text.name], descending=[True, False]) if text.name != "count" else counts
    kept = counts.to_series(0).head(MAX_CATEGORIES).to_list()
    rare = counts.height - len(kept)
    facts = facts | {"distinct": counts.height, "examples": tuple(kept[:3])}
    column = Column(**facts, kind="category", why=guess.why, categories=tuple(sorted_labels(kept)), rare=rare)
    findings = [_many_categories(column)] if rare else []
    variants = spelling_variants(column.categories)
    if variants:
        findings.append(_variants(column.name, variants, "info", "data"))
    return column, findings


def sorted_labels(labels: list[str]) -> list[str]:
    """Labels in numerical order where all are numbers, else alphabetical."""
    try:
        return sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(labels)


def spelling_variants(labels: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Groups of labels that differ only in case, inner spaces, or a full stop at the end."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[" ".join(label.lower().rstrip(".").split())].append(label)
    return [tuple(group) for group in alike.values() if len(group) > 1]


def _variants(name: str, variants: list[tuple[str, ...]], severity: Any, what: str) -> Finding:
    shown = "; ".join(" and ".join(group) for group in variants[:3])
    return Finding(
        severity=severity,
        code="spelling-variants",
        subject=name,
        what=f"{name} has {what} that differ only in case, spaces or a full stop; they count as different.",
        evidence=shown,
        remedy="Spell them alike in the file if they mean the same.",
    )


def class_variants(name: str, classes: tuple[str, ...]) -> list[Finding]:
    variants = spelling_variants(classes)
    return [_variants(name, variants, "warning", "classes")] if variants else []


def _count_of(values: pl.Series, words: tuple[str, ...]) -> int:
    return int(as_text(values).is_in(list(words)).sum())


def _odd_spellings(cells: Cells, odd: tuple[str, ...], surprising: bool) -> Finding:
    declare = ",".join(odd[:3])
    return Finding(
        severity="warning" if surprising else "info",
        code="odd-values",
        subject=cells.name,
        what=f"{cells.name} holds values that cannot be read like the others; they count as missing.",
        evidence=f"{_count_of(cells.values, odd):,} of {len(cells.values):,} rows: {listing(odd, 10)}",
        remedy=f"Mend them, or say that they mean missing: --set data.missing={declare}; "
        f"or take the column as categories: --set data.category={cells.name}.",
    )


def _mixed_types(cells: Cells, numbers: pl.Series, words: list[str]) -> DataError:
    unread = cells.values.is_not_null() & numbers.is_null()
    first = cells.rows[np.flatnonzero(unread.to_numpy())[0]] + 1 if unread.any() else 1
    return DataError(
        f"Column {cells.name} of {cells.origin} mixes numbers and words, however a column must be one of them: "
        f"{len(numbers) - numbers.null_count():,} rows are numbers, {unread.sum():,} are not ({listing(words, 5)}; "
        f"the first in row {first:,}). Mend them, declare them missing (--set data.missing=…), "
        f"or give --set data.category={cells.name} or data.drop={cells.name}."
    )


def _mixed_words(cells: Cells, column: Column) -> Finding:
    text = as_text(cells.values)
    numeric = text.cast(pl.Float64, strict=False).is_not_null()
    words = text.filter(~numeric).drop_nulls().unique().sort().to_list()
    taken = "read as categories" if column.used else "set aside"
    return Finding(
        severity="warning",
        code="mixed-column",
        subject=cells.name,
        what=f"{cells.name} mixes numbers and words, so it is {taken}.",
        evidence=f"{numeric.sum():,} of {len(text):,} rows are numbers; words: {listing(words, 5)}",
        remedy="If the words mean missing, declare them: "
        f"--set data.missing={','.join(words[:2])}; if they may be dropped: --set data.number={cells.name}.",
    )


def _styled(cells: Cells, column: Column) -> Finding:
    words = {
        "thousands": "1,234.5 (a comma between thousands; also $ and %)",
        "decimal-comma": "1.234,5 (a decimal comma)",
    }
    return Finding(
        severity="info",
        code="number-style",
        subject=cells.name,
        what=f"{cells.name} is read as numbers spelled like {words[column.number_style]}.",
        evidence=f"values such as {listing(column.examples, 3)}; read as {column.low:g} to {column.high:g}",
        remedy=f"If they are no numbers, give --set data.category={cells.name}.",
    )


def _ambiguous_date(cells: Cells, forms: list[str]) -> Finding:
    order = "month/day" if forms[0].startswith("%m") else "day-month"
    return Finding(
        severity="warning",
        code="ambiguous-date",
        subject=cells.name,
        what=f"{cells.name} can be read with the day or the month first; it is read as {order}.",
        evidence=f"both {forms[0]} and {forms[1]} fit every value",
        remedy="Spell dates year first (2024-03-31) if that is wrong.",
    )


def _many_categories(column: Column) -> Finding:
    return Finding(
        severity="info",
        code="many-categories",
        subject=column.name,
        what=f"{column.name} has {column.distinct:,} categories; the {MAX_CATEGORIES:,} most frequent are kept.",
        evidence=f"the other {column.rare:,} share one place with those never seen",
        remedy=f"Group them in the source, or leave the column out: --set data.drop={column.name}.",
    )


def _mostly_missing(column: Column, rows: int) -> Finding:
    return Finding(
        severity="info",
        code="mostly-missing",
        subject=column.name,
        what=f"{column.name} is missing in most rows; it is used, with missing as a value of its own.",
        evidence=f"{column.missing:,} of {rows:,} rows ({column.missing / rows:.0%})",
        remedy=f"Leave it out with --set data.drop={column.name} if it is not there when you predict.",
    )


__all__ = ["Cells", "check_finite", "class_variants", "clean", "override_of", "sorted_labels", "understand"]
