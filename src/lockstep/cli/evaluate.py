"""``lockstep evaluate``: how good a run is on labelled rows it has not seen."""

from typing import Annotated

import typer

from lockstep.cli import options as o
from lockstep.cli.text import metric_lines
from lockstep.findings import Finding


def evaluate(
    run: o.Run, data: o.Data, json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False
) -> None:
    """Measure the ensemble of RUN on the rows of DATA, with 95 % intervals."""
    from lockstep.jobs.evaluate import evaluate as job
    from lockstep.runs.files import to_json

    metrics = job(run, data)
    if json:
        print(to_json(metrics).rstrip())
        return
    print("\n".join(metric_lines(metrics)))
    if metrics.get("seen"):
        print(f"{metrics['seen']:,} of these rows have the inputs of a row that was trained on; they flatter a little.")
    if findings := metrics.get("findings"):
        from lockstep.jobs.progress import sentence

        print("\n".join(sentence(Finding(**finding)) for finding in findings))
