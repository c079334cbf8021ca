"""``lockstep fit``: a data file in, a trained and evaluated ensemble out."""

from shlex import quote
from typing import TYPE_CHECKING

from lockstep.cli import options as o
from lockstep.cli.errors import INTERRUPTED
from lockstep.cli.text import count, metric_lines
from lockstep.findings import Finding

if TYPE_CHECKING:
    from lockstep.jobs.run import Run


def fit(
    data: o.Data,
    target: o.Target = None,
    no_header: o.NoHeader = False,
    valid: o.Valid = None,
    test: o.Test = None,
    test_size: o.TestSize = None,
    recipe: o.Recipe = None,
    spec: o.Spec = None,
    settings: o.Set = None,
    folds: o.Folds = None,
    seeds: o.Seeds = None,
    seed: o.Seed = None,
    members: o.Members = None,
    halve: o.Halve = None,
    epochs: o.Epochs = None,
    device: o.Device = "auto",
    executor: o.Executor = "auto",
    precision: o.Precision = "auto",
    threads: o.Threads = None,
    at_once: o.AtOnce = None,
    out: o.Out = None,
    overwrite: o.Overwrite = False,
    quiet: o.Quiet = False,
) -> int:
    """Train an ensemble on DATA, measure it on rows it never saw, and write a report."""
    flags = o.keywords(locals())
    from lockstep.jobs.fit import fit as job

    run = job(data, **flags)
    print("\n".join(result_lines(run, quiet=quiet)))
    return INTERRUPTED if run.manifest["status"] == "interrupted" else 0


def result_lines(run: "Run", *, quiet: bool) -> list[str]:
    """What came of it: scores and the rows behind them, findings, where the report is, what to type next."""
    from lockstep.jobs.progress import sentence

    lines = metric_lines(run.evaluation)
    findings = [Finding(**finding) for finding in run.findings]
    if run.manifest["status"] == "interrupted":
        lines.append(run.progress())
    if quiet:  # else they were said as they were found
        lines += map(sentence, findings)
    elif findings:
        lines.append(f"{count(len(findings), 'finding')}, said above and in the report")
    return [*lines, *next_lines(run)]


def next_lines(run: "Run") -> list[str]:
    """Where the report is, and what to type next."""
    return [
        f"report: {run.report_path}",
        f"next:   lockstep predict {quote(str(run.path))} NEW_DATA --out predictions.csv",
    ]
