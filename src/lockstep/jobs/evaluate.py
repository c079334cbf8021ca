"""``lockstep evaluate``: the ensemble's metrics on new labelled rows, with intervals."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.data import Encoded, Raw, RawTable, cut_rows, encode, hash_rows, hash_texts, raw_texts, same_text
from lockstep.errors import DataError
from lockstep.jobs import forecast
from lockstep.jobs.assess import measured, quantile_of, scored
from lockstep.jobs.prepare import keys_of
from lockstep.jobs.prepared import Alike, alike_by
from lockstep.jobs.run import Run, load
from lockstep.spec import DataSpec


def evaluate(run: str | Path | Run, data: Any) -> dict[str, Any]:
    """The metrics of the run on ``data`` (with its target), shaped as ``metrics.json``.

    ``seen`` counts the rows whose inputs are, to the bit, those of a row that the run was trained on; of texts those
    that are the same but for case and spaces. ``findings`` are what was noticed about the rows, such as a cut.

    Raises ``DataError`` where the rows are those the run was trained on: members would be judged by what they learned.
    """
    run = run if isinstance(run, Run) else load(run)
    raw = run.read(data)
    encoded = encode(raw, run.schema, with_target=True)
    assert encoded.target is not None
    seen = known_again(run, raw, encoded)
    if seen.mean() > 0.5:
        raise DataError(
            f"A run must be evaluated on rows that it did not train on, however {seen.sum():,} of the {len(seen):,} "
            f"rows of {raw.origin} are such rows. What it scores on rows that were set aside is in "
            f"{run.path / 'metrics.json'}."
        )
    predictions, quantile = run.model.member_predictions(encoded.inputs), quantile_of(run.spec)
    alike = alike_of(run, raw, len(encoded))
    return {
        **measured(run.schema, encoded.target, run.model.together(predictions), alike, quantile),
        "rows": raw.origin,
        "seen": int(seen.sum()),
        "findings": [finding.to_dict() for finding in cut_rows(raw, run.schema)],
        "members": [
            {"member": index, "metrics": scored(run.schema, encoded.target, prediction, quantile)}
            for index, prediction in zip(run.model.networks, predictions, strict=True)
        ],
    }


def alike_of(run: Run, raw: Raw, rows: int) -> Alike | None:
    """Which of these rows the intervals draw together."""
    if run.schema.kind == "forecast":
        return forecast.blocks(run.schema, rows)
    if not isinstance(raw, RawTable):
        return None
    group = run.spec.data.group
    groups = keys_of([raw], DataSpec(group=group))[0] if group in raw.frame.columns else None
    texts = raw_texts(raw, run.schema, with_target=True) if run.schema.kind == "text" else None
    return alike_by(groups, None if texts is None else same_text(texts))


def known_again(run: Run, raw: Raw, encoded: Encoded) -> NDArray[np.bool_]:
    """Which rows the run was trained on; unknown words look alike as tokens, so texts are compared as written."""
    if run.schema.kind != "text" or not isinstance(raw, RawTable):
        return np.asarray(np.isin(hash_rows(encoded), run.trained_on))
    hashes = hash_texts(raw_texts(raw, run.schema, with_target=True))
    return np.asarray(np.isin(hashes, run.trained_on) & (hashes != 0))
