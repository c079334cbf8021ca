"""The command line: one thin file per verb, each of which calls one job and prints what came of it."""

from lockstep.cli.app import main

__all__ = ["main"]
