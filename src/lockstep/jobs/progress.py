"""What a user sees while it runs: a live panel in a terminal, plain lines elsewhere, a line of HTML in a notebook."""

import contextlib
import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import rich.default_styles  # noqa: F401  (draws from Python's random numbers when imported: not while one trains)
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lockstep.findings import Finding

if TYPE_CHECKING:
    from lockstep.engine.records import EpochRecord, Rung

_STYLES = {"info": "cyan", "warning": "yellow", "severe": "bold red"}


class Display(Protocol):
    """What a job tells its user through. Called with an epoch's record it is an observer of the loop."""

    def say(self, text: str) -> None:
        """A sentence that stays on the screen."""

    def finding(self, finding: Finding) -> None:
        """Something noticed, with its remedy."""

    def phase(self, text: str) -> None:
        """What is being done now, until the next phase: ``"Reading the data"``."""

    def __call__(self, record: "EpochRecord") -> None: ...

    def rung(self, rung: "Rung") -> None:
        """Candidates were halved."""

    def close(self) -> None: ...


@contextmanager
def progress(quiet: bool = False, *, epoch_lines: int = 0) -> Iterator[Display]:
    """Yield the display that fits where the program runs. It writes to stderr, so stdout stays the result's own.

    The first ``epoch_lines`` epochs leave a line each.
    """
    display = _choose(quiet, epoch_lines)
    try:
        yield display
    finally:
        display.close()


def _choose(quiet: bool, epoch_lines: int) -> Display:
    if quiet:
        return Silent()
    if _in_notebook():
        return Notebook(epoch_lines)
    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        return Panel(console, epoch_lines)
    return Lines(epoch_lines)


def _in_notebook() -> bool:
    """Whether this process is a Jupyter kernel (IPython is then loaded already; nothing is imported to ask)."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class Tally:
    """Where the training stands, from its records: pure arithmetic, no output.

    A member that has ended keeps its last values, so that a mean doesn't jump because a member left; one that was
    halved doesn't. Means are over the stack that trains; the others are only counted.
    """

    def __init__(self) -> None:
        self.epoch = self.epochs = self.training = self.network_epochs = 0
        self.stack = self.stacks = 1
        self.metric = ""
        self.ended: dict[int, str] = {}
        self.elapsed = 0.0
        self._seen: dict[int, set[int]] = {}  # by stack
        self._reached: dict[int, int] = {}
        self._last: dict[int, tuple[float, float, float]] = {}
        self._pace = 0.0

    @property
    def members(self) -> int:
        """How many have trained so far."""
        return sum(map(len, self._seen.values()))

    @property
    def done(self) -> int:
        """Epochs so far, if every stack has as many."""
        over = (stack for stack, members in self._seen.items() if members <= self.ended.keys())
        return sum((self._reached | dict.fromkeys(over, self.epochs)).values())

    def add(self, record: "EpochRecord") -> None:
        first = record.epoch <= self.epoch or self.epoch == 0  # also the first of a population's next stack
        if record.stack != self.stack:
            self._last = {}
        self.stack, self.stacks = record.stack, record.stacks
        self._reached[self.stack] = record.epoch
        self._seen.setdefault(self.stack, set()).update(record.members.tolist())
        self.epoch, self.epochs, self.metric = record.epoch, record.epochs, record.metric
        self.training = len(record.members) - len(record.ended)
        self.network_epochs += len(record.members)
        self.elapsed += record.seconds
        # The recent pace: later epochs are cheaper, as members have left, and the first carries the start's cost.
        self._pace = record.seconds if first else 0.7 * self._pace + 0.3 * record.seconds
        values = zip(record.train_loss, record.valid_loss, record.valid_metric, strict=True)
        self._last |= {int(member): value for member, value in zip(record.members, values, strict=True)}
        self.ended |= record.ended

    def halve(self, rung: "Rung") -> None:
        self.ended |= rung.ended
        self._last = {member: value for member, value in self._last.items() if member not in rung.ended}

    def losses(self) -> list[tuple[str, str]]:
        """(name, mean ± standard deviation over members) of what was measured."""
        values = np.array(list(self._last.values()), dtype=float).reshape(-1, 3)
        named = zip(("train loss", "valid loss", f"valid {self.metric}"), values.T, strict=True)
        return [(name, spread(column)) for name, column in named if np.isfinite(column).any()]

    def rate(self) -> str:
        per_second = self.network_epochs / self.elapsed if self.elapsed > 0 else 0.0
        unit = "epochs/s" if self.members == 1 else "network-epochs/s"
        return f"{per_second:,.{0 if per_second >= 100 else 1}f} {unit}"

    def left(self) -> str:
        """The time left if nobody stops early, none is halved and every stack takes as long as this one."""
        left = duration(self._pace * (self.epochs * self.stacks - self.done))
        return f"{'at most' if self.stacks == 1 or 'halved' in self.ended.values() else 'about'} {left} left"

    def at(self) -> str:
        """``"epoch 3/100"``, and of several stacks which one: ``"stack 2/16 · epoch 3/100"``."""
        width = len(str(self.epochs))
        stack = f"stack {self.stack:>{len(str(self.stacks))}}/{self.stacks} · " if self.stacks > 1 else ""
        return f"{stack}epoch {self.epoch:>{width}}/{self.epochs}"

    def networks(self) -> str:
        still = "" if self.training in (0, len(self._last)) else f", {self.training:,} still training"
        return self._count() + still

    def _count(self) -> str:
        return f"{self.members:,} network{'s' if self.members != 1 else ''}"

    def numbers(self) -> list[str]:
        """The epoch, and what was measured at its end."""
        return [self.at(), *(f"{name} {value}" for name, value in self.losses())]

    def line(self) -> str:
        return " · ".join(
            [
                *self.numbers(),
                self.networks(),
                self.rate(),
                *([self.left()] if self.done < self.epochs * self.stacks else []),
            ]
        )

    def summary(self) -> str:
        stacks = f", {self.stacks} stacks," if self.stacks > 1 else ""
        text = f"Trained {self._count()}{stacks} in {duration(self.elapsed)} ({self.rate()})"
        counts = {reason: list(self.ended.values()).count(reason) for reason in sorted(set(self.ended.values()))}
        if set(counts) - {"finished"}:
            text += ": " + ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        at_last = ", ".join(f"{name} {value}" for name, value in self.losses()) if self.stacks == 1 else ""
        return f"{text}. At the end: {at_last}." if at_last else f"{text}."


def spread(values: "np.ndarray[Any, np.dtype[np.float64]]") -> str:
    """Mean ± standard deviation of the finite values; the mean alone where there is one."""
    finite = values[np.isfinite(values)]
    if finite.size == 1:
        return f"{finite[0]:.4g}"
    return f"{finite.mean():.4g} ± {finite.std(ddof=1):.2g}"


def halving(rung: "Rung") -> str:
    """``"epoch 9: 9 of 27 candidates go on"``."""
    verb = "goes" if len(rung.going) == 1 else "go"
    return f"epoch {rung.epoch}: {len(rung.going)} of {rung.candidates} candidates {verb} on"


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def sentence(finding: Finding) -> str:
    """A finding as text: what, on what evidence, what to do."""
    evidence = f" ({finding.evidence.rstrip('.')})" if finding.evidence else ""
    what = finding.what.rstrip(".")
    return f"{finding.severity}: {what}{evidence}. {finding.remedy}".rstrip()


class Silent:
    """Nothing."""

    def say(self, text: str) -> None: ...

    def finding(self, finding: Finding) -> None: ...

    def phase(self, text: str) -> None: ...

    def __call__(self, record: "EpochRecord") -> None: ...

    def rung(self, rung: "Rung") -> None: ...

    def close(self) -> None: ...


class Lines:
    """Plain lines for a log: the first epochs, the last, and some between, fewer the longer it runs."""

    def __init__(self, epoch_lines: int) -> None:
        self._epoch_lines = max(epoch_lines, 1)
        self._tally: Tally | None = None
        self._printed = 0.0
        self._pending = False

    def say(self, text: str) -> None:
        # A log that can't be written to any more must not end a training that goes on without it.
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)

    def finding(self, finding: Finding) -> None:
        self.say(sentence(finding))

    def phase(self, text: str) -> None:
        self._finish()
        self.say(f"{text} …")

    def __call__(self, record: "EpochRecord") -> None:
        tally = self._tally = self._tally or Tally()
        tally.add(record)
        self._pending = True
        self._epoch_lines -= 1
        if self._epoch_lines >= 0 or time.monotonic() - self._printed >= max(2.0, 0.05 * tally.elapsed):
            self._print_epoch()

    def rung(self, rung: "Rung") -> None:
        self._print_epoch()
        if self._tally is not None:
            self._tally.halve(rung)
        self.say(halving(rung))

    def _print_epoch(self) -> None:
        if self._tally is not None and self._pending:
            self.say(self._tally.line())
            self._printed, self._pending = time.monotonic(), False

    def _finish(self) -> None:
        if self._tally is not None:
            self._print_epoch()
            self.say(self._tally.summary())
            self._tally = None

    def close(self) -> None:
        self._finish()


class Panel:
    """A terminal: what is being done, or a bar with the numbers under it, redrawn in place."""

    def __init__(self, console: Console, epoch_lines: int = 0) -> None:
        self._console = console
        self._epoch_lines = epoch_lines
        self._tally: Tally | None = None
        self._spinner = Spinner("dots", text="")
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, transient=True)
        self._live.start()

    def say(self, text: str) -> None:
        self._console.print(escape(text), highlight=False)

    def finding(self, finding: Finding) -> None:
        style = _STYLES[finding.severity]
        label, rest = sentence(finding).split(":", 1)
        self._console.print(f"[{style}]{label}:[/{style}]{escape(rest)}", highlight=False)

    def phase(self, text: str) -> None:
        self._finish()
        self._spinner.update(text=Text(f"{text} …"))

    def __call__(self, record: "EpochRecord") -> None:
        self._tally = self._tally or Tally()
        self._tally.add(record)
        self._epoch_lines -= 1
        if self._epoch_lines >= 0:
            self.say(" · ".join(self._tally.numbers()))

    def rung(self, rung: "Rung") -> None:
        if self._tally is not None:
            self._tally.halve(rung)
        self.say(halving(rung))

    def _render(self) -> Group | Spinner | Text:
        # The refresh thread asks while the loop may be putting a record in: a half-read tally only flickers.
        tally = self._tally
        if tally is None:
            return self._spinner if self._spinner.text else Text("")
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(tally.epochs * tally.stacks, 1), completed=tally.done, width=28),
            Text(tally.at(), style="bold"),
            Text(tally.left(), style="cyan"),
        )
        losses = [Text.assemble((f"{name} ", "dim"), value) for name, value in tally.losses()]
        numbers = Text(" · ", no_wrap=True, overflow="ellipsis").join(losses)
        return Group(bar, Text(f"{tally.networks()} · {tally.rate()}", style="green"), numbers)

    def _finish(self) -> None:
        if self._tally is not None:
            tally, self._tally = self._tally, None
            self.say(tally.summary())

    def close(self) -> None:
        self._finish()
        self._live.stop()


class Notebook:
    """A notebook: one output that is updated in place, and what was said above it."""

    def __init__(self, epoch_lines: int) -> None:
        from IPython.display import display

        self._epoch_lines = epoch_lines
        self._said: list[str] = []
        self._phase = ""
        self._tally: Tally | None = None
        self._drawn = 0.0
        self._handle: Any = display({"text/html": "", "text/plain": ""}, raw=True, display_id=True)

    def say(self, text: str) -> None:
        self._said.append(html.escape(text))
        self._draw()

    def finding(self, finding: Finding) -> None:
        label, rest = sentence(finding).split(":", 1)
        self._said.append(f"<b>{label}:</b>{html.escape(rest)}")
        self._draw()

    def phase(self, text: str) -> None:
        self._finish()
        self._phase = f"{text} …"
        self._draw()

    def __call__(self, record: "EpochRecord") -> None:
        self._tally = self._tally or Tally()
        self._tally.add(record)
        self._epoch_lines -= 1
        if self._epoch_lines >= 0:
            self._said.append(html.escape(" · ".join(self._tally.numbers())))
        if time.monotonic() - self._drawn >= 0.3:
            self._draw()

    def rung(self, rung: "Rung") -> None:
        if self._tally is not None:
            self._tally.halve(rung)
        self.say(halving(rung))

    def _draw(self) -> None:
        now = html.escape(self._tally.line() if self._tally else self._phase)
        bar = ""
        if self._tally:
            total = self._tally.epochs * self._tally.stacks
            bar = f'<progress max="{total}" value="{self._tally.done}" style="width:20em"></progress><br>'
        text = "".join(f"<div>{line}</div>" for line in self._said) + f"<div>{bar}{now}</div>"
        plain = html.unescape("\n".join([*self._said, now])).replace("<b>", "").replace("</b>", "")
        self._handle.update({"text/html": text, "text/plain": plain}, raw=True)
        self._drawn = time.monotonic()

    def _finish(self) -> None:
        if self._tally is not None:
            tally, self._tally = self._tally, None
            self._said.append(html.escape(tally.summary()))

    def close(self) -> None:
        self._finish()
        self._phase = ""
        self._draw()


__all__ = ["Display", "duration", "progress", "sentence", "spread"]
