"""The report's charts as Vega-Lite specs, plain dicts.

A string that starts with ``@`` is a colour of the page's theme (``@model``: a CSS custom property of style.css):
page.js puts the colour in, again each time the theme changes. ``{"name": …}`` as data is a table of the page, held by
column.
"""

import math
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]

HEIGHT = 260
# Eight hues told apart by most eyes; more candidates than that are not told apart by colour at all.
HUES = [f"@hue{i}" for i in range(1, 9)]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart and its words. ``alt`` is what a reader who cannot see it should know."""

    title: str
    note: str
    alt: str
    spec: Spec


def chart(spec: Spec, *, title: str, note: str = "", alt: str, height: int = HEIGHT) -> Chart:
    whole = {"width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"},
             "description": alt, **spec}  # fmt: skip
    return Chart(title=title, note=note, alt=alt, spec=whole)


def quantity(field: str, title: str, **more: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, **more}


def plain_axis(largest: float, ticks: int = 6) -> Spec:
    """An axis of plain numbers: 0.02, 40, 120k. (A bare ``~s`` format would write 0k.)"""
    return {"labelExpr": f"format(datum.value, '{'~s' if largest >= 10_000 else ',.4~r'}')", "tickCount": ticks}


def headline(rows: list[Spec], *, metric: str, note: str) -> Chart:
    """The score beside members and baseline: a row each with (label, value, low, high, kind)."""
    order = list(dict.fromkeys(row["label"] for row in rows))
    x = quantity(
        "value",
        metric,
        scale={"zero": False, "nice": True, "padding": 12},
        axis={**plain_axis(max(abs(r["value"]) for r in rows)), "tickCount": 5},
    )
    y = {"field": "label", "type": "nominal", "sort": order, "title": None,
         "axis": {"ticks": False, "domain": False, "grid": True}}  # fmt: skip
    tooltip = [{"field": "tip", "title": "title"}]
    kinds = {"domain": ["ensemble", "member", "baseline"], "range": ["@model", "@muted", "@warn"]}
    color = {"field": "kind", "type": "nominal", "scale": kinds, "legend": None}
    is_kind = "datum.kind === '{}'".format
    present = {row["kind"] for row in rows}
    marks: dict[str, Spec] = {
        "member": {"type": "tick", "thickness": 2, "size": 14, "opacity": 0.75},
        "baseline": {"type": "tick", "thickness": 3, "size": 18},
    }
    dot = {"type": "point", "filled": True, "size": 110, "opacity": 1}
    layers: list[Spec] = [
        *({"transform": [{"filter": is_kind(kind)}], "mark": mark} for kind, mark in marks.items() if kind in present),
        {"transform": [{"filter": is_kind("ensemble")}], "mark": {"type": "rule", "strokeWidth": 3},
         "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}}},
        {"transform": [{"filter": is_kind("ensemble")}], "mark": dot},
    ]  # fmt: skip
    encoding = {"x": x, "y": y, "color": color, "tooltip": tooltip}
    spec = {"data": {"values": rows}, "encoding": encoding, "layer": layers}
    return chart(spec, title="The model, single networks and the baseline", note=note, height=30 * len(order),
                  alt=f"{metric} of the ensemble with its interval, of each network, and of the baseline.")  # fmt: skip


def calibration(bins: list[Spec], *, x_title: str, y_title: str, note: str) -> Chart:
    """Observed share by predicted probability, with intervals; from where the data begins, if all of it lies high."""
    least = min(v for b in bins for v in (b["predicted"], b["observed"], b["low"]) if v is not None)
    start = math.floor(10 * least) / 10 if least >= 0.3 else 0.0
    unit: Spec = {"domain": [start, 1], "nice": False}
    axis: Spec = {"format": ".0%", "tickCount": 5}
    x = quantity("predicted", x_title, scale=unit, axis=axis)
    y = quantity("observed", y_title, scale=unit, axis=axis)
    tooltip = [{"field": "predicted", "format": ".1%", "title": "mean predicted"},
               {"field": "observed", "format": ".1%"}, {"field": "low", "format": ".1%"},
               {"field": "high", "format": ".1%"}, {"field": "count", "format": ",", "title": "rows"}]  # fmt: skip
    diagonal = {"data": {"values": [{"predicted": e, "observed": e} for e in (start, 1)]},
                "mark": {"type": "line", "strokeDash": [4, 3], "color": "@muted", "strokeWidth": 1.2},
                "encoding": {"x": x, "y": y}}  # fmt: skip
    here = {"data": {"values": bins}}
    layers: list[Spec] = [
        diagonal,
        {**here, "mark": {"type": "rule", "color": "@model", "strokeWidth": 2, "opacity": 0.55},
         "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}},
        {**here, "mark": {"type": "line", "color": "@model", "strokeWidth": 1.5, "opacity": 0.6},
         "encoding": {"x": x, "y": y}},
        {**here, "mark": {"type": "point", "filled": True, "size": 60, "color": "@model", "opacity": 1},
         "encoding": {"x": x, "y": y, "tooltip": tooltip}},
    ]  # fmt: skip
    return chart({"layer": layers}, title="Predicted against observed", note=note, height=300,
                   alt=f"{y_title} against {x_title} in {len(bins)} bins.")  # fmt: skip


def actual_predicted(points: list[Spec], *, target: str) -> Chart:
    """Predicted against actual, with the line on which a perfect model would lie."""
    values = [v for p in points for v in (p["actual"], p["predicted"])]
    ends = [min(values), max(values)]
    domain = {"domain": ends, "nice": True, "zero": False}
    number = {**plain_axis(max(map(abs, ends))), "tickCount": 6}
    x, y = (
        quantity("actual", f"actual {target}", scale=domain, axis=number),
        quantity("predicted", f"predicted {target}", scale=domain, axis=number),
    )
    line = [{"actual": e, "predicted": e} for e in ends]
    tooltip = [{"field": "actual", "format": ",.5~g"}, {"field": "predicted", "format": ",.5~g"}]
    opacity = min(0.6, max(0.12, 150 / max(1, len(points))))
    layers = [
        {"data": {"name": "points"}, "mark": {"type": "circle", "size": 22, "opacity": opacity, "color": "@model"},
         "encoding": {"x": x, "y": y, "tooltip": tooltip}},
        {"data": {"values": line}, "mark": {"type": "line", "color": "@text", "strokeDash": [4, 3], "strokeWidth": 1.2},
         "encoding": {"x": x, "y": y}},
    ]  # fmt: skip
    return chart({"layer": layers}, title="Predicted against actual",
                 note="On the dashed line the prediction is exact.", height=340,
                 alt=f"Predicted against actual {target} for {len(points)} rows.")  # fmt: skip


def residual_histogram(points: list[Spec], *, target: str) -> Chart:
    """How the errors are spread, the outermost half percent on each side gathered in the end bins."""
    errors = sorted(p["predicted"] - p["actual"] for p in points)
    cut = len(errors) // 200
    low, high = errors[cut], errors[-1 - cut]
    if high <= low:
        low, high = low - 0.5, high + 0.5
    n = max(8, min(40, round(math.sqrt(len(errors)))))
    step = (high - low) / n
    counts = [0] * n
    for e in errors:
        counts[min(n - 1, max(0, int((e - low) / step)))] += 1
    values = [{"from": low + i * step, "to": low + (i + 1) * step, "rows": c} for i, c in enumerate(counts)]
    number = {**plain_axis(max(abs(low), abs(high))), "tickCount": 6, "grid": False}
    tooltip = [
        {"field": "from", "format": ",.4~g"},
        {"field": "to", "format": ",.4~g"},
        {"field": "rows", "format": ","},
    ]
    layers: list[Spec] = [
        {"data": {"values": values}, "mark": {"type": "rect", "color": "@model", "opacity": 0.75, "stroke": "@surface"},
         "encoding": {"x": quantity("from", f"error in {target}: predicted − actual", axis=number,
                              scale={"domain": [low, high], "nice": False}),
                      "x2": {"field": "to"}, "y": quantity("rows", "rows", scale={"domainMin": 0}), "y2": {"datum": 0},
                      "tooltip": tooltip}},
        {"data": {"values": [{"zero": 0}]}, "mark": {"type": "rule", "color": "@text", "strokeDash": [4, 3]},
         "encoding": {"x": {"field": "zero", "type": "quantitative"}}},
    ]  # fmt: skip
    note = "The outermost bins hold the rows beyond them too." if cut else ""
    return chart({"layer": layers}, title="Errors: how large, and to which side", note=note, height=340,
                  alt=f"Histogram of {len(points)} errors, predicted minus actual.")  # fmt: skip


def importance(features: list[Spec], *, metric: str, lower_is_better: bool, part: str, note: str) -> Chart:
    """What shuffling a column (of series, a channel) costs, with its spread over repeats: the largest first."""
    order = [f["name"] for f in features]
    verb = "rise" if lower_is_better else "fall"
    x = quantity(
        "mean",
        f"{verb} of {metric} when the {part} is shuffled",
        scale={"nice": True},
        axis={**plain_axis(max(abs(f["mean"]) for f in features)), "tickCount": 6},
    )
    y = {"field": "name", "type": "nominal", "sort": order, "title": None, "axis": {"ticks": False}}
    tooltip = [{"field": "name", "title": part}, {"field": "mean", "format": ".3~g"},
               {"field": "low", "format": ".3~g"}, {"field": "high", "format": ".3~g"}]  # fmt: skip
    color = {"condition": {"test": "datum.low > 0", "value": "@model"}, "value": "@muted"}
    layers: list[Spec] = [
        {"mark": {"type": "bar", "opacity": 0.35, "height": {"band": 0.62}}, "encoding": {"color": color}},
        {"mark": {"type": "rule", "strokeWidth": 2},
         "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": color}},
        {"mark": {"type": "point", "filled": True, "size": 45, "opacity": 1}, "encoding": {"color": color}},
    ]  # fmt: skip
    return chart({"data": {"values": features}, "encoding": {"x": x, "y": y, "tooltip": tooltip}, "layer": layers},
                  title=f"What each {part} is worth", note=note, height=24 * len(order),
                  alt=f"Importance of {len(features)} {part}s with intervals, largest first.")  # fmt: skip


def confusion_map(cells: list[Spec], classes: list[str]) -> Chart:
    """A heat map for more classes than a table can show; colours are shares of the row."""
    axis = {"labelOverlap": "greedy"}
    scale = {"domain": [0, 1], "range": ["@heat0", "@heat1", "@heat2"]}
    encoding = {
        "x": {"field": "predicted", "type": "nominal", "sort": classes, "title": "predicted", "axis": axis,
              "scale": {"domain": classes}},
        "y": {"field": "actual", "type": "nominal", "sort": classes, "title": "actual", "axis": axis,
              "scale": {"domain": classes}},
        "color": {"field": "share", "type": "quantitative", "scale": scale, "title": "share of row",
                  "legend": {"format": ".0%"}},
        "tooltip": [{"field": "actual"}, {"field": "predicted"}, {"field": "rows", "format": ","},
                    {"field": "share", "format": ".1%"}],
    }  # fmt: skip
    return chart({"data": {"values": cells}, "mark": "rect", "encoding": encoding},
                  title="What was taken for what", note="Each row of the map adds up to 100 %.", height=560,
                  alt=f"Confusion matrix of {len(classes)} classes.")  # fmt: skip
