"""The section on how the candidates compare: the ranking, each factor, two factors together, and what it all shows."""

from typing import Any

import polars as pl

from lockstep.report import comparison_charts as draw
from lockstep.report import format as fmt
from lockstep.report.figures import Figures
from lockstep.report.files import Json, RunFiles
from lockstep.report.reading import Remark
from lockstep.spec.names import short

DRAWN = 40  # candidates in the interval chart


def labels(run: RunFiles) -> dict[int, str]:
    """What each candidate is called, by its number, the best first, those that were halved last; empty where none were
    compared."""
    found = run.comparison
    listed = [*(found.get("candidates") or []), *(found.get("halved") or [])]
    return {int(one["candidate"]): fmt.label(one["label"]) for one in listed}


def shipped(run: RunFiles) -> list[Json]:
    """The scored members that the model is made of: of several candidates, the winner's."""
    members = list(run.metrics.get("members") or [])
    winner = run.manifest.get("winner")
    ours = [m for m in members if m.get("candidate") == winner]
    return ours or members


def comparison(run: RunFiles, figures: Figures) -> Json | None:
    """What the template shows of the comparison; None where no candidates were compared."""
    found = run.comparison
    ranked, halved = found.get("candidates") or [], found.get("halved") or []
    if not ranked or len(ranked) + len(halved) < 2:
        return None
    metric = str(found.get("metric") or "")
    ends = [(one["low"], one["high"]) for one in ranked if fmt.finite(one["low"]) is not None]
    widths = [high - low for low, high in ends if high > low]
    middle = sorted(widths)[len(widths) // 2] if widths else None
    places = fmt.places_for(metric, 0.0, middle, ranked[0].get("mean"))
    factors = [factor for factor in found.get("factors") or [] if len(factor.get("levels") or []) > 1]
    if any(fmt.finite(one["low"]) is not None for one in ranked[1:]):
        figures.charts["ranking"] = draw.ranking(ranked[:DRAWN], metric=fmt.metric_name(metric))
    for place, factor in enumerate(factors):
        figures.charts[f"factor{place}"] = draw.factor(factor, metric=fmt.metric_name(metric), folds=found.get("over"))
    if len(factors) == 2 and sum(fmt.finite(one["mean"]) is not None for one in ranked) > 1:
        figures.charts["together"] = draw.together(factors, ranked, metric=fmt.metric_name(metric))
    curves = _curves(run)
    if curves is not None:
        figures.tables["candidate_curves"], epochs, name = curves
        figures.charts["candidates"] = draw.curves(labels(run), epochs=epochs, metric=fmt.metric_name(name))
    paths = list(dict.fromkeys(path for one in [*ranked, *halved] for path in one["choices"]))
    return {
        "lead": lead(len(ranked), len(halved), fmt.metric_name(metric)),
        "remarks": remarks(found),
        "caution": str(found.get("caution") or ""),
        "how": str(found.get("how") or ""),
        "took": f"{fmt.plural(found.get('networks', 0), 'network')} in {fmt.plural(found.get('stacks', 1), 'stack')},"
        f" trained in {fmt.duration(found.get('seconds'))}",
        "left_out": found.get("left_out") or 0,
        "columns": [short(path) for path in paths],
        "rows": [_row(one, paths, metric, places) for one in ranked],
        "measure": str(halved[0].get("measure") or "") if halved else "",
        "halved": [_halved(one, paths) for one in halved],
        "factors": [f"factor{place}" for place in range(len(factors))],
    }


def lead(ranked: int, halved: int, metric: str) -> str:
    """How many are ranked by what."""
    if halved:
        many = f"{ranked} of {ranked + halved} candidates trained to the end. Ranked by"
    else:
        many = f"{ranked} candidates by their"
    return f"{many} out-of-fold {metric}, on the same folds and seeds."


def remarks(found: Json) -> list[Remark]:
    """The verdict, and of each factor its own where there are several."""
    said = [Remark("note" if "No difference" in found["verdict"] else "good", str(found["verdict"]))]
    factors = found.get("factors") or []
    if len(factors) > 1:
        said += [Remark("note", f"{draw.heading(factor['name'])}: {_lower(factor['verdict'])}") for factor in factors]
    return said


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text.startswith(("No ", "On average ")) else text


def _row(one: Json, paths: list[str], metric: str, places: int) -> Json:
    best = fmt.finite(one.get("probability_best"))
    difference = ""
    if one["rank"] > 1 and fmt.finite(one.get("difference")) is not None:
        difference = _signed(metric, one["difference"], places)
    return {
        "rank": one["rank"],
        "values": [fmt.label(_value(one["choices"].get(path))) for path in paths],
        "mean": fmt.score(metric, one.get("mean"), places),
        "std": fmt.score(metric, one.get("std"), places),
        "difference": difference,
        "interval": fmt.interval(metric, one.get("low"), one.get("high"), places) if one["rank"] > 1 else "",
        "best": fmt.DASH if best is None else f"{100 * best:.0f}{fmt.NARROW}%",
        "worse": bool(one.get("worse")),
        "failed": one.get("failed") or 0,
    }


def _halved(one: Json, paths: list[str]) -> Json:
    values = [fmt.label(_value(one["choices"].get(path))) for path in paths]
    return {"values": values, "epoch": fmt.count(one.get("epoch")), "score": fmt.number(one.get("score"))}


def _signed(metric: str, value: float, places: int) -> str:
    return ("+" if value > 0 else "") + fmt.score(metric, value, places)


def _value(value: Any) -> str:
    match value:
        case None:
            return "none"
        case list():
            return "×".join(map(str, value))
        case bool():
            return str(value).lower()
        case int() | float():
            return fmt.number(value)
    return str(value)


def _curves(run: RunFiles) -> tuple[dict[str, list[Any]], int, str] | None:
    """Each candidate's mean validation metric by epoch, as long as all its networks train: (table, epochs, metric)."""
    history = run.history
    if history is None or not {"candidate", "valid_metric", "metric"} <= set(history.columns):
        return None
    names = labels(run)
    means = (
        history.filter(pl.col("candidate").is_in(list(names)), pl.col("valid_metric").is_not_nan())
        .with_columns(pl.col("member").n_unique().over("candidate").alias("total"))
        .group_by("candidate", "epoch")
        .agg(pl.col("valid_metric").mean(), pl.len().alias("networks"), pl.col("total").first())
        .filter(pl.col("networks") == pl.col("total"))
        .sort("candidate", "epoch")
    )
    if means.is_empty() or history["metric"].n_unique() > 1:
        return None
    table = {
        "candidate": [names[candidate] for candidate in means["candidate"].to_list()],
        "epoch": means["epoch"].to_list(),
        "value": [fmt.rounded(value) for value in means["valid_metric"].to_list()],
        "networks": means["networks"].to_list(),
    }
    return table, max(table["epoch"]), str(history["metric"][0])
