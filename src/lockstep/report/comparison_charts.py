"""The charts of a comparison: differences with intervals, a factor's levels, two factors together, learning curves."""

import math
from collections.abc import Sized
from typing import Any

from lockstep.report import format as fmt
from lockstep.report.charts import HEIGHT, HUES, Chart, Spec, chart, plain_axis, quantity
from lockstep.report.training_charts import FEW, epoch_axis, line, vertical


def ranking(ranked: list[Spec], *, metric: str) -> Chart:
    """Each candidate's difference to the best with its interval, the best on top."""
    rows = [
        {"label": fmt.label(one["label"]), "difference": one["difference"], "low": one["low"], "high": one["high"],
         "mean": one["mean"], "best": one["probability_best"],
         "kind": "best" if one["rank"] == 1 else "worse" if one["worse"] else "alike"}
        for one in ranked
        if fmt.finite(one["difference"]) is not None
    ]  # fmt: skip
    order = [row["label"] for row in rows]
    ends = [abs(v) for row in rows for v in (row["low"], row["high"]) if v is not None]
    x = quantity("difference", f"difference in {metric} to the best", axis={**plain_axis(max(ends)), "tickCount": 5})
    y = {"field": "label", "type": "nominal", "sort": order, "title": None, "axis": {"ticks": False, "domain": False}}
    kinds = {"domain": ["best", "alike", "worse"], "range": ["@good", "@model", "@muted"]}
    color = {"field": "kind", "type": "nominal", "scale": kinds, "legend": None}
    tooltip = [{"field": "label", "title": "candidate"}, {"field": "mean", "title": f"mean {metric}", "format": ".4~f"},
               {"field": "difference", "format": "+.4~f"}, {"field": "low", "format": "+.4~f"},
               {"field": "high", "format": "+.4~f"},
               {"field": "best", "title": "probability of being best", "format": ".0%"}]  # fmt: skip
    layers: list[Spec] = [
        {"data": {"values": [{"zero": 0}]}, "mark": {"type": "rule", "color": "@axis", "strokeDash": [4, 3]},
         "encoding": {"x": {"field": "zero", "type": "quantitative"}}},
        {"mark": {"type": "rule", "strokeWidth": 2.5, "opacity": 0.7},
         "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": color, "tooltip": tooltip}},
        {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
         "encoding": {"x": x, "y": y, "color": color, "tooltip": tooltip}},
    ]  # fmt: skip
    return chart({"data": {"values": rows}, "layer": layers}, title="How far behind the best",
                 note="Mean difference over the same folds and seeds, each with its own 95 % interval. Grey: worse by "
                 "more than chance, all judged together. Blue: not to be told from the best.",
                 height=height_of(rows),
                 alt=f"Difference in {metric} to the best of {len(rows)} candidates.")  # fmt: skip


def height_of(candidates: Sized) -> int:
    """A line each, and as high as other charts at least."""
    return max(HEIGHT, 22 * len(candidates) + 10)


def factor(found: Spec, *, metric: str, folds: Any) -> Chart:
    """The score at each level of one factor: the mean, and a thin line for each fold (or seed) through its levels."""
    levels = found["levels"]
    by_seed = folds == "seeds"
    points = [
        {"level": one["level"], "value": one["value"], "score": score, "unit": unit}
        for one in levels
        for unit, score in enumerate(_units(one["scores"], by_seed))
        if fmt.finite(score) is not None
    ]
    means = [{"level": one["level"], "value": one["value"], "score": one["mean"]} for one in levels]
    means = [one for one in means if fmt.finite(one["score"]) is not None]
    numeric = bool(found.get("numeric"))
    order = [one["level"] for one in levels]
    x = _numeric_axis(found) if numeric else {
        "field": "level", "type": "nominal", "sort": order, "title": found["name"],
        "axis": {"labelAngle": 0, "labelOverlap": False, "labelLimit": 90},
    }  # fmt: skip
    y = quantity("score", metric, scale={"zero": False, "padding": 8})
    unit = "seed" if by_seed else "fold"
    tooltip = [{"field": "level", "title": found["name"]}, {"field": "score", "title": metric, "format": ".4~f"}]
    mean_mark: Spec = {"type": "line", "strokeWidth": 2.5} if numeric else {"type": "tick", "thickness": 3, "size": 26}
    layers: list[Spec] = [
        {"data": {"values": points}, "mark": {"type": "line", "strokeWidth": 1, "opacity": 0.45, "color": "@muted",
                                              "tooltip": None},
         "encoding": {"x": x, "y": y, "detail": {"field": "unit"}}},
        {"data": {"values": means}, "mark": {**mean_mark, "color": "@model"},
         "encoding": {"x": x, "y": y, "tooltip": tooltip}},
        {"data": {"values": points}, "mark": {"type": "circle", "size": 26, "opacity": 0.7, "color": "@muted"},
         "encoding": {"x": x, "y": y,
                      "tooltip": [*tooltip, {"field": "unit", "title": unit}]}},
        {"data": {"values": means}, "mark": {"type": "point", "filled": True, "size": 70, "color": "@model",
                                             "opacity": 1},
         "encoding": {"x": x, "y": y, "tooltip": tooltip}},
    ]  # fmt: skip
    note = f"Blue: the mean over all else. Grey: each {unit}, joined, since all levels share it."
    return chart({"layer": layers}, title=heading(found["name"]), note=note, height=240,
                 alt=f"{metric} by {found['name']}, {len(levels)} levels.")  # fmt: skip


def _units(scores: list[list[float]], by_seed: bool) -> list[float | None]:
    """The scores ``[F, S]`` as one per fold, or per seed of a single fold."""
    if by_seed:
        return list(scores[0])
    return [None if any(fmt.finite(v) is None for v in row) else sum(row) / len(row) for row in scores]


def _numeric_axis(found: Spec) -> Spec:
    values = sorted(one["value"] for one in found["levels"])
    log = values[0] > 0 and values[-1] / values[0] >= 20
    scale: Spec = {"type": "log", "nice": False} if log else {"zero": False, "nice": False}
    shown = values if len(values) <= 8 else values[:: math.ceil(len(values) / 8)]
    title = f"{found['name']}{' (log)' if log else ''}"
    axis = {"values": shown, "labelExpr": "format(datum.value, '.3~g')", "grid": False}
    return quantity("value", title, scale={**scale, "padding": 12}, axis=axis)


def together(factors: list[Spec], ranked: list[Spec], *, metric: str) -> Chart:
    """The mean score of each combination of two factors."""
    rows, columns = sorted(factors, key=lambda factor: -len(factor["levels"]))
    paths = (rows["path"], columns["path"])
    names = [{_key(level["value"]): level["level"] for level in factor["levels"]} for factor in (rows, columns)]
    cells = [
        {"row": names[0][_key(one["choices"][paths[0]])], "column": names[1][_key(one["choices"][paths[1]])],
         "score": one["mean"], "text": _short(one["mean"]), "rank": one["rank"]}
        for one in ranked
        if fmt.finite(one["mean"]) is not None and all(path in one["choices"] for path in paths)
    ]  # fmt: skip
    order = [_in_order(factor) for factor in (rows, columns)]
    low, high = min(cell["score"] for cell in cells), max(cell["score"] for cell in cells)
    better_is_larger = ranked[0]["mean"] >= ranked[-1]["mean"] if fmt.finite(ranked[-1]["mean"]) is not None else True
    heat = ["@heat0", "@heat1", "@heat2"] if better_is_larger else ["@heat2", "@heat1", "@heat0"]
    x = {"field": "column", "type": "nominal", "sort": order[1], "title": columns["name"],
         "axis": {"labelAngle": 0, "orient": "top", "domain": False, "ticks": False}}  # fmt: skip
    y = {"field": "row", "type": "nominal", "sort": order[0], "title": rows["name"],
         "axis": {"domain": False, "ticks": False}}  # fmt: skip
    color = {"field": "score", "type": "quantitative", "scale": {"range": heat}, "legend": None}
    strong = low + (0.65 if better_is_larger else 0.35) * (high - low)
    dark = f"datum.score {'>' if better_is_larger else '<'} {strong!r}"
    layers: list[Spec] = [
        {"mark": {"type": "rect", "stroke": "@surface", "strokeWidth": 2, "cornerRadius": 3},
         "encoding": {"color": color, "tooltip": [
             {"field": "row", "title": rows["name"]}, {"field": "column", "title": columns["name"]},
             {"field": "score", "title": f"mean {metric}", "format": ".4~f"}, {"field": "rank"}]}},
        {"mark": {"type": "text", "fontSize": 12},
         "encoding": {"text": {"field": "text"},
                      "color": {"condition": {"test": dark, "value": "@surface"}, "value": "@text"}}},
    ]  # fmt: skip
    spec = {"data": {"values": cells}, "encoding": {"x": x, "y": y}, "layer": layers}
    return chart(spec, title=f"{heading(rows['name'])} and {columns['name']} together",
                 note=f"Mean {metric}; the stronger the colour the better.",
                 height=34 * len(order[0]) + 40,
                 alt=f"Mean {metric} by {rows['name']} and {columns['name']}.")  # fmt: skip


def heading(name: str) -> str:
    """``"Optimizer"``, but ``"lr"``."""
    return fmt.capital(name) if len(name) > 2 else name


def _in_order(found: Spec) -> list[str]:
    """The levels by value where they are numbers, else the best first."""
    levels = found["levels"]
    ordered = sorted(levels, key=lambda level: level["value"]) if found.get("numeric") else levels
    return [level["level"] for level in ordered]


def _key(value: Any) -> str:
    return repr(value)


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0") if abs(value) < 1 else f"{value:,.4g}"


def curves(labels: dict[int, str], *, epochs: int, metric: str) -> Chart:
    """Mean validation metric by epoch: the best few in colour, the others grey behind them."""
    ranked = list(labels.values())
    first = ranked[: FEW if len(ranked) > len(HUES) else len(HUES)]
    x, y = epoch_axis(epochs), quantity("value", f"validation {metric}", **vertical([], log=False))
    tooltip = [{"field": "candidate"}, {"field": "epoch"}, {"field": "value", "title": metric, "format": ".4~f"}]
    color = {"field": "candidate", "type": "nominal", "title": None, "scale": {"domain": first, "range": HUES}}
    colored: Spec = {"x": x, "y": y, "color": color, "detail": {"field": "candidate"}}
    grey: Spec = {"x": x, "y": y, "color": {"value": "@axis"}, "detail": {"field": "candidate"}}
    top: list[Spec] = [{"filter": {"field": "candidate", "oneOf": first}}]
    rest: list[Spec] = [{"filter": {"not": {"field": "candidate", "oneOf": first}}}]
    point = {"type": "point", "filled": True, "size": 80, "opacity": 0}
    layers: list[Spec] = [
        {"transform": rest, "mark": line(epochs, strokeWidth=1, opacity=0.8, tooltip=None), "encoding": grey},
        {"transform": rest, "mark": point, "encoding": {**grey, "tooltip": tooltip}},
        {"transform": top, "mark": line(epochs, strokeWidth=2.2, tooltip=None), "encoding": colored},
        {"transform": top, "mark": point, "encoding": {**colored, "tooltip": tooltip}},
    ]  # fmt: skip
    if len(first) == len(ranked):
        layers = layers[2:]
    note = "Mean over folds and seeds, as long as all networks of a candidate train."
    if len(first) < len(ranked):
        note += f" In colour the best {len(first)}; grey, the other {len(ranked) - len(first)}."
    return chart({"data": {"name": "candidate_curves"}, "layer": layers}, title="Learning curves", note=note,
                 height=min(420, height_of(ranked)),
                 alt=f"Validation {metric} by epoch for {len(ranked)} candidates.")  # fmt: skip
