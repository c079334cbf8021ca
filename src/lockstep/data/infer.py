"""From what was read to what it means: the schema, and the findings on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lockstep.data.columns import understand
from lockstep.data.frames import column_of
from lockstep.data.free_text import as_text_alone, text_column
from lockstep.data.kinds import Cells
from lockstep.data.notes import class_variants
from lockstep.data.raw import Raw, RawArrays, RawSeries, RawTable, listing, take
from lockstep.data.schema import Column, ColumnKind, Schema
from lockstep.data.steps import empty_series, understand_channels
from lockstep.data.target import Target, find_column, understand_target
from lockstep.data.text import check_names, is_number
from lockstep.data.values import USUAL_MISSING, clean
from lockstep.errors import DataError
from lockstep.findings import Finding, count_of
from lockstep.spec.data import DataSpec, Kind


def infer_schema(raw: Raw, spec: DataSpec | None = None) -> tuple[Schema, list[Finding]]:
    """What ``raw`` holds, as far as ``spec`` does not say it. Rows without a target do not count.

    Raises ``DataError`` where it cannot be trained on: no such target, fewer than two rows or classes, no column.
    """
    spec = spec or DataSpec()
    missing = (*USUAL_MISSING, *spec.missing)
    _check_kind(raw, spec)
    match raw:
        case RawTable():
            schema, findings = _infer_table(raw, spec, missing)
        case RawArrays():
            schema, findings = _infer_images(raw, spec, missing)
        case RawSeries():
            schema, findings = _infer_series(raw, spec, missing)
    return schema, [*raw.findings, *findings]


def _check_kind(raw: Raw, spec: DataSpec) -> None:
    fits: tuple[Kind, ...] = ("table", "text") if isinstance(raw, RawTable) else ("images",)
    fits = ("series",) if isinstance(raw, RawSeries) else fits
    if spec.kind is None or spec.kind in fits:
        return
    what = {"table": "a table", "images": "images", "series": "series"}[fits[0]]
    needs = {
        "images": "an array [N, H, W], an IDX pair or a folder of pictures",
        "series": "an array [N, T, C] or a .ts file",
    }.get(spec.kind, "a file or frame of columns, or an array [N, D]")
    raise DataError(
        f"data.kind must be what the data is, however it is {spec.kind} and {raw.origin} holds {what}. "
        f"Unset it, or give {needs}."
    )


def target_name(raw: RawTable, spec: DataSpec) -> str:
    """The target column, by name, by number, or as the source itself says."""
    if spec.target is not None:
        return find_column(raw.frame.columns, spec.target, "The target")
    if raw.target is None:
        example = " A number counts columns from 0, or from the end: --target -1." if not raw.named else ""
        raise DataError(
            f"A table needs a target, however none is given for {raw.origin}. Give --target with one of its columns: "
            f"{listing(raw.frame.columns, 30)}.{example}"
        )
    return raw.target


def _infer_table(raw: RawTable, spec: DataSpec, missing: tuple[str, ...]) -> tuple[Schema, list[Finding]]:
    check_names(raw.frame.columns, raw.origin)
    name = target_name(raw, spec)
    inputs = [column for column in raw.frame.columns if column != name]
    spec = _resolve_names(spec, raw.frame.columns)
    if (count := raw.frame.height) < 2:
        raise DataError(f"Training needs at least two rows, however {raw.origin} has {count}. Give more rows.")
    if not inputs:
        raise DataError(f"A table needs a column besides the target, however {raw.origin} has {name} alone.")
    values = clean(raw.frame[name], missing)
    rows = _labelled(values, raw.origin)
    target = understand_target(values[rows], spec.task, rows, raw.origin)
    findings = _dropped(raw.frame[name], values, target) + class_variants(name, target.classes)
    columns = []
    for column_name in inputs:
        series = clean(raw.frame[column_name], missing)
        cells = Cells(series if len(rows) == len(series) else series[rows], rows, raw.origin)
        column, noticed = understand(cells, spec, identifiers=raw.named or series.dtype == pl.String)
        columns.append(column)
        findings += noticed
    columns = [_split_column(column, spec) for column in columns]
    text = text_column(columns, raw.frame, spec, raw.origin)
    if text is None:
        findings += _set_aside(columns)
        _check_usable(columns, raw.origin)
    else:
        columns, noticed = as_text_alone(columns, text)
        findings += noticed
    return (
        Schema(
            kind="table" if text is None else "text",
            task=target.task,
            target=name,
            classes=target.classes,
            class_counts=target.counts,
            label_type=target.label_type,
            columns=tuple(columns),
            target_column=target.column.model_copy(update={"missing": values.null_count()}),
            missing=missing,
            rows=len(rows),
        ),
        findings,
    )


def _resolve_names(spec: DataSpec, columns: list[str]) -> DataSpec:
    """The spec with every column it names checked, and numbers of columns turned into names."""
    found: dict[str, object] = {}
    for field in ("number", "category", "boolean", "date", "identifier", "text", "drop", "keep"):
        names = getattr(spec, field)
        found[field] = tuple(find_column(columns, name, f"data.{field}") for name in names)
    for field in ("group", "time"):
        name = getattr(spec, field)
        found[field] = None if name is None else find_column(columns, name, f"data.{field}")
    return spec.model_copy(update=found)


def _labelled(values: pl.Series, origin: str) -> NDArray[np.int64]:
    rows = np.flatnonzero(values.is_not_null().to_numpy())
    if not len(rows):
        raise DataError(f"The target must be known in some rows, however {values.name} of {origin} is missing in all.")
    if len(rows) < 2:
        raise DataError(f"Training needs at least two rows with a target, however {origin} has one. Give more rows.")
    return rows


def _dropped(raw: pl.Series, values: pl.Series, target: Target) -> list[Finding]:
    count = values.null_count()
    if not count:
        return []
    unread = raw.filter(values.is_null()).cast(pl.String, strict=False).fill_null("").str.strip_chars()
    spelled = [
        f"{word or 'empty'} ({count_of(number, 'row', 'rows')})"
        for word, number in unread.value_counts(sort=True).iter_rows()
    ]
    class_hint = " If that is a class of its own, spell it otherwise in the file." if target.classes else ""
    return [
        Finding(
            severity="warning" if count <= 0.5 * len(values) else "severe",
            code="missing-target",
            subject=values.name,
            what=f"{count_of(count, 'row has no target and is', 'rows have no target and are')} left out.",
            evidence=f"{count:,} of {len(values):,} rows ({count / len(values):.1%}); spelled {listing(spelled, 4)}",
            remedy=f"If their targets are known, fill them in.{class_hint}",
        )
    ]


def drop_unlabelled(raw: Raw, schema: Schema) -> Raw:
    """``raw`` without the rows whose target is missing (``infer_schema`` has said so); itself where there are none."""
    if not isinstance(raw, RawTable):
        values = None if raw.y is None else clean(column_of("y", raw.y), schema.missing)
    else:
        values = clean(raw.frame[schema.target], schema.missing) if schema.target in raw.frame.columns else None
    if values is None or not values.null_count():
        return raw
    return take(raw, np.flatnonzero(values.is_not_null().to_numpy()))


def _split_column(column: Column, spec: DataSpec) -> Column:
    """Columns by which rows are split say nothing about rows to come: set aside, or of a date keep the calendar."""
    if column.name in spec.keep:
        return column
    if column.name == spec.group and column.used:
        return column.model_copy(update={"used": False, "why": "groups the rows (data.group)"})
    if column.name == spec.time and column.used:
        parts = tuple(part for part in column.date_parts if part != "days")
        if column.kind == "date" and parts:
            why = f"orders the rows (data.time): its {listing(parts)} {'is' if len(parts) == 1 else 'are'} used"
            return column.model_copy(update={"date_parts": parts, "why": why})
        return column.model_copy(update={"used": False, "why": "orders the rows (data.time)"})
    return column


_ASIDE: dict[ColumnKind, tuple[str, str]] = {
    "identifier": ("look like identifiers and are", "data.number"),
    "constant": ("say nothing and are", ""),
    "text": ("hold free text, which a network for tables does not read, and are", "data.text"),
}


def _set_aside(columns: Sequence[Column]) -> list[Finding]:
    """One finding for each kind of column that is set aside."""
    findings = []
    for kind, (reason, override) in _ASIDE.items():
        names = [column.name for column in columns if column.kind == kind and not column.used and _guessed(column)]
        if not names:
            continue
        whys = [f"{column.name} {column.why}" for column in columns if column.name in names]
        plural = "columns" if len(names) > 1 else "column"
        verb = reason if len(names) > 1 else _singular(reason)
        first = next(column for column in columns if column.name == names[0])
        field = override if all(map(is_number, first.examples)) or override != "data.number" else "data.category"
        remedy = f"To use one all the same: --set {field}={names[0]}." if field else "Nothing to do."
        if kind == "text":
            remedy = f"To read it alone, as text: --set data.kind=text --set data.text={names[0]}."
        findings.append(
            Finding(
                severity="info",
                code=f"{kind}-column",
                subject=", ".join(names) if len(names) <= 12 else f"{len(names)} columns",
                what=f"{len(names)} {plural} {verb} set aside: {listing(names, 12)}.",
                evidence="; ".join(whys[:5]) + ("; …" if len(whys) > 5 else ""),
                remedy=remedy,
            )
        )
    return findings


def _guessed(column: Column) -> bool:
    return not column.why.startswith(("dropped", "groups the", "orders the"))


def _singular(reason: str) -> str:
    return (
        reason.replace("look like identifiers and are", "looks like an identifier and is")
        .replace("say nothing and are", "says nothing and is")
        .replace("hold free", "holds free")
        .replace("and are", "and is")
    )


def _check_usable(columns: Sequence[Column], origin: str) -> None:
    if any(column.used for column in columns):
        return
    whys = "; ".join(f"{column.name} {column.why}" for column in columns[:8])
    kinds = {column.kind for column in columns}
    remedy = (
        ""
        if kinds == {"constant"}
        else " Say what a column is with --set data.number=…, data.category=… or data.date=…."
    )
    raise DataError(f"There must be a column to learn from, however {origin} has none: {whys}.{remedy}")


def _infer_images(raw: RawArrays, spec: DataSpec, missing: tuple[str, ...]) -> tuple[Schema, list[Finding]]:
    labelled = _labels(raw, spec, missing, "images", "Give y, or the labels file beside.")
    if (raw.x == raw.x.flat[0]).all():
        raise DataError(f"Images must differ, however every pixel of {raw.origin} is {raw.x.flat[0]}.")
    return _schema_of_arrays("images", labelled, missing, image_shape=raw.x.shape[1:]), labelled.findings


def _infer_series(raw: RawSeries, spec: DataSpec, missing: tuple[str, ...]) -> tuple[Schema, list[Finding]]:
    labelled = _labels(raw, spec, missing, "series", "Give y, or a file with labels.")
    x, lengths = raw.x[labelled.rows], raw.lengths[labelled.rows]
    columns = understand_channels(x, lengths, labelled.rows, raw.origin)
    findings = [*labelled.findings, *_set_aside(columns), *empty_series(lengths, raw.origin)]
    _check_usable(columns, raw.origin)
    steps = max(1, int(lengths.max()))
    return _schema_of_arrays("series", labelled, missing, columns=tuple(columns), steps=steps), findings


@dataclass(frozen=True, eq=False)
class _Labelled:
    """The target of arrays, the ``rows`` that have one, how many have none, and what there is to say about it."""

    target: Target
    rows: NDArray[np.int64]
    unlabelled: int
    findings: list[Finding]


def _labels(raw: RawArrays | RawSeries, spec: DataSpec, missing: tuple[str, ...], what: str, remedy: str) -> _Labelled:
    if raw.y is None:
        raise DataError(f"Training needs labels, however {raw.origin} has {what} alone. {remedy}")
    if len(raw) < 2:
        raise DataError(f"Training needs at least two {what}, however {raw.origin} has {len(raw)}.")
    column = column_of("y", raw.y)
    values = clean(column, missing)
    rows = _labelled(values, raw.origin)
    target = understand_target(values[rows], spec.task, rows, raw.origin, most_classes=1000)
    findings = _dropped(column, values, target) + class_variants("y", target.classes)
    return _Labelled(target, rows, values.null_count(), findings)


def _schema_of_arrays(kind: Kind, labelled: _Labelled, missing: tuple[str, ...], **facts: Any) -> Schema:
    target = labelled.target
    return Schema(
        kind=kind,
        task=target.task,
        target=None,
        classes=target.classes,
        class_counts=target.counts,
        label_type=target.label_type,
        target_column=target.column.model_copy(update={"missing": labelled.unlabelled}),
        missing=missing,
        rows=len(labelled.rows),
        **facts,
    )
