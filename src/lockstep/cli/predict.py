"""``lockstep predict``: a trained run and new rows in, a prediction per row out."""

from pathlib import Path
from typing import Annotated

import typer

from lockstep.cli import options as o
from lockstep.cli.text import count


def predict(
    run: o.Run,
    data: o.Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the predictions go: csv, tsv or parquet.")],
) -> None:
    """Predict each row of DATA, in order: prediction, then probability_CLASS for every class."""
    from lockstep.jobs.predict import predict as job

    rows = job(run, data, out)
    print(f"{count(rows, 'row')} written to {out}")
