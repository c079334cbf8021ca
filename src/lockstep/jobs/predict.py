"""``lockstep predict``: a row of predictions per row of data, in order."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lockstep.errors import RunError
from lockstep.jobs.run import load
from lockstep.runs import write_bytes


def predict(run: str | Path, data: Any, out: str | Path) -> int:
    """Write the predictions of the run at ``run`` on ``data`` to ``out``; returns how many rows.

    Columns: ``prediction``, then for classes ``probability_<class>`` each. The file is csv, tsv or parquet by its
    ending, whole or not there. Raises ``RunError`` and ``DataError``.
    """
    out = Path(out)
    if out.suffix.lower() not in (".csv", ".tsv", ".parquet"):
        raise RunError(f"--out must end in .csv, .tsv or .parquet, however: {out}.")
    if isinstance(data, str | Path) and Path(data).exists() and out.exists() and out.samefile(data):
        raise RunError(f"--out must not be the data itself, however both are {out}. Choose another file with --out.")
    loaded = load(run)
    prediction = loaded.model.predict(loaded.inputs(data))
    columns: dict[str, Any] = {"prediction": prediction}
    if loaded.schema.classes:
        columns["prediction"] = loaded.schema.labels(np.argmax(prediction, axis=1))
        columns |= {f"probability_{name}": prediction[:, c] for c, name in enumerate(loaded.schema.classes)}
    frame = pl.DataFrame(columns)
    match out.suffix.lower():
        case ".parquet":
            buffer = io.BytesIO()
            frame.write_parquet(buffer)
            content = buffer.getvalue()
        case suffix:
            content = frame.write_csv(separator="\t" if suffix == ".tsv" else ",").encode()
    write_bytes(out, content)
    return len(frame)
