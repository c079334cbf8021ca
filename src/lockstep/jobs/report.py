"""``lockstep report``: write the report of a run again."""

from pathlib import Path

from lockstep.report import render
from lockstep.runs import open_run


def report(run: str | Path) -> Path:
    """Write ``report.html`` of the run at ``run``, and return its path. Raises ``RunError``."""
    return render(open_run(run).path)
