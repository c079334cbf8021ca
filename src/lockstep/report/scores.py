"""The sections on how good it is: headline, metrics, leaderboard, candidates."""

from typing import Any

from lockstep.report import charts, reading
from lockstep.report import format as fmt
from lockstep.report.comparison import labels, shipped
from lockstep.report.figures import Figures
from lockstep.report.files import Json, RunFiles
from lockstep.report.members import label_candidates, who
from lockstep.report.setting import unit

LEADERBOARD_ROWS = 200


def rows_name(run: RunFiles, rows: Any) -> str:
    return f"{rows or 'measured'} {unit(run)}"


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
    rows = rows_name(run, run.metrics.get("rows"))
    remark = reading.against_baseline(metric, estimate, base, str(baseline.get("what") or ""))
    covered = reading.coverage(metrics.get("coverage") or {}, fmt.finite(run.metrics.get("quantile")))
    tests = [v for m in shipped(run) if (v := _of(m, "test", metric)) is not None]
    members = reading.averaging(metric, value, tests, rows)
    _headline_chart(figures, metric, estimate, base, run, places)
    return {
        "metric": metric,
        "name": fmt.capital(fmt.metric_name(metric)),
        "meaning": fmt.meaning(metric, run.manifest.get("task")),
        "value": fmt.score(metric, value, places),
        "interval": fmt.interval(metric, low, high, places),
        "how": str(run.metrics.get("interval") or ""),
        "n_rows": fmt.count(run.metrics.get("n_rows")),
        "rows": rows,
        "is_test": run.metrics.get("rows") == "test",
        "baseline": None if base is None else fmt.score(metric, base, places),
        "baseline_what": str(baseline.get("what") or "baseline"),
        "remarks": [r for r in (remark, covered, members) if r],
    }


def _of(member: Json, where: str, metric: str) -> float | None:
    return fmt.finite((member.get(where) or {}).get(metric))


def _headline_chart(
    figures: Figures, metric: str, estimate: Json, base: float | None, run: RunFiles, places: int
) -> None:
    rows = rows_name(run, run.metrics.get("rows"))
    value, low, high = estimate["value"], estimate.get("low"), estimate.get("high")

    def tip(text: str, v: float, more: str = "") -> str:
        return f"{text}: {fmt.score(metric, v, places)} {more}".strip()

    interval = fmt.interval(metric, low, high, places)
    table = [{"label": f"model, {rows}", "kind": "ensemble", "value": value, "tip": tip("model", value, interval),
              "low": value if low is None else low, "high": value if high is None else high}]  # fmt: skip
    single = len(shipped(run)) < 2
    networks = "network" if single else "networks"
    for where, label in (("test", f"{networks}, {rows}"), ("out_of_fold", f"{networks}, out-of-fold")):
        if single and where == "test":
            continue  # the network is the model
        for m in shipped(run):
            if (v := _of(m, where, metric)) is not None:
                table.append({"label": label, "kind": "member", "value": v, "tip": tip(who(m), v)})
    if len(table) == 1 and base is None:
        return
    ends = [v for row in table for v in (row["value"], row.get("low"), row.get("high")) if v is not None]
    width = max(ends) - min(ends)
    note = "The dot is the model with its interval; thin marks are single networks."
    if base is not None:
        if width and abs(base - value) > 25 * width:
            side = "left" if base < value else "right"
            note += f" The baseline, {fmt.score(metric, base, places)}, lies far off to the {side}."
        else:
            table.append({"label": "baseline", "kind": "baseline", "value": base, "tip": tip("baseline", base)})
    figures.charts["headline"] = charts.headline(table, metric=fmt.metric_name(metric), note=note)


def metrics_table(run: RunFiles) -> list[Json]:
    """A row per metric: ensemble with interval, networks alone, out-of-fold, baseline. Headline first."""
    metrics = run.metrics.get("metrics") or {}
    first = run.metrics.get("headline")
    baseline = (run.metrics.get("baseline") or {}).get("metrics") or {}
    members = shipped(run)
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
                "meaning": fmt.meaning(metric, run.manifest.get("task")) + _of_class(metric, run) + _asked(metric, run),
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


def _asked(metric: str, run: RunFiles) -> str:
    """Of the coverage, what it should be."""
    quantile = fmt.finite(run.metrics.get("quantile"))
    return f"; {fmt.score(metric, quantile)} was asked for" if metric == "coverage" and quantile is not None else ""


def _of_class(metric: str, run: RunFiles) -> str:
    """Of two classes, the one that a metric is about: it would be another number for the other one."""
    classes = run.manifest.get("classes") or []
    return f", of the class {classes[1]}" if metric in ("f1", "average_precision") and len(classes) == 2 else ""


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
    rows = label_candidates([{**m, **scored.get(m.get("member"), {})} for m in members or scored.values()], labels(run))
    all_scores = [v for row in rows for w in ("test", "out_of_fold") if (v := _of(row, w, metric)) is not None]
    places = fmt.places_for(metric, min(all_scores), max(all_scores)) if all_scores else 3
    estimate = (run.metrics.get("metrics") or {}).get(metric) or {}
    if finite := [estimate[key] for key in ("low", "high") if fmt.finite(estimate.get(key)) is not None]:
        places = min(places, 1 + fmt.places_for(metric, finite[0], finite[-1], estimate.get("value")))

    def key(row: Json) -> tuple[bool, float]:
        value = _of(row, "out_of_fold", metric)
        return (value is None, 0 if value is None else value if metric in fmt.LOWER_IS_BETTER else -value)

    table = [
        {
            "member": row.get("member"),
            "label": row["label"],
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
        "has_labels": any(row["label"] for row in table),
        "has_rows": any(row["train_rows"] != fmt.DASH for row in table),
        "candidates": [] if run.comparison else _candidates(rows, metric, places),
    }


def _candidates(rows: list[Json], metric: str, places: int) -> list[Json]:
    groups: dict[str, list[Json]] = {}
    for row in rows:
        groups.setdefault(row["label"], []).append(row)
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
