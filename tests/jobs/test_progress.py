import io
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lockstep.engine.records import EpochRecord, Rung
from lockstep.findings import Finding
from lockstep.jobs import progress as module
from lockstep.jobs.progress import Notebook, Panel, Tally, duration, halving, progress, sentence

LEAK = Finding(
    severity="severe",
    code="target-leak",
    subject="alive",
    what="Column [alive] gives the target away",
    evidence="891 of 891 rows",
    remedy="It is set aside; --set data.keep=alive keeps it.",
)


def record(epoch: int, epochs: int = 20, members: tuple[int, ...] = (0, 1, 2), **changes: Any) -> EpochRecord:
    size = len(members)
    fields: dict[str, Any] = {
        "epoch": epoch,
        "epochs": epochs,
        "partial": False,
        "members": np.array(members),
        "metric": "accuracy",
        "train_loss": np.arange(size) + 1.0,
        "valid_loss": np.full(size, 0.5),
        "valid_metric": np.full(size, 0.75),
        "lr": np.full(size, 1e-3),
        "grad_norm": np.ones(size),
        "layers": (),
        "layer_grad_norms": np.ones((size, 0)),
        "best_epoch": np.ones(size, dtype=np.int64),
        "ended": {},
        "seconds": 0.5,
        "elapsed": 0.5 * epoch,
    }
    return EpochRecord(**fields | changes)


def test_a_log_gets_plain_lines_the_first_epoch_the_last_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as show:
        show.phase("Reading the data")
        show.finding(LEAK)
        for epoch in range(1, 21):
            show(record(epoch, ended={} if epoch < 20 else {0: "finished", 1: "finished", 2: "stopped early"}))
        show.phase("Measuring")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "Reading the data …"
    assert lines[1].startswith("severe: Column [alive] gives the target away (891 of 891 rows). It is set aside")
    assert lines[2] == (
        "epoch  1/20 · train loss 2 ± 1 · valid loss 0.5 ± 0 · valid accuracy 0.75 ± 0"
        " · 3 networks · 6.0 network-epochs/s · at most 9.5 s left"
    )
    assert lines[3].startswith("epoch 20/20")
    assert lines[4].startswith(
        "Trained 3 networks in 10 s (6.0 network-epochs/s): 2 finished, 1 stopped early. At the end"
    )
    assert lines[5:] == ["Measuring …"]
    assert not any(ord(c) < 32 for line in lines for c in line)


def test_the_first_epochs_can_leave_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(epoch_lines=5) as show:
        for epoch in range(1, 21):
            show(record(epoch))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("/")[0].split()[1] for line in lines[:-1]] == ["1", "2", "3", "4", "5", "20"]


def test_a_terminal_can_keep_a_line_of_the_first_epochs() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    panel = Panel(console, 2)
    for epoch in range(1, 5):
        panel(record(epoch))
    panel.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "epoch  2/20 · train loss 2 ± 1 · valid loss 0.5 ± 0 · valid accuracy 0.75 ± 0\n" in shown.replace("\r", "")
    assert "epoch  3/20 · train loss" not in shown


def test_a_long_run_writes_fewer_lines_the_longer_it_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    with progress() as show:
        for epoch in range(1, 7201):
            clock.now += 0.5
            show(record(epoch, epochs=7200))
    lines = capsys.readouterr().err.splitlines()
    assert 40 < len(lines) < 200
    assert lines[-2].startswith("epoch 7200/7200")


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=True) as show:
        show.phase("Reading")
        show.say("hello")
        show.finding(LEAK)
        show(record(1))
    assert capsys.readouterr() == ("", "")


def test_a_log_that_cannot_be_written_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    with progress() as show:
        show.say("hello")
        show(record(1))


def test_a_member_that_left_keeps_its_last_values_in_the_mean() -> None:
    tally = Tally()
    tally.add(record(1, ended={2: "diverged"}))
    tally.add(record(2, members=(0, 1), train_loss=np.array([1.0, 2.0])))
    assert dict(tally.losses())["train loss"] == "2 ± 1"
    assert tally.networks() == "3 networks, 2 still training"
    assert tally.network_epochs == 5


def test_a_member_that_is_not_finite_is_left_out_of_the_mean_and_an_absent_loss_is_not_shown() -> None:
    tally = Tally()
    nothing = np.full(3, np.nan)
    tally.add(record(1, train_loss=np.array([1.0, np.nan, 1.0]), valid_loss=nothing, valid_metric=nothing))
    assert tally.losses() == [("train loss", "1 ± 0")]


def test_a_second_stack_starts_its_epochs_anew_and_adds_its_networks() -> None:
    tally = Tally()
    for epoch in (1, 2):
        tally.add(record(epoch, epochs=2))
    tally.add(record(1, epochs=2, members=(3, 4)))
    assert tally.members == 5
    assert tally.elapsed == 1.5
    assert tally.line().startswith("epoch 1/2")


def test_a_terminal_gets_a_panel_in_80_columns_and_the_summary_stays() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    panel = Panel(console)
    panel.phase("Reading the data")
    panel.finding(LEAK)
    for epoch in range(1, 13):
        panel(record(epoch, ended={1: "diverged"} if epoch == 12 else {}))
    text = io.StringIO()
    Console(file=text, width=80).print(panel._render())
    panel.close()
    drawn = text.getvalue().splitlines()
    assert len(drawn) == 3
    assert "epoch 12/20 at most 4.0 s left" in drawn[0]
    assert drawn[1].strip() == "3 networks, 2 still training · 6.0 network-epochs/s"
    assert drawn[2].strip() == "train loss 2 ± 1 · valid loss 0.5 ± 0 · valid accuracy 0.75 ± 0"
    assert "[alive] gives the target away" in file.getvalue()
    assert "Trained 3 networks" in file.getvalue()


def test_a_notebook_gets_one_output_that_is_updated_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            assert raw
            shown.append(data)

    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    display = SimpleNamespace(display=lambda *_, **__: Handle())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with progress() as show:
        show.finding(LEAK)
        show.say("a < b")
        monkeypatch.setattr(module.time, "monotonic", lambda: 1e9)
        show(record(3))
        assert '<progress max="20" value="3"' in shown[-1]["text/html"]
    last = shown[-1]
    assert "<b>severe:</b> Column [alive]" in last["text/html"]
    assert "a &lt; b" in last["text/html"]
    assert "a < b" in last["text/plain"]
    assert "Trained 3 networks" in last["text/html"]
    assert "<progress" not in last["text/html"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7815, "2 h 10 min")],
)
def test_a_duration_reads_as_one_would_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_finding_without_evidence_is_still_a_sentence() -> None:
    bare = Finding(severity="info", code="x", subject="", what="All is well.", evidence="", remedy="")
    assert sentence(bare) == "info: All is well."


def test_of_several_stacks_it_says_which_and_counts_the_networks_of_those_before() -> None:
    tally = Tally()
    tally.add(record(1, epochs=2, stack=1, stacks=3))
    tally.add(record(2, epochs=2, stack=1, stacks=3, ended=dict.fromkeys(range(3), "finished")))
    assert tally.line().startswith("stack 1/3 · epoch 2/2 · ")
    assert "about 2.0 s left" in tally.line()  # two more stacks of two epochs of half a second
    tally.add(record(1, epochs=2, members=(3, 4), stack=2, stacks=3))
    assert tally.line().startswith("stack 2/3 · epoch 1/2 · ")
    assert "5 networks" in tally.line()
    assert "still training" not in tally.line()
    assert tally.done == 3
    assert tally.summary().startswith("Trained 5 networks, 3 stacks, in 1.5 s")


def rung(epoch: int, going: int, ended: tuple[int, ...], candidates: int = 3) -> Rung:
    return Rung(epoch=epoch, candidates=candidates, going=tuple(range(going)), ended=dict.fromkeys(ended, "halved"))


def test_a_halving_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as show:
        show(record(1))
        show(record(2))
        show.rung(rung(2, 2, (1,)))
        show(record(3, members=(0, 2), ended={0: "finished", 2: "finished"}))
    with progress(quiet=True) as silent:
        silent.rung(rung(2, 2, (1,)))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" · ")[0] for line in lines[:4]] == [
        "epoch  1/20", "epoch  2/20", "epoch 2: 2 of 3 candidates go on", "epoch  3/20",
    ]  # fmt: skip
    assert lines[4].startswith("Trained 3 networks in 1.5 s (5.3 network-epochs/s): 2 finished, 1 halved. At the end")
    assert halving(rung(9, 1, ())) == "epoch 9: 1 of 3 candidates goes on"


def test_a_member_that_was_halved_leaves_the_mean() -> None:
    tally = Tally()
    tally.add(record(1))
    tally.halve(rung(1, 2, (2,)))
    assert dict(tally.losses())["train loss"] == "1.5 ± 0.71"
    tally.add(record(2, members=(0, 1)))
    assert tally.networks() == "3 networks"
    assert tally.network_epochs == 5


def test_stacks_that_take_turns_are_counted_once_and_those_that_are_over_as_done() -> None:
    tally = Tally()
    for stack, members in ((1, (0, 1)), (2, (2, 3)), (3, (4,))):
        tally.add(record(1, epochs=4, members=members, stack=stack, stacks=3))
    assert (tally.members, tally.done) == (5, 3)
    assert "about 4.5 s left" in tally.line()
    tally.halve(rung(1, 2, (1, 2, 3)))
    assert tally.done == 1 + 4 + 1
    assert "at most 3.0 s left" in tally.line()
    tally.add(record(2, epochs=4, members=(0,), stack=1, stacks=3))
    assert (tally.members, tally.done) == (5, 2 + 4 + 1)
    tally.add(record(2, epochs=4, members=(4,), stack=3, stacks=3, ended={4: "stopped early"}))
    assert tally.done == 2 + 4 + 4
    assert tally.summary().startswith("Trained 5 networks, 3 stacks, in 2.5 s")
    assert tally.summary().endswith(": 3 halved, 1 stopped early.")


def test_a_terminal_and_a_notebook_say_a_halving_too(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    panel = Panel(console)
    shown: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda data, **_: shown.append(data))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=lambda *_, **__: handle))
    for display in (panel, Notebook(0)):
        display(record(1))
        display.rung(rung(1, 2, (2,)))
        display.close()
    for text in (console.file.getvalue(), shown[-1]["text/html"]):  # type: ignore[attr-defined]
        assert "epoch 1: 2 of 3 candidates go on" in text
        assert "1 halved" in text
