"""The program ``lockstep``: its verbs, and what it answers without one."""

import gc
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from lockstep.cli.compare import compare
from lockstep.cli.errors import guarded, shielded
from lockstep.cli.evaluate import evaluate
from lockstep.cli.fit import fit
from lockstep.cli.plan import plan
from lockstep.cli.predict import predict
from lockstep.cli.recipes import recipes
from lockstep.cli.report import report
from lockstep.cli.runs import runs

app = typer.Typer(
    name="lockstep",
    help="Train many neural networks as one: a data file in, an evaluated and reusable network out.",
    epilog="Try it: lockstep fit sklearn:digits",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (fit, compare, predict, evaluate, report, plan, recipes, runs):
    app.command()(shielded(verb))


def _print_version(asked: bool) -> None:
    if asked:
        print(version("lockstep-nn"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0, 2 for what the user can cure, 1 for a defect, 130 for Ctrl-C."""
    # Threads that spin for long while they wait cost little alone and very much beside another busy program
    # (docs/decisions/0004-threads.md). torch reads this when it is loaded, so it must be said before.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    gc.set_threshold(50_000)  # imports make a million objects that stay: to look them through 1,000 times takes 0.5 s
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(guarded(lambda: app(given or ["--help"], prog_name="lockstep", standalone_mode=False)))
