"""The charts of training: curves, learning rates, gradients. They read the tables that history.py prepares."""

import math
from dataclasses import dataclass
from typing import Any

from lockstep.report.charts import HUES, Chart, Spec, chart, quantity

FEW = 5  # of many candidates, those that are told apart by colour
_SMALL: Spec = {"labelExpr": "datum.value === 0 ? '0' : format(datum.value, '.2~e')"}
_LOG: Spec = {"labelExpr": "format(datum.value, '.2~g')"}


def epoch_axis(epochs: int) -> Spec:
    axis: Spec = {"tickMinStep": 1, "format": "d", "grid": False}
    if epochs <= 6:  # Vega would put ticks between them, and name 1.5 "2"
        axis["values"] = list(range(1, epochs + 1))
    ends = [1, epochs] if epochs > 1 else [0.5, 1.5]
    return quantity("epoch", "epoch", scale={"domain": ends, "nice": False}, axis=axis)


def line(points: int, **mark: Any) -> Spec:
    """A line's mark; through a single point there is no line, so the point itself is drawn."""
    return {"type": "line", **mark} | ({"point": {"filled": True, "size": 50, "tooltip": None}} if points < 2 else {})


def vertical(values: list[float | None], *, log: bool | None = None) -> Spec:
    """Scale and axis for the values: logarithmic where they span a factor of 20 (unless told), ticks at 1-2-5.

    A linear scale does not start at zero, since what a loss loses late is small.
    """
    known = [v for v in values if v is not None]
    positive = [v for v in known if v > 0]
    if log is None:
        log = bool(known) and len(positive) == len(known) and max(known) / min(known) > 20
    if not log or not positive:
        return {"scale": {"zero": False}, "axis": {}}
    low, high = min(positive), max(positive)
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [t for e in exponents for s in steps if low <= (t := float(f"{s}e{e}")) <= high]
    return {"scale": {"type": "log", "nice": False}, "axis": {**_LOG, "values": ticks}}


@dataclass(frozen=True)
class Series:
    """A column of the history to draw: its label in the legend and its colour."""

    field: str
    label: str
    color: str


def curves(
    series: list[Series], *, y_title: str, epochs: int, y_axis: Spec, title: str, note: str, alt: str, best: str | None,
    many: bool, alone: bool,
) -> Chart:  # fmt: skip
    """Members as thin lines, their mean as a thick one with a band of one standard deviation, best epochs as dots.

    Reads the tables ``members``, ``mean`` and ``best``. ``best`` names the series whose best epochs are marked,
    ``many`` says that members are so many that their lines must be faint, ``alone`` that there is one.
    """
    legend: Spec = {"domain": [s.label for s in series], "range": [s.color for s in series]}
    color = {s.field: {"datum": s.label, "type": "nominal", "scale": legend, "title": None} for s in series}
    if len(series) == 1:
        color[series[0].field]["legend"] = None
    y = {s.field: quantity(s.field, y_title, **y_axis) for s in series}
    layers: list[Spec] = [_hover(series)]
    for s in series if not alone else []:
        band = {"y": {**y[s.field], "field": f"{s.field}_low"}, "y2": {"field": f"{s.field}_high"}}
        layers.append({"data": {"name": "mean"}, "mark": {"type": "area", "opacity": 0.16, "clip": True},
                       "encoding": {**band, "color": color[s.field]}})  # fmt: skip
    for s in series:
        mark = line(epochs, clip=True, tooltip=None, **_thin(many, alone))
        encoding = {"y": y[s.field], "color": color[s.field], "detail": {"field": "member"}}
        layers.append({"data": {"name": "members"}, "mark": mark, "encoding": encoding})
    for s in series if not alone else []:
        layers.append({"data": {"name": "mean"}, "mark": line(epochs, strokeWidth=2.5, clip=True),
                       "encoding": {"y": y[s.field], "color": color[s.field]}})  # fmt: skip
    if best:
        layers.append(_best(y[best], color[best], best, y_title))
    return chart(
        {"encoding": {"x": epoch_axis(epochs)}, "layer": layers, "resolve": {"scale": {"color": "shared"}}},
        title=title, note=note, alt=alt,
    )  # fmt: skip


def curves_by_candidate(
    field: str, *, y_title: str, epochs: int, y_axis: Spec, title: str, note: str, alt: str, labels: list[str],
    many: bool, best: bool,
) -> Chart:  # fmt: skip
    """One series, a colour per candidate: members thin, candidates' means thick."""
    told_apart = len(labels) <= len(HUES)  # else the lines of single networks would hide all others
    color = _candidate_color(labels)
    y = quantity(field, y_title, **y_axis)
    tooltip = [{"field": "candidate"}, {"field": "epoch"},
               {"field": field, "title": f"mean {y_title}", "format": ".4~g"}, {"field": "networks"}]  # fmt: skip
    thin = line(epochs, strokeWidth=1, opacity=0.15 if many else 0.35, clip=True, tooltip=None)
    layers: list[Spec] = [
        {"data": {"name": "members"}, "mark": thin,
         "encoding": {"y": y, "color": color, "detail": {"field": "member"}}},
        {"data": {"name": "mean"}, "layer": _line(epochs, 2.5 if told_apart else 1.6, tooltip),
         "encoding": {"y": y, "color": color, "detail": {"field": "candidate"}}},
    ]  # fmt: skip
    if not told_apart:
        layers = layers[1:]
    elif best:
        layers.append(_best(y, color, field, y_title))
    return chart({"encoding": {"x": epoch_axis(epochs)}, "layer": layers}, title=title, note=note, alt=alt)


def _line(epochs: int, width: float, tooltip: list[Spec]) -> list[Spec]:
    """A line, and unseen points on it that tell their values: a line's own tooltip would tell of its first point."""
    return [
        {"mark": line(epochs, strokeWidth=width, clip=True, tooltip=None)},
        {"mark": {"type": "point", "filled": True, "size": 90, "opacity": 0}, "encoding": {"tooltip": tooltip}},
    ]


def _candidate_color(labels: list[str]) -> Spec:
    """A hue per candidate, one colour where there is one; of too many to tell apart, hues for the first few alone."""
    if len(labels) < 2:
        return {"value": "@model"}
    first = labels if len(labels) <= len(HUES) else labels[:FEW]
    hue = {"field": "candidate", "type": "nominal", "title": None, "scale": {"domain": first, "range": HUES}}
    if first == labels:
        return hue
    return {"condition": {"test": {"field": "candidate", "oneOf": first}, **hue}, "value": "@axis"}


def _thin(many: bool, alone: bool) -> Spec:
    return {"strokeWidth": 2.2, "opacity": 1} if alone else {"strokeWidth": 1, "opacity": 0.18 if many else 0.45}


def _best(y: Spec, color: Spec, field: str, y_title: str) -> Spec:
    mark = {"type": "point", "filled": True, "size": 42, "opacity": 1, "stroke": "@surface", "strokeWidth": 1.2}
    tooltip = [{"field": "who", "title": "network"}, {"field": "epoch", "title": "best epoch"},
               {"field": field, "title": y_title, "format": ".4~g"}]  # fmt: skip
    return {"data": {"name": "best"}, "mark": mark, "encoding": {"y": y, "color": color, "tooltip": tooltip}}


def _hover(series: list[Series]) -> Spec:
    """A vertical line that follows the pointer and tells the epoch's means."""
    # Without a format Vega-Lite reads the wrong datum for the nearest point, and shows "undefined".
    tooltip: list[Spec] = [{"field": "epoch", "format": "d"}]
    for s in series:
        tooltip.append({"field": s.field, "title": f"{s.label}, mean", "format": ".4~g"})
    tooltip.append({"field": "networks", "title": "networks training", "format": "d"})
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


def schedule(labels: list[str], *, epochs: int, y_axis: Spec, by: str) -> Chart:
    """The learning rate by epoch, from the table ``rates``."""
    several = {"value": "@muted"} if len(labels) > len(HUES) else _candidate_color(labels)
    color = several | ({"field": "schedule"} if 1 < len(labels) <= len(HUES) else {})
    title = "learning rate (log)" if y_axis["scale"].get("type") == "log" else "learning rate"
    tooltip = [{"field": "epoch"}, {"field": "lr", "title": "learning rate", "format": ".3~e"}]
    if len(labels) > 1:
        tooltip.insert(0, {"field": "schedule", "title": "candidate"})
    y = quantity("lr", title, scale=y_axis["scale"], axis={"tickCount": 5, **y_axis["axis"], **_SMALL})
    encoding = {"x": epoch_axis(epochs), "y": y, "color": color, "detail": {"field": "schedule"}}
    return chart(
        {"data": {"name": "rates"}, "encoding": encoding, "layer": _line(epochs, 2, tooltip)},
        title="Learning rate",
        note=by,
        alt="Learning rate at the end of each epoch.",
        height=240,
    )


def layer_lines(layers: list[str], norms: list[float | None], *, epochs: int) -> Chart:
    """Gradient norm per layer, one line each, coloured by depth; a heat map where there are too many to tell apart."""
    title, note = (
        "Gradient norm per layer",
        "Median over the networks; a layer's norm is that of all its parameters.",
    )
    alt = f"Gradient norm by epoch for each of {len(layers)} layers."
    tooltip = [{"field": "layer"}, {"field": "epoch"}, {"field": "norm", "title": "median norm", "format": ".3~g"},
               {"field": "low", "title": "smallest", "format": ".3~g"},
               {"field": "high", "title": "largest", "format": ".3~g"}]  # fmt: skip
    if len(layers) <= len(HUES):
        depths = [f"@depth{1 + round(7 * i / max(1, len(layers) - 1))}" for i in range(len(layers))]
        color = {"field": "layer", "type": "nominal", "title": None,
                 "scale": {"domain": layers, "range": depths}}  # fmt: skip
        y = quantity("norm", "gradient norm (log)", **vertical(norms, log=True))
        encoding: Spec = {"x": epoch_axis(epochs), "y": y, "color": color}
        return chart({"data": {"name": "layers"}, "encoding": encoding, "layer": _line(epochs, 2, tooltip)},
                     title=title, alt=alt, height=240,
                     note=f"{note} From yellow, the first, to blue, the last.")  # fmt: skip
    scale: Spec = {"type": "log", "range": ["@heat0", "@heat1", "@heat2"]}
    encoding = {
        "x": {"field": "epoch", "type": "ordinal", "title": "epoch",
              "axis": {"labelOverlap": "greedy", "labelAngle": 0}},
        "y": {"field": "layer", "type": "nominal", "sort": layers, "title": None},
        "color": {"field": "norm", "type": "quantitative", "scale": scale, "title": "norm (log)"},
        "tooltip": tooltip,
    }  # fmt: skip
    return chart({"data": {"name": "layers"}, "mark": "rect", "encoding": encoding},
                  title=title, note=f"{note} First layer on top.", alt=alt, height=16 * len(layers))  # fmt: skip


def whole_gradient(*, epochs: int, y_axis: Spec, clip: float | None, many: bool, labels: list[str]) -> Chart:
    """The norm of each member's whole gradient before clipping, with the clip norm as a line."""
    y = quantity("grad_norm", "gradient norm", **y_axis)
    color = _candidate_color(labels)
    thin = line(epochs, tooltip=None, **_thin(many, alone=False))
    tooltip = [{"field": "epoch"}, {"field": "grad_norm", "title": "mean norm", "format": ".3~g"}]
    layers: list[Spec] = [
        {"data": {"name": "members"}, "mark": thin,
         "encoding": {"y": y, "color": color, "detail": {"field": "member"}}},
        {"data": {"name": "mean"}, "layer": _line(epochs, 2.2, tooltip),
         "encoding": {"y": y, "color": color, "detail": {"field": "candidate"}}},
    ]  # fmt: skip
    for layer in layers:
        layer["encoding"]["x"] = epoch_axis(epochs)
    if clip is not None:
        text = {"type": "text", "align": "right", "baseline": "bottom", "dy": -3, "color": "@warn", "fontWeight": 600}
        layers += [
            {"data": {"values": [{"clip": clip}]}, "mark": {"type": "rule", "color": "@warn", "strokeDash": [4, 3]},
             "encoding": {"y": {"field": "clip", "type": "quantitative"}}},
            {"data": {"values": [{"clip": clip}]}, "mark": {**text, "x": "width"},
             "encoding": {"y": {"field": "clip", "type": "quantitative"}, "text": {"value": f"clip norm {clip:g}"}}},
        ]  # fmt: skip
    return chart({"layer": layers}, title="Norm of the whole gradient, before clipping",
                  note="Mean over each epoch's batches.", height=240,
                  alt="Norm of each network's whole gradient by epoch.")  # fmt: skip
