"""The section on how it trained: curves, rates, gradients, and what they say."""

import tomllib
from typing import Any

import polars as pl

from lockstep.report import comparison, history, reading, setting, training_charts
from lockstep.report import format as fmt
from lockstep.report.charts import HUES
from lockstep.report.figures import Figures
from lockstep.report.files import Json, RunFiles
from lockstep.report.history import Curves
from lockstep.report.members import label_candidates, who
from lockstep.report.reading import Path
from lockstep.report.training_charts import FEW, Series


def settings(run: RunFiles) -> Json:
    """The spec that ran, as nested settings; empty where it cannot be read."""
    try:
        return tomllib.loads(run.spec)
    except tomllib.TOMLDecodeError:
        return {}


def training(run: RunFiles, members: list[Json], figures: Figures) -> Json | None:
    """Curves and remarks; None where there is no history."""
    if run.history is None:
        return None
    compared = comparison.labels(run)
    labelled = [m for m in label_candidates(members, compared) if m.get("member") is not None]
    labels = {int(m["member"]): (who(m), m["label"] or "all") for m in labelled}
    best = {int(m["member"]): int(m["best_epoch"]) for m in members if fmt.finite(m.get("best_epoch"))}
    curves = history.prepare(run.history, labels, best)
    seen = dict.fromkeys(label for _, label in labels.values())
    candidates = [label for label in compared.values() if label in seen] or list(seen)
    if len(candidates) > 1:
        _candidate_curves(curves, candidates, figures)
    else:
        _curves(curves, setting.unit(run), figures)
    figures.tables |= {"members": curves.members, "mean": curves.mean, "best": curves.best}
    clip = fmt.finite((settings(run).get("training") or {}).get("clip_norm"))
    _rates(run, labels, candidates, curves, figures)
    _gradients(run, curves, clip, candidates, figures)
    paths = list(_paths(run, members))
    remarks = [
        *reading.endings(members),
        *(
            r
            for r in (
                reading.still_improving(paths),
                reading.loss_gap(paths),
                reading.overfitting(paths),
                reading.clipping(curves.members["grad_norm"], clip),
            )
            if r
        ),
    ]
    return {"remarks": remarks, "legend": _legend(curves, candidates), "metric": curves.metric}


def _legend(curves: Curves, candidates: list[str]) -> str:
    if len(candidates) > len(HUES):
        return f"Each line is a candidate's mean as long as all its networks train; in colour the best {FEW}."
    if curves.total == 1:
        return "The dot marks the best epoch, whose weights are kept."
    drawn = "Each thin line is a network"
    if curves.drawn < curves.total:
        drawn = f"Thin lines are {curves.drawn} of the {fmt.count(curves.total)} networks"
    text = (
        f"{drawn}, dots mark best epochs, the thick line is the mean and the band one standard deviation to each side,"
        " as long as every network still trains."
    )
    return text + (" Long runs are drawn at fewer epochs than were trained." if curves.thinned else "")


def _has(curves: Curves, name: str) -> bool:
    return any(v is not None for v in curves.members[name])


def _extent(curves: Curves, *names: str) -> list[float | None]:
    return [v for name in names for v in curves.members[name]]


def _curves(curves: Curves, unit: str, figures: Figures) -> None:
    series = [
        s
        for s in (Series("train_loss", "training", "@train"), Series("valid_loss", "validation", "@model"))
        if _has(curves, s.field)
    ]
    common: dict[str, Any] = {"epochs": curves.epochs, "many": curves.drawn > 12, "alone": curves.total == 1}
    if series:
        valid = any(s.field == "valid_loss" for s in series)
        whose = "each network's own training and validation" if valid else "the training"
        figures.charts["loss"] = training_charts.curves(
            series, y_title="loss", y_axis=training_charts.vertical(_extent(curves, *(s.field for s in series))),
            title="Training and validation loss" if valid else "Training loss",
            note=f"Loss on {whose} {unit}.",
            alt=f"Training and validation loss of {curves.total} networks by epoch.",
            best="valid_loss" if valid else None, **common,
        )  # fmt: skip
    if _has(curves, "valid_metric"):
        name = fmt.metric_name(curves.metric or "metric")
        figures.charts["metric"] = training_charts.curves(
            [Series("valid_metric", "validation", "@model")], y_title=name,
            y_axis=training_charts.vertical(_extent(curves, "valid_metric")), title=f"Validation {name}",
            note=f"On the {unit} that each network stops on"
            + (", in the columns' own units." if unit == "windows" else "."),
            alt=f"Validation {name} of {curves.total} networks by epoch.",
            best="valid_metric", **common,
        )  # fmt: skip


def _candidate_curves(curves: Curves, candidates: list[str], figures: Figures) -> None:
    metric = fmt.metric_name(curves.metric or "metric")
    for name, field, y_title, title in (
        ("loss", "valid_loss", "validation loss", "Validation loss by candidate"),
        ("metric", "valid_metric", metric, f"Validation {metric} by candidate"),
        ("train_loss", "train_loss", "training loss", "Training loss by candidate"),
    ):
        if _has(curves, field):
            figures.charts[name] = training_charts.curves_by_candidate(
                field, y_title=y_title, epochs=curves.epochs, y_axis=training_charts.vertical(_extent(curves, field)),
                title=title, note="", alt=f"{title}, {len(candidates)} candidates, by epoch.", labels=candidates,
                many=curves.drawn > 12, best=field != "train_loss" and curves.total <= 60,
            )  # fmt: skip


def _rates(
    run: RunFiles, labels: dict[int, tuple[str, str]], candidates: list[str], curves: Curves, figures: Figures
) -> None:
    assert run.history is not None
    rates = history.learning_rates(run.history, labels)
    if rates is None or all(v is None for v in rates["lr"]):
        return
    figures.tables["rates"] = rates
    names = candidates if len(set(rates["schedule"])) > 1 else candidates[:1]
    schedule = (settings(run).get("schedule") or {}).get("name")
    note = "Of each epoch's last step" + (f"; schedule: {schedule}." if schedule else ".")
    several = len(names) > 1
    y_axis = training_charts.vertical(rates["lr"], log=True) if several else {"scale": {"zero": True}, "axis": {}}
    figures.charts["schedule"] = training_charts.schedule(names, epochs=curves.epochs, y_axis=y_axis, by=note)


def _gradients(run: RunFiles, curves: Curves, clip: float | None, candidates: list[str], figures: Figures) -> None:
    assert run.history is not None
    if _has(curves, "grad_norm"):
        y_axis = training_charts.vertical(_extent(curves, "grad_norm"))
        figures.charts["gradient"] = training_charts.whole_gradient(
            epochs=curves.epochs, y_axis=y_axis, clip=clip, many=curves.drawn > 12, labels=candidates
        )
    if (layers := history.layer_norms(run.history)) is not None:
        figures.tables["layers"] = layers[1]
        figures.charts["layers"] = training_charts.layer_lines(layers[0], layers[1]["norm"], epochs=curves.epochs)


def _paths(run: RunFiles, members: list[Json]) -> list[Path]:
    assert run.history is not None
    if not {"train_loss", "valid_loss"} <= set(run.history.columns):
        return []
    planned = int(run.manifest.get("epochs") or 0)
    whole = [m for m in members if m.get("ended") != "halved"]
    best = {m.get("member"): int(m["best_epoch"]) for m in whole if fmt.finite(m.get("best_epoch"))}
    finite = run.history.filter(
        pl.col("valid_loss").cast(pl.Float64).is_finite() & pl.col("train_loss").cast(pl.Float64).is_finite()
    )
    return [
        Path(valid=tuple(part["valid_loss"].to_list()), train=tuple(part["train_loss"].to_list()),
             best_epoch=best[member], epochs=part.height, planned=planned or part.height)
        for (member,), part in finite.group_by("member", maintain_order=True)
        if member in best
    ]  # fmt: skip
