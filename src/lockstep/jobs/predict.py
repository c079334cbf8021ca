"""``lockstep predict``: a row of predictions per row of data, in order."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lockstep.data import Raw, RawTable, cut_rows, encode
from lockstep.data.timeline import times_ahead
from lockstep.errors import RunError
from lockstep.jobs.progress import progress
from lockstep.jobs.run import Run, load
from lockstep.runs import write_bytes


def predict(run: str | Path, data: Any, out: str | Path, *, quiet: bool = False) -> int:
    """Write the predictions of the run at ``run`` on ``data`` to ``out``; returns how many rows.

    Rows that are longer than what the networks read are told of on stderr, unless ``quiet``.

    Columns: ``prediction``, then for classes ``probability_<class>`` each. Of a forecast: the time of each of the rows
    that come after ``data``, and every column's value there. The file is csv, tsv or parquet by its ending, whole or
    not there. Raises ``RunError`` and ``DataError``.
    """
    out = Path(out)
    if out.suffix.lower() not in (".csv", ".tsv", ".parquet"):
        raise RunError(f"--out must end in .csv, .tsv or .parquet, however: {out}.")
    if isinstance(data, str | Path) and Path(data).exists() and out.exists() and out.samefile(data):
        raise RunError(f"--out must not be the data itself, however both are {out}. Choose another file with --out.")
    loaded = load(run)
    raw = loaded.read(data)
    frame = forecast_frame(loaded, raw) if loaded.schema.kind == "forecast" else predictions(loaded, raw)
    with progress(quiet) as show:
        for finding in cut_rows(raw, loaded.schema, with_target=False):
            show.finding(finding)
    match out.suffix.lower():
        case ".parquet":
            buffer = io.BytesIO()
            frame.write_parquet(buffer)
            content = buffer.getvalue()
        case suffix:
            content = frame.write_csv(
                separator="\t" if suffix == ".tsv" else ",", datetime_format="%Y-%m-%d %H:%M:%S"
            ).encode()
    write_bytes(out, content)
    return len(frame)


def predictions(run: Run, raw: Raw) -> pl.DataFrame:
    prediction = run.model.predict(encode(raw, run.schema, with_target=False).inputs)
    columns: dict[str, Any] = {"prediction": prediction}
    if run.schema.classes:
        columns["prediction"] = run.schema.labels(np.argmax(prediction, axis=1))
        columns |= {f"probability_{name}": prediction[:, c] for c, name in enumerate(run.schema.classes)}
    return pl.DataFrame(columns)


def forecast_frame(run: Run, raw: Raw) -> pl.DataFrame:
    assert isinstance(raw, RawTable)
    (ahead,) = run.model.predict(encode(raw, run.schema, with_target=False).inputs)
    columns = {column.name: ahead[c] + column.offset for c, column in enumerate(run.schema.columns)}
    return pl.DataFrame([times_ahead(raw, run.schema)]).with_columns(**columns)
