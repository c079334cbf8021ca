"""The section on a forecast: how the error grows with how far ahead, and windows as they went on."""

from typing import Any

from lockstep.report import format as fmt
from lockstep.report.charts import Chart, Spec, chart, plain_axis, quantity
from lockstep.report.figures import Figures
from lockstep.report.files import Json, RunFiles
from lockstep.report.reading import Remark
from lockstep.report.training_charts import line

DRAWN = 8  # columns
COLOURS = {"network": "@model", "season": "@warn", "last": "@muted"}


def forecast(run: RunFiles, figures: Figures) -> list[Remark]:
    """The charts of ``analysis.json``'s forecast; what they say. Nothing where it is none."""
    part = run.analysis.get("forecast") or {}
    steps = [row for row in part.get("steps") or [] if fmt.finite(row.get("mse")) is not None]
    if not steps:
        return []
    figures.charts["forecast_steps"] = by_step(steps)
    examples = last_of_each(part.get("examples") or [])
    for place, example in enumerate(examples[:DRAWN]):
        figures.charts[f"forecast_{place}"] = continued(example, str(run.analysis.get("rows") or ""))
    return [remark for remark in (against_naive(steps), hardest(part.get("columns") or [])) if remark]


def last_of_each(examples: list[Json]) -> list[Json]:
    return list({str(example["column"]): example for example in examples}.values())


def short(what: str) -> str:
    return "network" if what == "network" else "season" if "season" in what else "last"


def by_step(rows: list[Json]) -> Chart:
    """The error by how many rows ahead, of the networks and of the naive forecasts."""
    names = {"network": "the networks", "season": "the season before", "last": "the last value"}
    values = [{"step": row["step"], "mse": row["mse"], "what": names[short(str(row["what"]))]} for row in rows]
    present = [names[key] for key in names if any(v["what"] == names[key] for v in values)]
    colours = [COLOURS[key] for key in names if names[key] in present]
    most = max(v["mse"] for v in values)
    spec: Spec = {
        "data": {"values": values},
        "mark": line(len({row["step"] for row in rows}), strokeWidth=2),
        "encoding": {
            "x": quantity("step", "rows ahead", scale={"nice": False}),
            "y": quantity("mse", "mean squared error", axis=plain_axis(most)),
            "color": {"field": "what", "type": "nominal", "scale": {"domain": present, "range": colours},
                      "legend": {"orient": "top", "title": None}},
            "tooltip": [{"field": "what", "title": "forecast"}, {"field": "step", "title": "rows ahead"},
                        {"field": "mse", "format": ".4~g"}],
        },
    }  # fmt: skip
    note = "Each column in units of its spread while training; the mean over all columns."
    return chart(spec, title="The further ahead, the less sure", note=note, alt="Error by rows ahead.")


def continued(example: Json, judged: str) -> Chart:
    """One window: what was known, how it went on, and what was forecast."""
    before, actual, told = example["before"], example["actual"], example["forecast"]
    rows: list[Json] = [{"row": i - len(before) + 1, "value": v, "what": "known"} for i, v in enumerate(before)]
    rows += [{"row": i + 1, "value": v, "what": "as it went on"} for i, v in enumerate(actual)]
    rows += [{"row": i + 1, "value": v, "what": "forecast"} for i, v in enumerate(told)]
    values = [row["value"] for row in rows]
    spec: Spec = {
        "data": {"values": [{**row, "value": fmt.rounded(row["value"])} for row in rows]},
        "mark": line(len(told), strokeWidth=1.6),
        "encoding": {
            "x": quantity("row", "rows from now", scale={"nice": False}),
            "y": quantity("value", str(fmt.label(example["column"])), scale={"zero": False},
                          axis=plain_axis(max(map(abs, values)))),
            "color": {"field": "what", "type": "nominal", "legend": {"orient": "top", "title": None},
                      "scale": {"domain": ["known", "as it went on", "forecast"],
                                "range": ["@muted", "@text", "@model"]}},
            "tooltip": [{"field": "what"}, {"field": "row", "title": "rows from now"},
                        {"field": "value", "format": ",.5~g"}],
        },
    }  # fmt: skip
    name = str(fmt.label(example["column"]))
    return chart(spec, title=name, note=f"The last of the {judged} windows.", height=220, alt=f"Forecast of {name}.")


def against_naive(steps: list[Json]) -> Remark | None:
    """From how far ahead on the networks are better than the best naive forecast."""
    by_what: dict[str, dict[int, float]] = {}
    for row in steps:
        by_what.setdefault(short(str(row["what"])), {})[int(row["step"])] = float(row["mse"])
    network = by_what.pop("network", {})
    naive = {step: min(errors[step] for errors in by_what.values() if step in errors) for step in network if by_what}
    worse = [step for step in naive if network[step] >= naive[step]]
    if not naive:
        return None
    if not worse:
        return Remark("good", "At every distance the networks are better than repeating the last value or season.")
    if len(worse) == len(naive):
        return Remark("caution", "At no distance are the networks better than repeating the last value or season.")
    return Remark(
        "note",
        f"Repeating the last value or season is as good as the networks at {len(worse)} of {len(naive)} distances, "
        f"the nearest being {worse[0]} ahead.",
    )


def hardest(columns: list[Any]) -> Remark | None:
    own = [row for row in columns if row.get("what") == "network" and fmt.finite(row.get("mse")) is not None]
    if len(own) < 2:
        return None
    worst, best = max(own, key=lambda row: row["mse"]), min(own, key=lambda row: row["mse"])
    far, near = (fmt.score("mse", row["mse"]) for row in (worst, best))
    return Remark(
        "note",
        f"{fmt.label(worst['column'])} is the hardest to forecast (mean squared error {far} in units of its own "
        f"spread), {fmt.label(best['column'])} the easiest ({near}).",
    )
