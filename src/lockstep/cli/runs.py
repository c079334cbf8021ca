"""``lockstep runs``: the runs in a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lockstep.cli.text import number, table

if TYPE_CHECKING:
    from lockstep.runs import RunSummary

_DEFAULT = Path("runs")


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the runs.")] = _DEFAULT,
) -> None:
    """List runs, the newest first, and how far each one got."""
    from lockstep.runs import list_runs

    found = list_runs(folder) if folder != _DEFAULT or folder.is_dir() else []
    if not found:
        print(f"There are no runs in {folder}. Make one: lockstep fit DATA --target COLUMN")
        return
    header = ["run", "created", "status", "epochs", "networks", "score"]
    print("\n".join(table([_row(run) for run in found if not run.problem], header)))
    for run in found:
        if run.problem:
            print(f"{run.path}: {run.problem}")


def _row(run: "RunSummary") -> list[str]:
    score = ""
    if run.metric is not None:
        score = f"{run.metric} {number(run.value)} ({number(run.low)} to {number(run.high)})"
    when = run.created[:16].replace("T", " ")
    return [str(run.path), when, run.status, f"{run.epochs_done}/{run.epochs}", f"{run.members:,}", score]
