"""The sections on what it gets right and wrong: confusion, residuals, calibration, importance, worst mistakes."""

import math
from collections.abc import Sequence
from typing import Any

from lockstep.report import charts, reading, setting
from lockstep.report import format as fmt
from lockstep.report.figures import Figures
from lockstep.report.files import Json, RunFiles
from lockstep.report.reading import Remark

IMPORTANCE_ROWS = 30
TABLE_CLASSES = 30  # a confusion matrix as a table; above this as a chart
MISTAKE_COLUMNS = 10


def numbers(items: Sequence[Json], *keys: str) -> list[Json]:
    """The items whose ``keys`` are all finite numbers."""
    return [item for item in items if all(fmt.finite(item.get(key)) is not None for key in keys)]


def confusion(run: RunFiles, figures: Figures) -> Json | None:
    """The confusion matrix as a table (or a chart for many classes), scores per class, and remarks."""
    matrix = run.analysis.get("confusion") or {}
    classes, counts = [str(c) for c in matrix.get("classes") or []], matrix.get("counts") or []
    if len(classes) < 2 or len(counts) != len(classes) or any(len(row) != len(classes) for row in counts):
        return None
    table: list[Json] = [
        {
            "name": name,
            "rows": fmt.count(sum(row)),
            "cells": [
                {"n": n, "count": fmt.count(n), "share": n / sum(row) if sum(row) else 0.0, "hit": i == j,
                 "percent": fmt.percent(n / sum(row)) if sum(row) else ""}
                for j, n in enumerate(row)
            ],
        }
        for i, (name, row) in enumerate(zip(classes, counts, strict=True))
    ]  # fmt: skip
    if len(classes) > TABLE_CLASSES:
        cells = [
            {
                "actual": fmt.label(row["name"]),
                "predicted": fmt.label(classes[j]),
                "rows": cell["n"],
                "share": round(cell["share"], 4),
            }
            for row in table
            for j, cell in enumerate(row["cells"])
            if cell["n"]
        ]
        figures.charts["confusion"] = charts.confusion_map(cells, [fmt.label(c) for c in classes])
    scores = reading.class_scores(classes, counts)
    mistakes = reading.confusions(classes, counts)
    return {
        "classes": classes,
        "table": table if len(classes) <= TABLE_CLASSES else None,
        "dense": len(classes) > 12,
        "scores": [
            {"name": s.name, "rows": fmt.count(s.rows), "precision": fmt.score("precision", s.precision),
             "recall": fmt.score("recall", s.recall), "f1": fmt.score("f1", s.f1)}
            for s in scores
        ],
        "top": [{"actual": m.actual, "predicted": m.predicted, "n": fmt.count(m.n), "share": fmt.percent(m.share)}
                for m in mistakes[:10]] if len(classes) > 2 else [],
        "remarks": reading.confusion(classes, counts),
    }  # fmt: skip


def residuals(run: RunFiles, figures: Figures) -> list[Remark]:
    """Charts of predicted against actual and of the errors; what they say."""
    points = numbers((run.analysis.get("residuals") or {}).get("points") or [], "actual", "predicted")
    if not points:
        return []
    target = fmt.label(run.manifest.get("target") or "target")
    figures.tables["points"] = {key: [fmt.rounded(p[key]) for p in points] for key in ("actual", "predicted")}
    figures.charts["actual_predicted"] = charts.actual_predicted(points, target=target)
    figures.charts["residual_histogram"] = charts.residual_histogram(points, target=target)
    return reading.residuals(points, fmt.finite(run.metrics.get("quantile")))


def calibration(run: RunFiles, figures: Figures) -> Remark | None:
    """The calibration charts and what they say."""
    curve = run.analysis.get("calibration") or {}
    bins = [
        {key: fmt.rounded(b.get(key)) for key in ("predicted", "observed", "low", "high", "count")}
        for b in numbers(curve.get("bins") or [], "predicted", "observed")
        if b.get("count")
    ]
    if not bins:
        return None
    classes = [fmt.label(c, 40) for c in run.manifest.get("classes") or []]
    if len(classes) == 2:
        x_title, y_title = f"predicted probability of {classes[1]}", f"share that is {classes[1]}"
    else:
        x_title, y_title = "probability of the predicted class", "share predicted right"
    counts = sorted(int(b["count"] or 0) for b in bins)
    rows = fmt.count(counts[0]) if counts[0] == counts[-1] else f"{fmt.count(counts[0])} to {fmt.count(counts[-1])}"
    note = (
        "On the dashed line probabilities are exact; bars are 95 % intervals of the observed share."
        f" {fmt.plural(len(bins), 'dot')} of {rows} rows."
    )
    figures.charts["calibration"] = charts.calibration(bins, x_title=x_title, y_title=y_title, note=note)
    return reading.calibration(curve)


def importance(run: RunFiles, figures: Figures) -> tuple[Remark | None, int]:
    """The importance chart, what it says, and how many columns it leaves out."""
    table = run.analysis.get("importance") or {}
    features = sorted(numbers(table.get("features") or [], "mean"), key=lambda f: -f["mean"])
    if not features:
        return None, 0
    shown = [
        {"name": fmt.label(f["name"]), "mean": fmt.rounded(f["mean"]), "low": fmt.rounded(f.get("low", f["mean"])),
         "high": fmt.rounded(f.get("high", f["mean"]))}
        for f in features[:IMPORTANCE_ROWS]
    ]  # fmt: skip
    metric = str(table.get("metric") or "score")
    repeats = fmt.finite(table.get("repeats"))
    note = f"Bars are means of {fmt.plural(int(repeats), 'shuffle')}, lines 95 % intervals. " if repeats else ""
    if asked := table.get("networks"):
        note += f"{asked} of the networks were asked. "
    part = setting.part(run)
    note += f"Grey: not told from noise. {fmt.capital(part)}s that say the same share their worth."
    figures.charts["importance"] = charts.importance(
        shown, metric=fmt.metric_name(metric), lower_is_better=metric in fmt.LOWER_IS_BETTER, part=part, note=note
    )
    return reading.importance(table, part), len(features) - len(shown)


def mistakes(run: RunFiles) -> Json | None:
    """The worst mistakes as table rows or pictures, values of the most important columns first."""
    part = run.analysis.get("mistakes") or {}
    items = part.get("items") or []
    if not items:
        return None
    by_worth = [str(f.get("name")) for f in (run.analysis.get("importance") or {}).get("features") or []]
    named = list(dict.fromkeys(name for item in items for name in item.get("values") or {}))
    columns = sorted(named, key=lambda name: by_worth.index(name) if name in by_worth else len(by_worth))
    certain = any(fmt.finite(item.get("confidence")) is not None for item in items)
    return {
        "kind": kind if (kind := part.get("kind")) in ("images", "series") else "rows",
        "legend": str(part.get("legend") or ""),
        "columns": [
            {"name": name, "numeric": all(_is_number((item.get("values") or {}).get(name)) for item in items)}
            for name in columns[:MISTAKE_COLUMNS]
        ],
        "left_out": max(0, len(columns) - MISTAKE_COLUMNS),
        "measure": "confidence" if certain else "error",
        "items": [
            {
                "row": fmt.count(item.get("row")),
                "actual": _shown(item.get("actual")),
                "predicted": _shown(item.get("predicted")),
                "measure": fmt.percent(item.get("confidence")) if certain else fmt.number(item.get("error")),
                "values": [_shown((item.get("values") or {}).get(name)) for name in columns[:MISTAKE_COLUMNS]],
                "image": image if str(image := item.get("image") or "").startswith("data:image/") else None,
            }
            for item in items
        ],
    }


def _is_number(value: Any) -> bool:
    try:
        return value is None or value == "" or math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _shown(value: Any) -> str:
    if value is None:
        return fmt.DASH
    return fmt.number(value, 6) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
