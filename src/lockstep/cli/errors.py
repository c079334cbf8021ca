"""The one place where an exception becomes a line on stderr and an exit code."""

import functools
import os
import sys
import traceback
from collections.abc import Callable

import typer

from lockstep.errors import LockstepError

DEFECT, USER, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


class _EndedError(Exception):
    """Ctrl-C or a closed pipe, on its way past typer, which would answer them in its own way."""


def shielded(verb: Callable[..., object]) -> Callable[..., object]:
    """``verb`` with its end by Ctrl-C or a closed pipe left for ``guarded`` to answer."""

    @functools.wraps(verb)
    def run(*arguments: object, **keywords: object) -> object:
        try:
            return verb(*arguments, **keywords)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            raise _EndedError from error

    return run


def guarded(run: Callable[[], object]) -> int:
    """Run it and return the exit code, having said on stderr what went wrong (``LOCKSTEP_DEBUG=1``: with traceback)."""
    try:
        try:
            code = run()
        except _EndedError as ended:
            raise ended.__cause__ or ended from None
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        # Who read our output has enough (head, less). Python would complain at exit when it flushes, so give it a sink.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        return _say("Interrupted.", INTERRUPTED)
    except LockstepError as error:
        return _say(f"error: {error}", USER)
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong flag; typer's own class for it has moved between versions
            return _say(f"error: {_usage(error)}", USER)
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        return _say(
            f"error: {what}\nThis is a defect of Lockstep, not of your input. Please report it with the command and "
            "what it prints under LOCKSTEP_DEBUG=1.",
            DEFECT,
        )


def _say(text: str, code: int) -> int:
    if os.environ.get("LOCKSTEP_DEBUG", "") not in ("", "0"):
        traceback.print_exc()
    print(text, file=sys.stderr)
    return code


def _usage(error: Exception) -> str:
    message: str = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "lockstep"
    message = message.rstrip(".")
    return f"{message}{'' if message.endswith('?') else '.'} See: {command} --help"
