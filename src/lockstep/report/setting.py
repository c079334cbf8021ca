"""The sections on what went in: the data as it was understood, the split, the plan, the machine."""

from datetime import datetime
from typing import Any

from lockstep.report import format as fmt
from lockstep.report.files import Json, RunFiles

COLUMN_ROWS = 300
EXAMPLES = 4


def origin_name(origin: Any) -> str:
    """The last part of where data came from: ``"adult.csv"`` of a long path."""
    return str(origin or "the data").rstrip("/").rsplit("/", 1)[-1]


def part(run: RunFiles) -> str:
    """What a row is made of, in a word."""
    return "channel" if run.manifest.get("kind") == "series" else "column"


def unit(run: RunFiles) -> str:
    """What is learned from and scored, in a word."""
    return "windows" if run.manifest.get("kind") == "forecast" else "rows"


def data(run: RunFiles) -> Json:
    """Rows, columns and how each was understood."""
    source, schema = run.manifest.get("data") or {}, run.schema
    rows = source.get("rows") or schema.get("rows")
    columns = [c for c in schema.get("columns") or [] if isinstance(c, dict)]
    counted = None if run.manifest.get("kind") == "series" else rows  # a channel's missing steps are no rows
    table = [_column(c, counted) for c in sorted(columns, key=lambda c: not c.get("used", True))]
    used = sum(bool(c.get("used", True)) for c in columns)
    kinds: dict[str, int] = {}
    for c in columns:
        if c.get("used", True):
            kinds[str(c.get("kind"))] = kinds.get(str(c.get("kind")), 0) + 1
    return {
        "origin": str(source.get("origin") or ""),
        "test_origin": str(source.get("test_origin") or ""),
        "fingerprint": str(source.get("fingerprint") or ""),
        "rows": fmt.count(rows),
        "columns": table[:COLUMN_ROWS],
        "left_out": max(0, len(table) - COLUMN_ROWS),
        "summary": _summary(run, len(columns), used, kinds),
        "set_aside": len(columns) - used,
        "has_missing": any(c.get("missing") for c in columns),
        "missing_spellings": [str(s) for s in schema.get("missing") or []] if columns else [],
        "has_why": any(c["why"] for c in table),
        "classes": [str(c) for c in run.manifest.get("classes") or []],
    }


_KINDS = {"category": "categories", "boolean": "booleans", "number": "numbers", "date": "dates"}


def _summary(run: RunFiles, columns: int, used: int, kinds: dict[str, int]) -> str:
    shape = run.schema.get("image_shape")
    rows = (run.manifest.get("data") or {}).get("rows") or run.schema.get("rows")
    if shape or run.manifest.get("kind") == "images":
        size = f" of {' × '.join(map(str, shape))} pixels" if shape else ""
        return f"{fmt.plural(int(rows or 0), 'image')}{size}."
    if run.manifest.get("kind") == "series":
        steps = run.schema.get("steps")
        channels = fmt.plural(used, "channel")
        return f"{fmt.count(int(rows or 0))} series of {channels}, up to {fmt.plural(int(steps or 0), 'step')} long."
    parts = [
        f"{n} {kind if n == 1 else _KINDS.get(kind, kind)}" for kind, n in sorted(kinds.items(), key=lambda k: -k[1])
    ]
    text = fmt.plural(int(rows or 0), "row")
    if run.manifest.get("kind") == "forecast":
        return f"{text} in order of time, {fmt.plural(columns, 'column')}: windows of them are what the networks see."
    if columns:
        text += f", {fmt.plural(columns, 'column')} besides the target"
    if parts:
        text += f". The networks see {fmt.count(used)} of them: {fmt.words(parts)}"
    return text + "."


def _column(column: Json, rows: Any) -> Json:
    missing = column.get("missing") or 0
    share = missing / rows if fmt.finite(rows) and rows else None
    return {
        "name": str(column.get("name")),
        "kind": str(column.get("kind")),
        "used": bool(column.get("used", True)),
        "why": str(column.get("why") or ""),
        "missing": fmt.count(missing) if missing else "0",
        "missing_share": fmt.percent(share) if missing and share is not None else "",
        "distinct": fmt.count(column["distinct"]) if column.get("distinct") else "",
        "content": _content(column),
    }


def _content(column: Json) -> str:
    """A number's range and mean; a category's most useful names; examples otherwise."""
    low, high, mean, std = (column.get(key) for key in ("low", "high", "mean", "std"))
    if low is not None and high is not None:
        text = f"{_value(low)} to {_value(high)}"
        if fmt.finite(mean) is not None:
            spread = f" ± {fmt.number(std, 3)}" if fmt.finite(std) is not None else ""
            text += f", mean {fmt.number(mean)}{spread}"
        return text
    values = [_value(v) for v in column.get("categories") or column.get("examples") or []]
    more = len(values) - EXAMPLES
    return ", ".join(values[:EXAMPLES]) + (f" and {fmt.count(more)} more" if more > 0 else "")


def _value(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return fmt.number(value)
    text = str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def split(run: RunFiles, members: list[Json]) -> Json | None:
    """How rows were divided, with the sizes as shares for a bar."""
    splits = run.manifest.get("splits") or {}
    train, test = (int(fmt.finite(splits.get(key)) or 0) for key in ("train_rows", "test_rows"))
    if not splits:
        return None
    folds = int(fmt.finite((run.manifest.get("population") or {}).get("folds")) or 1)
    fits = sorted(int(m["train_rows"]) for m in members if fmt.finite(m.get("train_rows")))
    stops = sorted(int(m["valid_rows"]) for m in members if fmt.finite(m.get("valid_rows")))
    each = ""
    if fits and stops and stops[-1]:
        who = "Each" if len(members) > 1 else "The"
        learns = f"{who} network learns from {_range(fits)} {unit(run)}"
        each = f"{learns} and chooses its best epoch on {_range(stops)} others."
    return {
        "how": fmt.capital(str(splits.get("how") or "")),
        "train": fmt.count(train),
        "test": fmt.count(test),
        "folds": folds,
        "each": each,
        "train_share": round(100 * train / (train + test), 2) if train + test else 100,
        "has_test": test > 0,
    }


def _range(values: list[int]) -> str:
    low, high = fmt.count(values[0]), fmt.count(values[-1])
    return low if low == high else f"{low} to {high}"


def moment(created: Any) -> str:
    """A time as ``"2026-11-24 10:47 UTC"``; anything else as it is."""
    try:
        when = datetime.fromisoformat(str(created or ""))
    except ValueError:
        return str(created or "")
    return when.strftime("%Y-%m-%d %H:%M") + (f" {when.tzname()}" if when.tzinfo else "")


def machine(run: RunFiles) -> list[tuple[str, str]]:
    """What it ran on, as labelled facts."""
    box, versions, timing = (run.manifest.get(key) or {} for key in ("machine", "versions", "timing"))
    source = run.manifest.get("data") or {}
    memory = fmt.finite(box.get("memory_gb"))
    cores = int(fmt.finite(box.get("cores")) or 0)
    processor = ", ".join(filter(None, [str(box.get("cpu") or ""), fmt.plural(cores, "core") if cores else ""]))
    shown = [f"{name} {fmt.duration(timing[name])}" for name in timing if fmt.finite(timing[name]) is not None]
    return [
        (label, value)
        for label, value in (
            ("Device", str(box.get("device") or "")),
            ("Processor", processor),
            ("Memory", f"{fmt.number(memory, 3)} GB" if memory else ""),
            ("System", str(box.get("os") or "")),
            ("Time", ", ".join(shown)),
            ("Started", moment(run.manifest.get("created"))),
            ("Data", str(source.get("origin") or "")),
            ("Test data", str(source.get("test_origin") or "")),
            ("Seed", str(run.manifest.get("seed", ""))),
            ("Lockstep", str(run.manifest.get("lockstep") or "")),
            ("Versions", ", ".join(f"{k} {v}" for k, v in versions.items() if k != "lockstep")),
            ("Fingerprint", str(source.get("fingerprint") or "")),
        )
        if value
    ]


def plan(run: RunFiles) -> list[dict[str, str]]:
    """What the plan chose, with its reasons."""
    return [
        {key: str(item.get(key, "")) for key in ("choice", "value", "reason")}
        for item in run.manifest.get("plan") or []
        if isinstance(item, dict)
    ]
