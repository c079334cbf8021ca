"""The sections on what came out: headline, metrics, leaderboard, and what the analysis of the rows showed."""

from collections.abc import Sequence
from typing import Any

from lockstep.report import charts, reading
from lockstep.report import format as fmt
from lockstep.report.figures import Figures
from lockstep.report.files import Json, RunFiles
from lockstep.report.reading import Remark

LEADERBOARD_ROWS = 200
IMPORTANCE_ROWS = 30
TABLE_CLASSES = 30  # a confusion matrix as a table; above this as a chart
MISTAKE_COLUMNS = 10


def numbers(items: Sequence[Json], *keys: str) -> list[Json]:
    """The items whose ``keys`` are all finite numbers."""
    return [item for item in items if all(fmt.finite(item.get(key)) is not None for key in keys)]


def rows_name(rows: Any) -> str:
    return {"test": "test rows", "out-of-fold": "out-of-fold rows"}.get(str(rows), f"{rows or 'measured'} rows")


def who(member: Json) -> str:
    """``"network 3 (fold 3, seed 0)"``."""
    return f"network {member.get('member')} (fold {member.get('fold', 0)}, seed {member.get('seed', 0)})"


def choices(member: Json) -> str:
    """A candidate's own settings, ``"optimizer.lr=0.001, model.hidden=256×256"``; empty where nothing varies."""
    chosen = member.get("choices") or {}
    return fmt.label(", ".join(f"{key}={_choice(value)}" for key, value in chosen.items()))


def _choice(value: Any) -> str:
    if isinstance(value, list):
        return "×".join(map(str, value))
    return fmt.number(value) if isinstance(value, float) else str(value)


def headline(run: RunFiles, figures: Figures) -> Json | None:
    """The headline metric, its interval, baseline and chart. None while there are no scores."""
    metrics = run.metrics.get("metrics") or {}
    metric = str(run.metrics.get("headline") or next(iter(metrics), ""))
    estimate = metrics.get(metric) or {}
    value, low, high = (fmt.finite(estimate.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return None
    places = fmt.places_for(metric, low, high, value)
    baseline = run.metrics.get("baseline") or {}
    base = fmt.finite((baseline.get("metrics") or {}).get(metric))
    rows = rows_name(run.metrics.get("rows"))
    remark = reading.against_baseline(metric, estimate, base, str(baseline.get("what") or ""))
    tests = [v for m in run.metrics.get("members") or [] if (v := _of(m, "test", metric)) is not None]
    members = reading.averaging(metric, value, tests, rows)
    _headline_chart(figures, metric, estimate, base, run, places)
    return {
        "metric": metric,
        "name": fmt.capital(fmt.metric_name(metric)),
        "meaning": fmt.MEANINGS.get(metric, ""),
        "value": fmt.score(metric, value, places),
        "interval": fmt.interval(metric, low, high, places),
        "how": str(run.metrics.get("interval") or ""),
        "n_rows": fmt.count(run.metrics.get("n_rows")),
        "rows": rows,
        "is_test": run.metrics.get("rows") == "test",
        "baseline": None if base is None else fmt.score(metric, base, places),
        "baseline_what": str(baseline.get("what") or "baseline"),
        "remarks": [r for r in (remark, members) if r],
    }


def _of(member: Json, where: str, metric: str) -> float | None:
    return fmt.finite((member.get(where) or {}).get(metric))


def _headline_chart(
    figures: Figures, metric: str, estimate: Json, base: float | None, run: RunFiles, places: int
) -> None:
    rows = rows_name(run.metrics.get("rows"))
    value, low, high = estimate["value"], estimate.get("low"), estimate.get("high")

    def tip(text: str, v: float, more: str = "") -> str:
        return f"{text}: {fmt.score(metric, v, places)} {more}".strip()

    interval = fmt.interval(metric, low, high, places)
    table = [{"label": f"ensemble, {rows}", "kind": "ensemble", "value": value, "tip": tip("ensemble", value, interval),
              "low": value if low is None else low, "high": value if high is None else high}]  # fmt: skip
    for where, label in (("test", f"networks, {rows}"), ("out_of_fold", "networks, out-of-fold")):
        for m in run.metrics.get("members") or []:
            if (v := _of(m, where, metric)) is not None:
                table.append({"label": label, "kind": "member", "value": v, "tip": tip(who(m), v)})
    if len(table) == 1 and base is None:
        return
    ends = [v for row in table for v in (row["value"], row.get("low"), row.get("high")) if v is not None]
    width = max(ends) - min(ends)
    note = "Thin marks are single networks; the dot is their average as one model, with its 95 % interval."
    if base is not None:
        if width and abs(base - value) > 25 * width:
            side = "left" if base < value else "right"
            note += f" The baseline, {fmt.score(metric, base, places)}, lies far off to the {side}."
        else:
            table.append({"label": "baseline", "kind": "baseline", "value": base, "tip": tip("baseline", base)})
    digits = ",.4~g" if metric not in fmt.SHARES else ".4~f"
    figures.charts["headline"] = charts.headline(table, metric=fmt.metric_name(metric), digits=digits, note=note)


def metrics_table(run: RunFiles) -> list[Json]:
    """A row per metric: ensemble with interval, networks alone, out-of-fold, baseline. Headline first."""
    metrics = run.metrics.get("metrics") or {}
    first = run.metrics.get("headline")
    baseline = (run.metrics.get("baseline") or {}).get("metrics") or {}
    members = run.metrics.get("members") or []
    table = []
    for metric in sorted(metrics, key=lambda m: m != first):
        estimate = metrics[metric] or {}
        low, high, value = estimate.get("low"), estimate.get("high"), estimate.get("value")
        places = fmt.places_for(metric, low, high, value)
        alone = [v for m in members if (v := _of(m, "test", metric)) is not None]
        out_of_fold = (run.metrics.get("out_of_fold") or {}).get(metric) or {}
        table.append(
            {
                "name": fmt.metric_name(metric),
                "meaning": fmt.MEANINGS.get(metric, ""),
                "better": "lower" if metric in fmt.LOWER_IS_BETTER else "higher",
                "headline": metric == first,
                "value": fmt.score(metric, value, places),
                "interval": fmt.interval(metric, low, high, places),
                "alone": fmt.score(metric, sum(alone) / len(alone), places) if alone else "",
                "out_of_fold": _mean_spread(metric, out_of_fold.get("mean"), out_of_fold.get("std"), places),
                "baseline": fmt.score(metric, baseline[metric], places) if metric in baseline else "",
            }
        )
    return table


def _mean_spread(metric: str, mean: Any, std: Any, places: int) -> str:
    if fmt.finite(mean) is None:
        return ""
    spread = f" ± {fmt.score(metric, std, places)}" if fmt.finite(std) is not None else ""
    return fmt.score(metric, mean, places) + spread


def leaderboard(run: RunFiles, members: list[Json]) -> Json:
    """Every network, the best out-of-fold score first; and candidates, where there are several.

    ``members`` is the population of the manifest; scores come from the metrics.
    """
    metric = str(run.metrics.get("headline") or "")
    scored = {m.get("member"): m for m in run.metrics.get("members") or []}
    rows = [{**member, **scored.get(member.get("member"), {})} for member in members or scored.values()]
    all_scores = [v for row in rows for w in ("test", "out_of_fold") if (v := _of(row, w, metric)) is not None]
    places = fmt.places_for(metric, min(all_scores), max(all_scores)) if all_scores else 3

    def key(row: Json) -> tuple[bool, float]:
        value = _of(row, "out_of_fold", metric)
        return (value is None, 0 if value is None else value if metric in fmt.LOWER_IS_BETTER else -value)

    table = [
        {
            "member": row.get("member"),
            "choices": choices(row),
            "fold": row.get("fold", 0),
            "seed": row.get("seed", 0),
            "test": fmt.score(metric, _of(row, "test", metric), places),
            "test_value": _of(row, "test", metric),
            "out_of_fold": fmt.score(metric, _of(row, "out_of_fold", metric), places),
            "out_of_fold_value": _of(row, "out_of_fold", metric),
            "best_epoch": row.get("best_epoch"),
            "epochs": row.get("epochs"),
            "train_rows": fmt.count(row.get("train_rows")),
            "valid_rows": fmt.count(row.get("valid_rows")),
            "ended": str(row.get("ended") or ""),
        }
        for row in sorted(rows, key=key)
    ]
    return {
        "metric": fmt.metric_name(metric) if metric else "score",
        "rows": table[:LEADERBOARD_ROWS],
        "left_out": max(0, len(table) - LEADERBOARD_ROWS),
        "has_test": any(row["test_value"] is not None for row in table),
        "has_scores": bool(all_scores),
        "has_choices": any(row["choices"] for row in table),
        "has_rows": any(row["train_rows"] != fmt.DASH for row in table),
        "candidates": _candidates(rows, metric, places),
    }


def _candidates(rows: list[Json], metric: str, places: int) -> list[Json]:
    groups: dict[str, list[Json]] = {}
    for row in rows:
        groups.setdefault(choices(row), []).append(row)
    if len(groups) < 2:
        return []
    table = []
    for label, group in groups.items():
        values = [v for row in group if (v := _of(row, "out_of_fold", metric)) is not None]
        tests = [v for row in group if (v := _of(row, "test", metric)) is not None]
        mean = sum(values) / len(values) if values else None
        std = (
            (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
            if mean is not None and values[1:]
            else None
        )
        table.append({"label": label, "networks": len(group), "mean": mean,
                      "out_of_fold": _mean_spread(metric, mean, std, places),
                      "test": fmt.score(metric, sum(tests) / len(tests), places) if tests else ""})  # fmt: skip
    sign = 1 if metric in fmt.LOWER_IS_BETTER else -1
    return sorted(table, key=lambda c: (c["mean"] is None, sign * (c["mean"] or 0)))


def confusion(run: RunFiles, figures: Figures) -> Json | None:
    """The confusion matrix as a table (or a chart for many classes), scores per class, and remarks."""
    matrix = run.analysis.get("confusion") or {}
    classes, counts = [str(c) for c in matrix.get("classes") or []], matrix.get("counts") or []
    if len(classes) < 2 or len(counts) != len(classes) or any(len(row) != len(classes) for row in counts):
        return None
    table = [
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
            {"name": s.name, "rows": fmt.count(s.rows), **{k: fmt.score("f1", getattr(s, k)) for k in ("precision", "recall", "f1")}}
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
    return reading.residuals(points)


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
    note = "On the dashed line probabilities are exact; bars are 95 % intervals of the observed share."
    curve_chart, counts = charts.calibration(bins, x_title=x_title, y_title=y_title, note=note)
    figures.charts["calibration"], figures.charts["calibration_counts"] = curve_chart, counts
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
    note = f"Bars are means of {fmt.plural(int(repeats), 'shuffle')}, lines their spread. " if repeats else ""
    note += "Grey: not told from noise. Columns that say the same share their worth."
    figures.charts["importance"] = charts.importance(
        shown, metric=fmt.metric_name(metric), lower_is_better=metric in fmt.LOWER_IS_BETTER, note=note
    )
    return reading.importance(table), len(features) - len(shown)


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
        "kind": "images" if part.get("kind") == "images" else "rows",
        "columns": columns[:MISTAKE_COLUMNS],
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


def _shown(value: Any) -> str:
    if value is None:
        return fmt.DASH
    return fmt.number(value, 6) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
