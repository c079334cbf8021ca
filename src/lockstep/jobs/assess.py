"""What a trained population is worth: honest metrics with intervals, and what to look at to understand them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lockstep.data import RawTable
from lockstep.engine.population import Member
from lockstep.evaluation import (
    HEADLINE,
    LOSS,
    baseline,
    bootstrap,
    confusion_matrix,
    out_of_fold,
    permutation_importance,
    reliability,
    resamples_used,
    residual_sample,
    sample_rows,
    score,
    worst_mistakes,
)
from lockstep.jobs.model import Floats, Model
from lockstep.jobs.prepare import Prepared
from lockstep.spec import Task

IMPORTANCE_ROWS, IMPORTANCE_REPEATS, IMPORTANCE_PASSES, MISTAKES = 2000, 5, 200, 20
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Judged:
    """The ensemble's prediction on the rows that it is judged by, ``"test"`` or ``"out-of-fold"``."""

    kind: str
    rows: Rows
    prediction: Floats


def judge(prepared: Prepared, model: Model, members: Sequence[Member], own: Sequence[Floats]) -> Judged:
    """The test rows where there are any; else every row by the members that did not train on it.

    ``own`` are the members' predictions on their own validation rows.
    """
    if len(prepared.splits.test):
        rows = prepared.splits.test
        return Judged("test", rows, model.predict(prepared.inputs(rows)))
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


def metrics(
    prepared: Prepared, model: Model, members: Sequence[Member], judged: Judged, own: Sequence[Floats]
) -> dict[str, Any]:
    """The content of ``metrics.json``. ``members`` are those with weights."""
    task, target = prepared.schema.task, prepared.target
    groups = None if prepared.groups is None else prepared.groups[judged.rows]
    test = len(prepared.splits.test) > 0
    on_test = model.member_predictions(prepared.inputs(prepared.splits.test)) if test else [None] * len(members)
    table: list[dict[str, Any]] = [
        {
            "member": member.index, "candidate": member.candidate, "fold": member.fold, "seed": member.seed,
            "choices": member.choices,
            "test": None if seen is None else score(task, target[prepared.splits.test], seen),
            "out_of_fold": score(task, target[member.valid_rows], prediction),
        }
        for member, prediction, seen in zip(members, own, on_test, strict=True)
    ]  # fmt: skip
    names = list(table[0]["out_of_fold"])
    spread = {name: [row["out_of_fold"][name] for row in table] for name in names}
    simple = baseline(
        task, target[members[0].train_rows], target[judged.rows], classes=len(prepared.schema.classes) or None
    )
    return {
        **measured(task, prepared.schema.classes, target[judged.rows], judged.prediction, groups),
        "rows": judged.kind,
        "members": table,
        "out_of_fold": {
            name: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)) if len(v) > 1 else None}
            for name, v in spread.items()
        },
        "baseline": {"what": simple.what, "metrics": simple.metrics},
    }


def measured(
    task: Task,
    classes: Sequence[str],
    target: NDArray[Any],
    prediction: NDArray[Any],
    groups: NDArray[np.int64] | None,
) -> dict[str, Any]:
    """The ensemble's metrics with intervals, and what the intervals are, as ``metrics.json`` has them."""
    intervals = bootstrap(task, target, prediction, groups=groups)
    resamples = resamples_used(task, len(target), classes=max(2, len(classes)))
    return {
        "metrics": {name: interval.to_dict() for name, interval in intervals.items()},
        "n_rows": len(target),
        "interval": f"95 % bootstrap over {'groups' if groups is not None else 'rows'}, {resamples:,} resamples",
        "headline": HEADLINE[task],
        "positive": classes[1] if task == "binary" else None,
    }


def analysis(prepared: Prepared, model: Model, members: Sequence[Member], judged: Judged) -> dict[str, Any]:
    """The content of ``analysis.json``: what there is to see beside the metrics."""
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
    few = 0 < len(schema.used_columns) <= IMPORTANCE_PASSES
    found["importance"] = importance(prepared, model, members, judged) if few else None
    found["mistakes"] = mistakes(prepared, judged)
    return found


def importance(prepared: Prepared, model: Model, members: Sequence[Member], judged: Judged) -> dict[str, Any]:
    """How much worse the ensemble gets when one column's values are shuffled among the judged rows."""
    schema, task = prepared.schema, prepared.schema.task
    sample = sample_rows(len(judged.rows), IMPORTANCE_ROWS)
    rows = judged.rows[sample]
    numbers, codes = prepared.inputs(rows)
    names = [column.name for column in schema.used_columns]
    weights = np.ones((len(members), len(rows)))
    if judged.kind != "test":  # a row is then predicted by the members that did not train on it
        weights = np.array([np.isin(rows, member.valid_rows) for member in members]).astype(np.float64)
    weights /= weights.sum(axis=0)

    def shuffled(feature: int, order: NDArray[np.int64]) -> Floats:
        moved = numbers.copy(), codes.copy()
        for part, columns in zip(moved, (schema.number_columns, schema.category_columns), strict=True):
            places = [place for place, name in enumerate(columns) if name == names[feature]]
            part[:, places] = part[order][:, places]
        predictions = model.member_predictions(moved)
        return np.asarray((predictions * weights.reshape(*weights.shape, *(1,) * (predictions.ndim - 2))).sum(axis=0))

    repeats = max(1, min(IMPORTANCE_REPEATS, IMPORTANCE_PASSES // len(names)))  # wide tables: fewer
    features = permutation_importance(
        shuffled, names, task, prepared.target[rows], judged.prediction[sample], repeats=repeats
    )
    return {
        "metric": LOSS[task],
        "rows": judged.kind,
        "repeats": repeats,
        "features": [asdict(feature) for feature in features],
    }


def mistakes(prepared: Prepared, judged: Judged) -> dict[str, Any]:
    """The judged rows that the ensemble is most wrong about, as rows or as pictures."""
    schema, target = prepared.schema, prepared.target[judged.rows]
    worst = worst_mistakes(schema.task, target, judged.prediction, MISTAKES).rows
    items = []
    for place, (source, row) in zip(worst, prepared.raw_rows(judged.rows[worst]), strict=True):
        item: dict[str, Any] = {"row": row + 1, "values": {}, "image": None}
        if isinstance(source, RawTable):
            values = source.frame.row(row, named=True)
            item["values"] = {
                name: "" if value is None else str(value) for name, value in values.items() if name != schema.target
            }
        else:
            item["image"] = png(source.x[row])
        prediction = judged.prediction[place]
        if schema.task == "regression":
            item |= {"actual": float(target[place]), "predicted": float(prediction)}
            item["error"] = float(prediction - target[place])
        else:
            best = int(np.argmax(prediction))
            item |= {"actual": schema.classes[int(target[place])], "predicted": schema.classes[best]}
            item["confidence"] = float(prediction[best])
        items.append(item)
    return {"kind": "rows" if schema.kind == "table" else "images", "items": items}


def png(image: NDArray[Any]) -> str:
    """An image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` as a data URI; anything but bytes is stretched to 0 … 255."""
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = np.moveaxis(image, 0, 2)
    image = image[..., 0] if image.ndim == 3 and image.shape[2] != 3 else image
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) / (high - low or 1) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
