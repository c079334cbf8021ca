"""``lockstep report``: the report of a run, written anew."""

from lockstep.cli import options as o


def report(run: o.Run) -> None:
    """Write the report of RUN again from what its folder holds."""
    from lockstep.jobs.report import report as job

    print(f"report: {job(run)}")
