"""The report's charts as Vega-Lite specs, plain dicts.

A string that starts with ``@`` is a colour of the page's theme (``@model``: a CSS custom property of style.css): page.js
puts the colour in, again each time the theme changes. ``{"name": …}`` as data is a table of the page, held by column.
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


def _chart(spec: Spec, *, title: str, note: str = "", alt: str, height: int = HEIGHT) -> Chart:
    whole = {"width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"},
             "description": alt, **spec}  # fmt: skip
    return Chart(title=title, note=note, alt=alt, spec=whole)


def _x(field: str, title: str, **more: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, **more}


def _epoch(epochs: int) -> Spec:
    axis: Spec = {"tickMinStep": 1, "format": "d", "grid": False}
    return _x("epoch", "epoch", scale={"domain": [min(1, epochs), max(2, epochs)], "nice": False}, axis=axis)


def scale_for(values: list[float | None], *, floor: float | None = None) -> Spec:
    """Logarithmic where the values span more than a factor of 20, else linear and not forced to start at zero."""
    known = [v for v in values if v is not None]
    if known and min(known) > 0 and max(known) / min(known) > 20:
        return {"type": "log", "nice": False}
    return {"zero": False} | ({"domainMin": floor} if floor is not None else {})


@dataclass(frozen=True)
class Series:
    """A column of the history to draw: its label in the legend and its colour."""

    field: str
    label: str
    color: str


def curves(
    series: list[Series], *, y_title: str, epochs: int, scale: Spec, title: str, note: str, alt: str, best: str | None,
    many: bool, spread: bool,
) -> Chart:  # fmt: skip
    """Members as thin lines, their mean as a thick one with a band of one standard deviation, best epochs as dots.

    Reads the tables ``members``, ``mean`` and ``best``. ``best`` names the series whose best epochs are marked,
    ``many`` says that members are so many that their lines must be faint.
    """
    legend: Spec = {"domain": [s.label for s in series], "range": [s.color for s in series]}
    color = {s.field: {"datum": s.label, "type": "nominal", "scale": legend, "title": None} for s in series}
    if len(series) == 1:
        color[series[0].field]["legend"] = None
    y = {s.field: _x(s.field, y_title, scale=scale) for s in series}
    layers: list[Spec] = [_hover(series)]
    for s in series if spread else []:
        band = {"y": {**y[s.field], "field": f"{s.field}_low"}, "y2": {"field": f"{s.field}_high"}}
        layers.append({"data": {"name": "mean"}, "mark": {"type": "area", "opacity": 0.16, "clip": True},
                       "encoding": {**band, "color": color[s.field]}})  # fmt: skip
    for s in series:
        mark = {"type": "line", "strokeWidth": 1, "opacity": 0.18 if many else 0.45, "clip": True}
        layers.append({"data": {"name": "members"}, "mark": {**mark, "tooltip": None},
                       "encoding": {"y": y[s.field], "color": color[s.field], "detail": {"field": "member"}}})  # fmt: skip
    for s in series if spread else []:
        layers.append({"data": {"name": "mean"}, "mark": {"type": "line", "strokeWidth": 2.5, "clip": True},
                       "encoding": {"y": y[s.field], "color": color[s.field]}})  # fmt: skip
    if best:
        layers.append(_best(y[best], color[best], best, y_title))
    return _chart(
        {"encoding": {"x": _epoch(epochs)}, "layer": layers, "resolve": {"scale": {"color": "shared"}}},
        title=title, note=note, alt=alt,
    )  # fmt: skip


def curves_by_candidate(
    field: str, *, y_title: str, epochs: int, scale: Spec, title: str, note: str, alt: str, labels: list[str],
    many: bool, best: bool,
) -> Chart:  # fmt: skip
    """One series, a colour per candidate: members thin, candidates' means thick."""
    told_apart = len(labels) <= len(HUES)
    color: Spec = {"field": "candidate", "type": "nominal", "title": None, "scale": {"domain": labels, "range": HUES}}
    if not told_apart:
        color = {"value": "@model"}
    y = _x(field, y_title, scale=scale)
    tooltip = [{"field": "candidate"}, {"field": "epoch"}, {"field": field, "title": f"mean {y_title}", "format": ".4~g"},
               {"field": "networks"}]  # fmt: skip
    thin = {"type": "line", "strokeWidth": 1, "opacity": 0.15 if many else 0.35, "clip": True, "tooltip": None}
    layers: list[Spec] = [
        {"data": {"name": "members"}, "mark": thin,
         "encoding": {"y": y, "color": color, "detail": {"field": "member"}}},
        {"data": {"name": "mean"}, "mark": {"type": "line", "strokeWidth": 2.5 if told_apart else 1.2, "clip": True},
         "encoding": {"y": y, "color": color, "tooltip": tooltip, "detail": {"field": "candidate"}}},
    ]  # fmt: skip
    if best:
        layers.append(_best(y, color, field, y_title))
    return _chart({"encoding": {"x": _epoch(epochs)}, "layer": layers}, title=title, note=note, alt=alt)


def _best(y: Spec, color: Spec, field: str, y_title: str) -> Spec:
    mark = {"type": "point", "filled": True, "size": 42, "opacity": 1, "stroke": "@surface", "strokeWidth": 1.2}
    tooltip = [{"field": "who", "title": "network"}, {"field": "epoch", "title": "best epoch"},
               {"field": field, "title": y_title, "format": ".4~g"}]  # fmt: skip
    return {"data": {"name": "best"}, "mark": mark, "encoding": {"y": y, "color": color, "tooltip": tooltip}}


def _hover(series: list[Series]) -> Spec:
    """A vertical line that follows the pointer and tells the epoch's means."""
    tooltip: list[Spec] = [{"field": "epoch"}]
    for s in series:
        tooltip.append({"field": s.field, "title": f"{s.label}, mean", "format": ".4~g"})
    tooltip.append({"field": "networks", "title": "networks training"})
    pick = {"type": "point", "on": "pointerover", "nearest": True, "clear": "pointerout", "encodings": ["x"]}
    return {
        "data": {"name": "mean"},
        "params": [{"name": "epoch_at", "select": pick}],
        "mark": {"type": "rule", "color": "@axis", "strokeWidth": 1},
        "encoding": {
            "opacity": {"condition": {"param": "epoch_at", "empty": False, "value": 1}, "value": 0},
            "tooltip": tooltip,
        },
    }


def schedule(labels: list[str], *, epochs: int, scale: Spec, by: str) -> Chart:
    """The learning rate by epoch, from the table ``rates``."""
    color: Spec = {"field": "schedule", "type": "nominal", "title": None, "scale": {"range": HUES}}
    if not 1 < len(labels) <= len(HUES):
        color = {"value": "@model"}
    tooltip = [{"field": "epoch"}, {"field": "lr", "title": "learning rate", "format": ".3~e"}]
    if len(labels) > 1:
        tooltip.insert(0, {"field": "schedule", "title": "candidate"})
    encoding = {"x": _epoch(epochs), "color": color, "detail": {"field": "schedule"}, "tooltip": tooltip,
                "y": _x("lr", "learning rate", scale=scale, axis={"format": ".1~e"})}  # fmt: skip
    mark = {"type": "line", "strokeWidth": 2, "point": {"size": 60, "opacity": 0}}
    return _chart(
        {"data": {"name": "rates"}, "mark": mark, "encoding": encoding},
        title="The step size over the run",
        note=by,
        alt="Learning rate at the end of each epoch.",
        height=200,
    )


def layer_lines(layers: list[str], *, epochs: int) -> Chart:
    """Gradient norm per layer, one line each, coloured by depth; a heat map where there are too many to tell apart."""
    title, note = (
        "Gradients reach every layer?",
        "Median over the networks; a layer's norm is that of all its parameters.",
    )
    alt = f"Gradient norm by epoch for each of {len(layers)} layers."
    tooltip = [{"field": "layer"}, {"field": "epoch"}, {"field": "norm", "title": "median norm", "format": ".3~g"},
               {"field": "low", "title": "smallest", "format": ".3~g"},
               {"field": "high", "title": "largest", "format": ".3~g"}]  # fmt: skip
    if len(layers) <= len(HUES):
        color = {"field": "layer", "type": "nominal", "title": None,
                 "scale": {"domain": layers, "range": [f"@depth{1 + round(7 * i / max(1, len(layers) - 1))}" for i in range(len(layers))]}}  # fmt: skip
        y = _x("norm", "gradient norm (log)", scale={"type": "log", "nice": False}, axis={"format": ".1~e"})
        mark = {"type": "line", "strokeWidth": 2, "point": {"size": 60, "opacity": 0}}
        encoding: Spec = {"x": _epoch(epochs), "y": y, "color": color, "tooltip": tooltip}
        return _chart({"data": {"name": "layers"}, "mark": mark, "encoding": encoding},
                      title=title, note=f"{note} Darker is deeper.", alt=alt, height=240)  # fmt: skip
    scale: Spec = {"type": "log", "range": ["@heat0", "@heat1", "@heat2"]}
    encoding = {
        "x": {"field": "epoch", "type": "ordinal", "title": "epoch",
              "axis": {"labelOverlap": "greedy", "labelAngle": 0}},
        "y": {"field": "layer", "type": "nominal", "sort": layers, "title": None},
        "color": {"field": "norm", "type": "quantitative", "scale": scale, "title": "norm (log)"},
        "tooltip": tooltip,
    }  # fmt: skip
    return _chart({"data": {"name": "layers"}, "mark": "rect", "encoding": encoding},
                  title=title, note=f"{note} First layer on top.", alt=alt, height=16 * len(layers))  # fmt: skip


def whole_gradient(*, epochs: int, scale: Spec, clip: float | None, many: bool) -> Chart:
    """The norm of each member's whole gradient before clipping, with the clip norm as a line."""
    y = _x("grad_norm", "gradient norm", scale=scale)
    thin = {"type": "line", "strokeWidth": 1, "opacity": 0.18 if many else 0.45, "color": "@model", "tooltip": None}
    tooltip = [{"field": "epoch"}, {"field": "grad_norm", "title": "mean norm", "format": ".3~g"}]
    thick = {"type": "line", "strokeWidth": 2.2, "color": "@model", "point": {"size": 60, "opacity": 0}}
    layers: list[Spec] = [
        {"data": {"name": "members"}, "mark": thin, "encoding": {"y": y, "detail": {"field": "member"}}},
        {"data": {"name": "mean"}, "mark": thick,
         "encoding": {"y": y, "tooltip": tooltip, "detail": {"field": "candidate"}}},
    ]  # fmt: skip
    for layer in layers:
        layer["encoding"]["x"] = _epoch(epochs)
    if clip is not None:
        text = {"type": "text", "align": "right", "baseline": "bottom", "dy": -3, "color": "@warn", "fontWeight": 600}
        layers += [
            {"data": {"values": [{"clip": clip}]}, "mark": {"type": "rule", "color": "@warn", "strokeDash": [4, 3]},
             "encoding": {"y": {"field": "clip", "type": "quantitative"}}},
            {"data": {"values": [{"clip": clip}]}, "mark": {**text, "x": "width"},
             "encoding": {"y": {"field": "clip", "type": "quantitative"}, "text": {"value": f"clip norm {clip:g}"}}},
        ]  # fmt: skip
    return _chart({"layer": layers}, title="The whole gradient, before clipping",
                  note="Mean over each epoch's batches.", height=240,
                  alt="Norm of each network's whole gradient by epoch.")  # fmt: skip


def headline(rows: list[Spec], *, metric: str, digits: str, note: str) -> Chart:
    """The score beside members and baseline: a row each with (label, value, low, high, kind)."""
    order = list(dict.fromkeys(row["label"] for row in rows))
    x = _x("value", metric, scale={"zero": False, "nice": True, "padding": 12}, axis={"format": digits, "tickCount": 5})
    y = {"field": "label", "type": "nominal", "sort": order, "title": None,
         "axis": {"ticks": False, "domain": False, "grid": True}}  # fmt: skip
    tooltip = [{"field": "tip", "title": "title"}]
    kinds = {"domain": ["ensemble", "member", "baseline"], "range": ["@model", "@muted", "@warn"]}
    color = {"field": "kind", "type": "nominal", "scale": kinds, "legend": None}
    is_kind = "datum.kind === '{}'".format
    here = {row["kind"] for row in rows}
    ticks = [(kind, mark) for kind, mark in (("member", {"thickness": 2, "size": 14, "opacity": 0.75}),
                                             ("baseline", {"thickness": 3, "size": 18})) if kind in here]  # fmt: skip
    layers: list[Spec] = [
        *({"transform": [{"filter": is_kind(kind)}], "mark": {"type": "tick", **mark}} for kind, mark in ticks),
        {"transform": [{"filter": is_kind("ensemble")}], "mark": {"type": "rule", "strokeWidth": 3},
         "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}}},
        {"transform": [{"filter": is_kind("ensemble")}], "mark": {"type": "point", "filled": True, "size": 110}},
    ]  # fmt: skip
    encoding = {"x": x, "y": y, "color": color, "tooltip": tooltip}
    spec = {"data": {"values": rows}, "encoding": encoding, "layer": layers}
    return _chart(spec, title="The score in its surroundings", note=note, height=30 * len(order),
                  alt=f"{metric} of the ensemble with its interval, of each network, and of the baseline.")  # fmt: skip


def calibration(bins: list[Spec], *, x_title: str, y_title: str, note: str) -> tuple[Chart, Chart]:
    """Observed share by predicted probability, with intervals; and how many rows lie in each bin."""
    unit: Spec = {"domain": [0, 1], "nice": False}
    axis: Spec = {"format": ".0%", "minExtent": 44, "maxExtent": 44, "tickCount": 5}
    x = _x("predicted", x_title, scale=unit, axis={"format": ".0%", "tickCount": 5})
    y = _x("observed", y_title, scale=unit, axis=axis)
    tooltip = [{"field": "predicted", "format": ".1%", "title": "mean predicted"},
               {"field": "observed", "format": ".1%"}, {"field": "low", "format": ".1%"},
               {"field": "high", "format": ".1%"}, {"field": "count", "format": ",", "title": "rows"}]  # fmt: skip
    diagonal = {"data": {"values": [{"predicted": 0, "observed": 0}, {"predicted": 1, "observed": 1}]},
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
    curve = _chart({"layer": layers}, title="Can the probabilities be taken at their word?", note=note, height=300,
                   alt=f"{y_title} against {x_title} in {len(bins)} bins.")  # fmt: skip
    counts = _chart(
        {"data": {"values": bins}, "mark": {"type": "bar", "color": "@model", "opacity": 0.7, "width": 9},
         "encoding": {"x": x, "y": _x("count", "rows", axis={"minExtent": 44, "maxExtent": 44, "tickCount": 3, "format": "~s"}),
                      "tooltip": tooltip}},
        title="Where the predictions lie", note="Rows in each bin, at its mean predicted probability.", height=110,
        alt="Number of rows by predicted probability.",
    )  # fmt: skip
    return curve, counts


def actual_predicted(points: list[Spec], *, target: str) -> Chart:
    """Predicted against actual, with the line on which a perfect model would lie."""
    values = [v for p in points for v in (p["actual"], p["predicted"])]
    ends = [min(values), max(values)]
    domain = {"domain": ends, "nice": True, "zero": False}
    number = {"format": "~s" if max(map(abs, ends)) >= 10_000 else ".4~g", "tickCount": 6}
    x, y = (
        _x("actual", f"actual {target}", scale=domain, axis=number),
        _x("predicted", f"predicted {target}", scale=domain, axis=number),
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
    return _chart({"layer": layers}, title="Predicted against actual", note="On the dashed line the prediction is exact.",
                  height=340, alt=f"Predicted against actual {target} for {len(points)} rows.")  # fmt: skip


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
    number = {"format": "~s" if max(abs(low), abs(high)) >= 10_000 else ".3~g", "tickCount": 6, "grid": False}
    tooltip = [
        {"field": "from", "format": ",.4~g"},
        {"field": "to", "format": ",.4~g"},
        {"field": "rows", "format": ","},
    ]
    layers: list[Spec] = [
        {"data": {"values": values}, "mark": {"type": "bar", "color": "@model", "opacity": 0.75, "binSpacing": 1},
         "encoding": {"x": _x("from", f"error in {target}: predicted − actual", axis=number, bin={"binned": True},
                              scale={"domain": [low, high], "nice": False}),
                      "x2": {"field": "to"}, "y": _x("rows", "rows"), "tooltip": tooltip}},
        {"data": {"values": [{"zero": 0}]}, "mark": {"type": "rule", "color": "@text", "strokeDash": [4, 3]},
         "encoding": {"x": {"field": "zero", "type": "quantitative"}}},
    ]  # fmt: skip
    note = "The outermost bins hold the rows beyond them too." if cut else ""
    return _chart({"layer": layers}, title="How far off, and to which side", note=note, height=340,
                  alt=f"Histogram of {len(points)} errors, predicted minus actual.")  # fmt: skip


def importance(features: list[Spec], *, metric: str, lower_is_better: bool, note: str) -> Chart:
    """What shuffling a column costs, with its spread over repeats: the largest first."""
    order = [f["name"] for f in features]
    verb = "rise" if lower_is_better else "fall"
    x = _x(
        "mean",
        f"{verb} of {metric} when the column is shuffled",
        scale={"nice": True},
        axis={"format": ".3~g", "tickCount": 6},
    )
    y = {"field": "name", "type": "nominal", "sort": order, "title": None, "axis": {"ticks": False}}
    tooltip = [{"field": "name", "title": "column"}, {"field": "mean", "format": ".3~g"},
               {"field": "low", "format": ".3~g"}, {"field": "high", "format": ".3~g"}]  # fmt: skip
    color = {"condition": {"test": "datum.low > 0", "value": "@model"}, "value": "@muted"}
    layers: list[Spec] = [
        {"mark": {"type": "bar", "opacity": 0.35, "height": {"band": 0.62}}, "encoding": {"color": color}},
        {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": color}},
        {"mark": {"type": "point", "filled": True, "size": 45, "opacity": 1}, "encoding": {"color": color}},
    ]  # fmt: skip
    return _chart({"data": {"values": features}, "encoding": {"x": x, "y": y, "tooltip": tooltip}, "layer": layers},
                  title="What each column is worth", note=note, height=24 * len(order),
                  alt=f"Importance of {len(features)} columns with intervals, largest first.")  # fmt: skip


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
    return _chart({"data": {"values": cells}, "mark": "rect", "encoding": encoding},
                  title="What was taken for what", note="Each row of the map adds up to 100 %.", height=560,
                  alt=f"Confusion matrix of {len(classes)} classes.")  # fmt: skip
