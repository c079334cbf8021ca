"""What a trained population is worth: honest metrics with intervals, and what to look at to understand them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.data import Raw, RawArrays, RawSeries, RawTable, Schema, shuffled
from lockstep.engine.population import Member
from lockstep.evaluation import (
    LOSS,
    baseline,
    bootstrap,
    confusion_matrix,
    headline,
    out_of_fold,
    permutation_importance,
    reliability,
    resamples_used,
    residual_sample,
    sample_rows,
    score,
    worst_mistakes,
)
from lockstep.jobs import drawings, forecast
from lockstep.jobs.ensemble import Combined, added
from lockstep.jobs.model import Floats, Model
from lockstep.jobs.prepared import Alike, Judged, Prepared
from lockstep.spec import FitSpec

IMPORTANCE_ROWS, IMPORTANCE_REPEATS, IMPORTANCE_PASSES, MISTAKES = 2000, 5, 200, 20
IMPORTANCE_NETWORKS = 10  # of an averaged ensemble: which more of them are asked hardly moves a bar, and takes long
LONGEST_TEXT = 500
Rows = NDArray[np.int64]


def judge(
    prepared: Prepared, model: Model, members: Sequence[Member], own: Sequence[Floats], mixed: Combined | None
) -> Judged:
    """The test rows where there are any; else every row by the members that did not train on it.

    ``own`` are the members' predictions on their own validation rows.
    """
    if len(prepared.splits.test):
        rows = prepared.splits.test
        return Judged("test", rows, model.predict(prepared.inputs(rows)))
    if mixed is not None:
        return Judged("out-of-fold", mixed.rows, mixed.prediction)
    covered = out_of_fold(own, [member.valid_rows for member in members], len(prepared.target))
    rows = np.flatnonzero(covered.covered)
    return Judged("out-of-fold", rows, covered.prediction[rows])


def own_predictions(prepared: Prepared, model: Model, members: Sequence[Member]) -> list[Floats]:
    """Each member's predictions on its own validation rows: one stacked pass per fold."""
    own: dict[int, Floats] = {}
    for fold in dict.fromkeys(member.fold for member in members):
        ours = [member for member in members if member.fold == fold]
        part = model.only([member.index for member in ours])
        predictions = part.member_predictions(prepared.inputs(ours[0].valid_rows))
        own |= {member.index: prediction for member, prediction in zip(ours, predictions, strict=True)}
    return [own[member.index] for member in members]


def quantile_of(spec: FitSpec) -> float | None:
    """The level that the networks predict, where their loss is that of a quantile."""
    level = spec.loss.quantile
    return level if spec.loss.name == "quantile" and isinstance(level, float) else None


def scored(
    schema: Schema, target: NDArray[Any], prediction: NDArray[Any], quantile: float | None = None
) -> dict[str, float]:
    """Every metric of a prediction; of a forecast in units in which columns can be averaged."""
    return score(schema.task, in_units(schema, target), in_units(schema, prediction), quantile)


def in_units(schema: Schema, values: NDArray[Any]) -> NDArray[Any]:
    """Targets or predictions as they are scored."""
    return forecast.in_units(schema, values) if schema.kind == "forecast" else values


def score_each(prepared: Prepared, members: Sequence[Member], own: Sequence[Floats]) -> dict[int, dict[str, float]]:
    """Every metric of each member on its own validation rows, by its number."""
    quantile = quantile_of(prepared.spec)
    return {
        member.index: scored(prepared.schema, prepared.target[member.valid_rows], prediction, quantile)
        for member, prediction in zip(members, own, strict=True)
    }


def metrics(
    prepared: Prepared, model: Model, members: Sequence[Member], judged: Judged,
    out_of_fold: Mapping[int, dict[str, float]], averaged: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    """The content of ``metrics.json``. ``members`` are those with weights, ``averaged`` those whose mean is the model,
    ``out_of_fold`` what ``score_each`` says of all.

    ``adds`` is how much worse the mean scores on the test rows without that member.
    """
    schema, target, test = prepared.schema, prepared.target, prepared.splits.test
    quantile = quantile_of(prepared.spec)
    alike = None if prepared.alike is None else replace(prepared.alike, codes=prepared.alike.codes[judged.rows])
    on_test = model.member_predictions(prepared.inputs(test)) if len(test) else [None] * len(members)
    table: list[dict[str, Any]] = [
        {
            "member": member.index, "candidate": member.candidate, "fold": member.fold, "seed": member.seed,
            "choices": member.choices,
            "test": None if seen is None else scored(schema, target[test], seen, quantile),
            "out_of_fold": out_of_fold[member.index],
        }
        for member, seen in zip(members, on_test, strict=True)
    ]  # fmt: skip
    if len(test) and schema.kind != "forecast":  # forecasts are large, and there is a copy of them for each left out
        places = [place for place, member in enumerate(members) if member.index in averaged]
        gains = added(prepared, test, np.asarray(on_test)[places], quantile) if places else []
        for place, gain in zip(places, gains, strict=True):
            table[place]["adds"] = gain
    return {
        **measured(schema, target[judged.rows], judged.prediction, alike, quantile),
        "rows": judged.kind,
        "monitor": prepared.spec.training.monitor,
        "members": table,
        "baseline": without_network(prepared, members[0].train_rows, judged.rows),
    }


def without_network(prepared: Prepared, train: Rows, rows: Rows) -> dict[str, Any]:
    """What is had without any network, and what it scores on ``rows``: of a forecast a naive one, else a constant."""
    schema, target, quantile = prepared.schema, prepared.target, quantile_of(prepared.spec)
    if schema.kind == "forecast":
        return forecast.best_baseline(schema, prepared.inputs(rows)[0], target[rows], quantile)
    simple = baseline(schema.task, target[train], target[rows], classes=len(schema.classes) or None, quantile=quantile)
    return {"what": simple.what, "metrics": simple.metrics}


def spread(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation of each out-of-fold metric over some members' rows of ``metrics.json``."""
    values = {name: [row["out_of_fold"][name] for row in rows] for name in rows[0]["out_of_fold"]}
    return {
        name: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)) if len(v) > 1 else None}
        for name, v in values.items()
    }


def measured(
    schema: Schema, target: NDArray[Any], prediction: NDArray[Any], alike: Alike | None,
    quantile: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The ensemble's metrics with intervals, and what the intervals are, as ``metrics.json`` has them."""
    task, classes = schema.task, schema.classes
    codes, drawn = (None, "rows") if alike is None else (alike.codes, alike.name)
    counted = {"unit": "windows", "scale": forecast.SCALE} if schema.kind == "forecast" else {"unit": "rows"}
    scale = f"; {counted['scale']}" if "scale" in counted else ""
    intervals = bootstrap(task, in_units(schema, target), in_units(schema, prediction), groups=codes, quantile=quantile)
    resamples = resamples_used(task, len(target), classes=max(2, len(classes)))
    return {
        "metrics": {name: interval.to_dict() for name, interval in intervals.items()},
        "n_rows": len(target),
        **counted,
        "interval": f"95 % bootstrap over {drawn}, {resamples:,} resamples{scale}",
        "headline": headline(task, quantile),
        **({} if quantile is None else {"quantile": quantile}),
        "positive": classes[1] if task == "binary" else None,
    }


def analysis(prepared: Prepared, model: Model, members: Sequence[Member], judged: Judged) -> dict[str, Any]:
    """The content of ``analysis.json``: what there is to see beside the metrics."""
    if prepared.schema.kind == "forecast":
        return forecast.analysis(prepared, judged)
    schema, target = prepared.schema, prepared.target[judged.rows]
    found: dict[str, Any] = {"rows": judged.kind, "confusion": None, "calibration": None, "residuals": None}
    if schema.task == "regression":
        points = zip(*residual_sample(target, judged.prediction), strict=True)
        found["residuals"] = {"points": [{"actual": actual, "predicted": predicted} for actual, predicted in points]}
    else:
        counts = confusion_matrix(target, judged.prediction)
        found["confusion"] = {"classes": list(schema.classes), "counts": counts.tolist()}
        curve = reliability(schema.task, target, judged.prediction)
        found["calibration"] = curve.to_dict() if curve else None
    columns = () if schema.kind == "text" else schema.used_columns
    few = 0 < len(columns) <= IMPORTANCE_PASSES
    found["importance"] = importance(prepared, model, members, judged) if few else None
    found["mistakes"] = mistakes(prepared, judged)
    return found


def importance(prepared: Prepared, model: Model, members: Sequence[Member], judged: Judged) -> dict[str, Any]:
    """How much worse the ensemble gets when one column's (or channel's) values are shuffled among the judged rows."""
    schema, task = prepared.schema, prepared.schema.task
    sample = sample_rows(len(judged.rows), IMPORTANCE_ROWS)
    rows = judged.rows[sample]
    inputs = prepared.inputs(rows)
    names = [column.name for column in schema.used_columns]
    asks = len(members)
    if judged.kind != "test":  # a row is then predicted by the members that did not train on it
        own = np.array([np.isin(rows, member.valid_rows) for member in members])
    else:
        if model.combination is None and asks > IMPORTANCE_NETWORKS:
            numbers, asks = list(model.networks), IMPORTANCE_NETWORKS
            model = model.only([numbers[place * len(numbers) // asks] for place in range(asks)])  # some of every fold
        own = np.ones((asks, len(rows)), dtype=np.bool_)
    predict = asked(model, own)

    def without(feature: int, order: NDArray[np.int64]) -> Floats:
        return predict(shuffled(inputs, schema, names[feature], order))

    repeats = max(1, min(IMPORTANCE_REPEATS, IMPORTANCE_PASSES // len(names)))  # wide tables: fewer
    whole = predict(inputs)
    features = permutation_importance(without, names, task, prepared.target[rows], whole, repeats=repeats)
    return {
        "metric": LOSS[task],
        "rows": judged.kind,
        "repeats": repeats,
        "networks": asks if asks < len(members) else None,
        "features": [asdict(feature) for feature in features],
    }


def asked(model: Model, own: NDArray[np.bool_]) -> Callable[[Sequence[NDArray[Any]]], Floats]:
    """The model's prediction of N rows by the networks whose word counts on each, ``own`` ``[K, N]``.

    Networks that count on the same rows are asked for these together, and for no others.
    """
    if own.all():
        return lambda inputs: model.together(model.member_predictions(inputs))
    numbers, parts = list(model.networks), []
    for rows in np.unique(own, axis=0):
        places = np.flatnonzero((own == rows).all(axis=1))
        if rows.any():
            parts.append((places, np.flatnonzero(rows), model.only([numbers[place] for place in places])))

    def predict(inputs: Sequence[NDArray[Any]]) -> Floats:
        each = [part.member_predictions([x[rows] for x in inputs]) for _, rows, part in parts]
        whole = np.zeros((*own.shape, *each[0].shape[2:]))
        for (places, rows, _), prediction in zip(parts, each, strict=True):
            whole[np.ix_(places, rows)] = prediction
        return model.together(whole, own)

    return predict


def mistakes(prepared: Prepared, judged: Judged) -> dict[str, Any]:
    """The judged rows that the ensemble is most wrong about, as rows or as pictures."""
    schema, target = prepared.schema, prepared.target[judged.rows]
    worst = worst_mistakes(schema.task, target, judged.prediction, MISTAKES).rows
    items = []
    for place, (source, row) in zip(worst, prepared.raw_rows(judged.rows[worst]), strict=True):
        item = {"row": row + 1} | shown(source, row, schema)
        prediction = judged.prediction[place]
        if schema.task == "regression":
            item |= {"actual": float(target[place]), "predicted": float(prediction)}
            item["error"] = float(prediction - target[place])
        else:
            best = int(np.argmax(prediction))
            item |= {"actual": schema.classes[int(target[place])], "predicted": schema.classes[best]}
            item["confidence"] = float(prediction[best])
        items.append(item)
    if schema.kind == "series":
        return {"kind": "series", "legend": drawings.legend(len(schema.columns)), "items": items}
    return {"kind": "images" if schema.kind == "images" else "rows", "items": items}


def shown(source: Raw, row: int, schema: Schema) -> dict[str, Any]:
    """A row for a reader: its ``values`` by name, or a picture of it as ``image``."""
    match source:
        case RawTable():
            values = source.frame.row(row, named=True)
            names = [name for name in values if name != schema.target]
            if schema.kind == "text":
                names = [column.name for column in schema.used_columns]
            return {
                "values": {name: "" if values[name] is None else str(values[name])[:LONGEST_TEXT] for name in names},
                "image": None,
            }
        case RawArrays():
            return {"values": {"file": source.names[row]} if source.names else {}, "image": drawings.png(source.x[row])}
        case RawSeries():
            return {"values": {}, "image": drawings.series(source.x[row, : source.lengths[row]], schema.columns)}
