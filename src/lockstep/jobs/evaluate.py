"""``lockstep evaluate``: the ensemble's metrics on new labelled rows, with intervals."""

from pathlib import Path
from typing import Any

from lockstep.data import RawTable, encode
from lockstep.errors import DataError
from lockstep.evaluation import HEADLINE, bootstrap, resamples_used, score
from lockstep.jobs.prepare import keys_of
from lockstep.jobs.run import Run, load
from lockstep.spec import DataSpec


def evaluate(run: str | Path | Run, data: Any) -> dict[str, Any]:
    """The metrics of the run on ``data`` (with its target), shaped as ``metrics.json``.

    Raises ``DataError`` where the rows are those the run was trained on: members would be judged by what they learned.
    """
    run = run if isinstance(run, Run) else load(run)
    raw = run.read(data)
    if raw.fingerprint == run.manifest["data"]["fingerprint"]:
        raise DataError(
            f"A run must be evaluated on rows that it did not train on, however {raw.origin} is the very file that it "
            f"was trained on. Its score on the rows that were set aside from it is in {run.path / 'metrics.json'}."
        )
    encoded = encode(raw, run.schema, with_target=True)
    assert encoded.target is not None
    task, target = run.schema.task, encoded.target
    predictions = run.model.member_predictions(encoded.inputs)
    ensemble = predictions.mean(axis=0)
    group = run.spec.data.group
    there = isinstance(raw, RawTable) and group in raw.frame.columns
    groups = keys_of([raw], DataSpec(group=group))[0] if there else None
    intervals = bootstrap(task, target, ensemble, groups=groups)
    resamples = resamples_used(task, len(target), classes=max(2, len(run.schema.classes)))
    return {
        "metrics": {name: {"value": i.value, "low": i.low, "high": i.high} for name, i in intervals.items()},
        "rows": raw.origin,
        "n_rows": len(target),
        "interval": f"95 % bootstrap over {'groups' if groups is not None else 'rows'}, {resamples:,} resamples",
        "headline": HEADLINE[task],
        "positive": run.schema.classes[1] if task == "binary" else None,
        "members": [
            {"member": index, "metrics": score(task, target, prediction)}
            for index, prediction in zip(run.model.networks, predictions, strict=True)
        ],
    }
