"""From a column's values to its entry in the schema, with what there is to say about it."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.kinds import Cells, Guess, guess_kind
from lockstep.data.notes import (
    ambiguous_date,
    many_categories,
    mixed_types,
    mixed_words,
    mostly_missing,
    number_style_finding,
    odd_spellings,
    spelling_variants,
    variants_finding,
)
from lockstep.data.raw import listing
from lockstep.data.schema import Column, ColumnKind
from lockstep.data.values import (
    DATE_PARTS,
    NO_NUMBER,
    as_boolean,
    as_date,
    as_number,
    as_text,
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
        findings = [*findings, mixed_words(cells, column)]
    if column.used and column.missing > 0.5 * rows:
        findings = [*findings, mostly_missing(column, rows)]
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
        raise mixed_types(cells, numbers, words or list(odd))
    check_finite(numbers, cells.rows, cells.origin)
    column = measured(numbers, facts | {"kind": "number", "why": guess.why, "odd": odd, "number_style": guess.style})
    findings = [odd_spellings(cells, odd, bool(words))] if odd else []
    if guess.style != "plain":
        findings.append(number_style_finding(cells, column))
    return column, findings


def measured(numbers: pl.Series, facts: dict[str, Any]) -> Column:
    """A number column with its statistics, and the offset and scale that keep float32 exact enough."""
    present = numbers.drop_nulls().to_numpy()
    mean = float(present.mean())
    std = float((present - mean).std())
    low, high = float(present.min()), float(present.max())
    facts = facts | {"missing": numbers.null_count(), "distinct": numbers.drop_nulls().n_unique()}
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
    code = f" If it is a code, give --set data.identifier={numbers.name}." if len(at) > 0.5 * len(values) else ""
    raise DataError(
        f"Numbers must be finite and at most 1e18 in size, however: column {numbers.name} of {origin} holds the "
        f"{what} value {spelled} in row {rows[at[0]] + 1:,}{more}. Mend it, or declare it missing: "
        f"--set data.missing={spelled}.{code}"
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
        if len(forms) > 1 and "%m" in forms[0]:
            findings.append(ambiguous_date(cells, forms))
    dates = as_date(values, form)
    odd = tuple(sorted(as_text(values.filter(dates.is_null() & values.is_not_null())).unique().to_list()))
    if odd:
        findings.append(odd_spellings(cells, odd, True))
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
    findings = [many_categories(column)] if rare else []
    variants = spelling_variants(column.categories)
    if variants:
        findings.append(variants_finding(column.name, variants, "info", "data"))
    return column, findings


def sorted_labels(labels: list[str]) -> list[str]:
    """Labels in numerical order where all are numbers, else alphabetical."""
    try:
        return sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(labels)
