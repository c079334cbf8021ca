"""Results as lines of plain text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

FLATTERS = "flatters a little: each chose its own best epoch on these rows"


def count(number: int, noun: str) -> str:
    """``1 finding``, ``32,561 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> list[str]:
    """Rows with their columns aligned, two spaces between; the last column is as wide as it is."""
    every = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    if not every:
        return []
    widths = [max(len(row[i]) for row in every) for i in range(len(every[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every]


def number(value: float | None) -> str:
    """Four decimals, fewer for the large and more for the small: ``0.8741``, ``12.35``, ``45,896``, ``0.000123``."""
    if value is None or math.isnan(value):
        return "-"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if size == 0 or 0.001 <= size < 10 else f"{value:.4g}"


def spread(std: float) -> str:
    """Two digits: ``0.06``, ``1.3``; of what is large the whole part: ``243``."""
    return f"{std:,.0f}" if std >= 100 else f"{std:.2g}"


def interval(low: float | None, high: float | None) -> str:
    """``0.7250 to 0.9000``, or ``-`` where so few rows have none."""
    return "-" if number(low) == number(high) == "-" else f"{number(low)} to {number(high)}"


def metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The content of ``metrics.json`` in brief: the headline first, with intervals, and what it was measured on."""
    named: Mapping[str, Mapping[str, float | None]] = metrics.get("metrics") or {}
    headline = metrics.get("headline")
    base = (metrics.get("baseline") or {}).get("metrics") or {}
    order = sorted(named, key=lambda name: name != headline)  # stable: the rest keep their order
    rows = [
        [
            name,
            number(one.get("value")),
            interval(one.get("low"), one.get("high")),
            number(base.get(name)),
        ]
        for name, one in ((name, named[name]) for name in order)
    ]
    where = f"{metrics.get('rows', '')} {metrics.get('unit', 'rows')}".strip()
    lines = [f"The ensemble on {metrics.get('n_rows', 0):,} {where}:"]
    header = ["", "value", "95 % interval", "baseline"]
    if not base:
        rows, header = [row[:-1] for row in rows], header[:-1]
    lines += [f"  {line}" for line in table(rows, header)]
    if metrics.get("positive") is not None and "f1" in named:
        lines.append(f"  f1 and average_precision: of the class {metrics['positive']}")
    if metrics.get("quantile") is not None:
        lines.append(f"  coverage: share of targets at or below the prediction; {metrics['quantile']:g} was asked for")
    if metrics.get("scale"):
        lines.append(f"  {metrics['scale']}")
    if base:
        lines.append(f"  baseline: {metrics['baseline'].get('what', '')}")
    own = (metrics.get("out_of_fold") or {}).get(headline)
    if own and own.get("std") is not None and metrics.get("rows") != "out-of-fold":
        lines.append(
            f"One network alone, out of fold: {headline} {number(own['mean'])} ± {spread(own['std'])}"
            + ("" if metrics.get("monitor") == "train_loss" else f" ({FLATTERS})")
        )
    return lines
