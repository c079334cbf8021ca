"""Steps recorded and replayed: on a CPU by a tape with a CUDA graph's ways, and on a GPU where there is one."""

import warnings
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tape import Tape, on_tape
from torch import Tensor, nn

import lockstep
from lockstep.engine.executors import EXECUTORS, Objective, by_autograd, pick, stepping
from lockstep.engine.executors.cudagraph import AT_ONCE, WORTH_IT, CudaGraphs, replaying, waits
from lockstep.engine.loop import Progress, start
from lockstep.engine.population import make_population
from lockstep.engine.stack import Stack, lift
from lockstep.engine.state import State, rule_of
from lockstep.engine.step import Resident, Runner
from lockstep.engine.streams import epoch_rows
from lockstep.engine.tables import epoch_tables, loss_numbers
from lockstep.errors import SpecError
from lockstep.network.losses import LOSSES
from lockstep.optim import Rule, rules
from lockstep.spec import AdamW, Loss, OneCycleLR, Population, Training, TrainSpec

Rng = np.random.Generator
CPU = torch.device("cpu")
ROWS, FEATURES, BATCH, EPOCHS = 224, 6, 8, 4
STEPS = ROWS // BATCH


def net() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 3)
    ).double()  # fmt: skip


class Case:
    """A stack whose numbers all move: rate and momentum by step, dropout, smoothing and averages by member."""

    def __init__(self, rng: Rng, device: torch.device = CPU) -> None:
        spec = TrainSpec(
            loss=Loss(name="cross_entropy", label_smoothing=[0.0, 0.2]), optimizer=AdamW(), schedule=OneCycleLR(),
            training=Training(epochs=EPOCHS, batch_size=BATCH, clip_norm=0.5, ema=0.9),
            population=Population(folds=1, seeds=2, seed=int(rng.integers(1000))),
        )  # fmt: skip
        x = torch.from_numpy(rng.normal(size=(ROWS, FEATURES)))
        data = Resident((x.to(device),), torch.from_numpy(rng.integers(3, size=ROWS)).to(device))
        self.members = make_population(spec, [(np.arange(ROWS), np.arange(0))]).training
        modules = [net() for _ in self.members]
        self.objective = Objective("cross_entropy", LOSSES["cross_entropy"], data)
        self.numbers = loss_numbers(self.members, modules[0], device)
        self.stack = lift(modules, device)
        self.rule = rule_of(spec, self.stack)

    def progress(self) -> Progress:
        return start(self.stack, self.members)

    def by(self, make: Any) -> Runner:
        return make(self.stack, self.objective, self.rule)

    def epoch(self, runner: Runner, progress: Progress, epoch: int) -> tuple[Tensor, Tensor]:
        """An epoch as the loop takes it: losses ``[S, K]``, norms ``[S, K, L]``."""
        running = [self.members[position] for position in progress.active]
        rows = torch.from_numpy(epoch_rows(running, epoch, STEPS, BATCH)).to(self.stack.params.device)
        own = {name: number[progress.active] for name, number in self.numbers.items()}
        tables, _ = epoch_tables(running, self.rule, self.stack.places, own, epoch, STEPS, self.stack.params)
        calls = [slice(begin, begin + runner.at_once(BATCH)) for begin in range(0, STEPS, runner.at_once(BATCH))]
        taken = [runner.steps(progress.state, rows[these], tables.part(these)) for these in calls]
        losses, norms = zip(*taken, strict=True)
        return torch.cat(losses), torch.cat(norms)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update that reads a step's numbers in Python would be recorded with those of one step."""
    monkeypatch.setattr(rules, "numbers_at_hand", lambda _: False)


@pytest.fixture
def case(rng: Rng) -> Case:
    return Case(rng)


def eager(stack: Stack, objective: Objective, rule: Rule) -> Runner:
    return replace(stepping(by_autograd)(stack, objective, rule), at_once=lambda _: AT_ONCE)


def same(state: State, other: State) -> bool:
    pairs = [(state.params, other.params), *((state.moments[key], own) for key, own in other.moments.items())]
    pairs += [(state.buffers[key], own) for key, own in other.buffers.items()]
    return all(torch.equal(one, two) for one, two in pairs)


def test_replayed_steps_are_eager_steps_bit_for_bit(case: Case) -> None:
    tape = Tape()
    runner, plain = case.by(on_tape(tape).runner), case.by(eager)
    ours, theirs = case.progress(), case.progress()
    for epoch in range(EPOCHS):
        case.numbers["label_smoothing"] = torch.rand(len(case.members), dtype=torch.float64)
        for one, two in zip(case.epoch(runner, ours, epoch), case.epoch(plain, theirs, epoch), strict=True):
            assert torch.equal(one, two)
        assert same(ours.state, theirs.state)
    assert (tape.warm_ups, tape.records) == (1, 2), "a call to get warm, and a recording for each length of a call"
    assert tape.replays == 2 * EPOCHS - 1


def test_what_a_call_gave_stays_as_it_is_when_others_of_its_length_follow(case: Case) -> None:
    runner, plain = (replace(case.by(make), at_once=lambda _: STEPS // 4) for make in (on_tape(Tape()).runner, eager))
    ours, theirs = case.progress(), case.progress()
    for epoch in range(2):
        for one, two in zip(case.epoch(runner, ours, epoch), case.epoch(plain, theirs, epoch), strict=True):
            assert torch.equal(one, two)


def test_a_packed_stack_is_recorded_anew_and_what_was_recorded_before_is_released(case: Case) -> None:
    tape = Tape()
    runner, plain = case.by(on_tape(tape).runner), case.by(eager)
    ours, theirs = case.progress(), case.progress()
    for epoch in range(EPOCHS):
        if epoch == 2:
            ours.retire({1: "stopped early"}, epoch)
            theirs.retire({1: "stopped early"}, epoch)
        case.epoch(runner, ours, epoch)
        case.epoch(plain, theirs, epoch)
        assert same(ours.state, theirs.state)
        assert tape.held == [1, 2, 1, 2][epoch]
    assert (tape.warm_ups, tape.records) == (2, 4)


def test_another_state_of_the_same_shape_is_not_taken_for_the_one_recorded(case: Case) -> None:
    tape = Tape()
    runner, plain = case.by(on_tape(tape).runner), case.by(eager)
    first, second, theirs = case.progress(), case.progress(), case.progress()
    for epoch in range(2):
        case.epoch(runner, first, epoch)
    ended = State(first.state.params.clone(), dict(first.state.buffers), dict(first.state.moments))
    for epoch in range(2):
        case.epoch(runner, second, epoch)
        case.epoch(plain, theirs, epoch)
    assert same(second.state, theirs.state)
    assert torch.equal(first.state.params, ended.params)
    assert tape.held == 2


def test_nothing_is_recorded_before_a_few_steps_were_taken(case: Case) -> None:
    tape = Tape()
    runner, progress = case.by(on_tape(tape).runner), case.progress()
    one = replace(runner, at_once=lambda _: 1)
    case.epoch(one, progress, 0)
    assert (tape.warm_ups, tape.records, tape.replays) == (3, 1, STEPS - 3)


def waiting(stack: Stack, objective: Objective, rule: Rule) -> Runner:
    """Steps that look at a value."""
    own = stepping(by_autograd)(stack, objective, rule)

    def steps(state: State, rows: Tensor, tables: Any) -> tuple[Tensor, Tensor]:
        losses, norms = own.steps(state, rows, tables)
        assert losses.sum().item() > 0
        return losses, norms

    return replace(own, steps=steps)


def test_what_cannot_be_recorded_is_trained_eagerly_and_a_warning_says_why(case: Case) -> None:
    runner, plain = replaying(case.by(waiting), Tape()), case.by(eager)
    ours, theirs = case.progress(), case.progress()
    with pytest.warns(
        RuntimeWarning, match=r"not as a CUDA graph, which could not be recorded: operation not permitted"
    ):
        case.epoch(runner, ours, 0)
    case.epoch(plain, theirs, 0)
    assert same(ours.state, theirs.state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        case.epoch(runner, ours, 1)
    case.epoch(plain, theirs, 1)
    assert same(ours.state, theirs.state)


def objective_on(device: str) -> Objective:
    data = Resident((torch.zeros(40, FEATURES, device=device),), torch.zeros(40, dtype=torch.int64, device=device))
    return Objective("cross_entropy", LOSSES["cross_entropy"], data)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU")
def test_without_a_gpu_it_is_refused() -> None:
    with pytest.raises(
        SpecError, match=r"executor=cudagraph needs a GPU .*, however: torch sees none\. Take executor=auto\."
    ):
        pick("cudagraph", net(), objective_on("cpu"))


def test_where_there_is_a_gpu_the_networks_must_be_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SpecError, match="however: the networks are on device=cpu"):
        pick("cudagraph", net(), objective_on("cpu"))


def test_members_that_train_alone_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXECUTORS, "cudagraph", on_tape(Tape()))
    with pytest.raises(SpecError, match="however: its networks train one after another"):
        pick("cudagraph", net(), objective_on("cpu"), mapped=False)


def test_off_the_cpu_auto_records_runs_that_are_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = objective_on("meta")
    monkeypatch.setitem(EXECUTORS, "cudagraph", on_tape(Tape()))
    assert pick("auto", net(), elsewhere)[0] == pick("auto", net(), elsewhere, steps=WORTH_IT)[0] == "cudagraph"
    assert pick("auto", net(), elsewhere, steps=WORTH_IT - 1) == (
        "eager", f"autograd; {WORTH_IT - 1} steps are too few for recording them as a CUDA graph to pay",
    )  # fmt: skip
    assert pick("auto", net(), elsewhere, mapped=False)[0] == "eager"
    monkeypatch.setitem(EXECUTORS, "cudagraph", replace(EXECUTORS["cudagraph"], refusal=lambda *_: "it waits"))
    name, reason = pick("auto", net(), elsewhere)
    assert (name, reason.endswith("as it waits")) == ("eager", True)


class Waits(nn.Linear):
    """Stands for a forward that copies from the host."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.cuda.get_sync_debug_mode() == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        return super().forward(x)


def test_a_forward_that_waits_for_the_gpu_is_found_and_its_line_named(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = ["default"]
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    own = objective_on("cpu")
    gradients = partial(by_autograd, objective=own)
    reason = waits(gradients, Waits(FEATURES, 3), own.data)
    assert reason is not None
    assert "test_cudagraph.py, line" in reason
    assert modes == ["default", "error", "default"]
    assert waits(gradients, net().float(), own.data) is None
    assert waits(gradients, nn.Linear(FEATURES + 1, 3), own.data) is None, "what is wrong otherwise shows in training"


class Stream:
    """torch's streams and graphs, saying what is asked of them."""

    said: list[str]

    def __init__(self, name: str = "ours") -> None:
        self.name = name

    def wait_stream(self, other: "Stream") -> None:
        self.said.append(f"{self.name} waits for {other.name}")


def test_recording_is_torchs_order_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Stream, "said", said, raising=False)

    @contextmanager
    def inside(what: str) -> Any:
        said.append(f"into {what}")
        try:
            yield
        finally:
            said.append(f"out of {what}")

    class Graph:
        def replay(self) -> None:
            said.append("replay")

        def reset(self) -> None:
            said.append("reset")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())  # noqa: ARG005
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "device", lambda device: inside(f"device {device}"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("the caller's"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: inside(f"stream {stream.name}"))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: inside(f"{type(graph).__name__} on {stream.name}"))
    results = torch.zeros(1), torch.zeros(1)
    capture = CudaGraphs(torch.device("cuda", 1))
    assert capture.warm_up(lambda: (said.append("work"), results)[1]) is results
    around = [
        "into device cuda:1", "ours waits for the caller's", "into stream ours",
        "out of stream ours", "the caller's waits for ours", "out of device cuda:1",
    ]  # fmt: skip
    assert said == [*around[:3], "work", *around[3:]]
    said.clear()
    recording = capture.record(lambda: (said.append("work"), results)[1])
    assert said == [*around[:3], "into Graph on ours", "work", "out of Graph on ours", *around[3:]]
    assert recording.results is results
    recording.replay()
    recording.release()
    assert said[-2:] == ["replay", "reset"]
    said.clear()
    with pytest.raises(RuntimeError, match="no"):
        capture.record(failing)
    assert said[-2:] == ["out of stream ours", "out of device cuda:1"]


def failing() -> Any:
    raise RuntimeError("no")


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def train_on_gpu(executor: str, data: Any, valid: Any) -> lockstep.Result:
    return lockstep.train(
        net, data, valid, optimizer=AdamW(lr=[1e-3, 1e-2, 1e-1]), epochs=30, patience=4,
        batch_size=BATCH, clip_norm=1.0, seeds=3, executor=executor, device="cuda", quiet=True,
    )  # fmt: skip


@GPU
def test_on_a_gpu_members_end_where_they_end_eagerly(rng: Rng) -> None:
    x = rng.normal(size=(ROWS + 100, FEATURES))
    y = (x[:, 0] + 0.5 * rng.normal(size=len(x)) > 0).astype(np.int64)
    data, valid = (x[:ROWS], y[:ROWS]), (x[ROWS:], y[ROWS:])
    eagerly, replayed = (train_on_gpu(executor, data, valid) for executor in ("eager", "cudagraph"))
    ends = [
        [(done.epochs, done.best_epoch, done.ended) for done in one.trained.finished] for one in (eagerly, replayed)
    ]
    assert ends[0] == ends[1]
    assert len({epochs for epochs, *_ in ends[0]}) > 1, "members must stop at different times"
    np.testing.assert_allclose(replayed.predict(x), eagerly.predict(x), rtol=1e-9, atol=1e-9)


@GPU
def test_on_a_gpu_auto_takes_it_for_a_long_run_and_refuses_a_forward_that_waits() -> None:
    assert pick("auto", net(), objective_on("cuda"), steps=WORTH_IT)[0] == "cudagraph"

    class FromTheHost(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.tensor([1.0, 2.0, 3.0], device=x.device)

    with pytest.raises(SpecError, match=r"a step waits for it \(test_cudagraph.py, line \d+: return super"):
        pick("cudagraph", FromTheHost(FEATURES, 3), objective_on("cuda"))


@GPU
def test_on_a_gpu_replayed_steps_are_eager_steps(rng: Rng) -> None:
    case = Case(rng, torch.device("cuda", torch.cuda.current_device()))
    runner, plain = case.by(EXECUTORS["cudagraph"].runner), case.by(eager)
    ours, theirs = case.progress(), case.progress()
    for epoch in range(EPOCHS):
        if epoch == 2:
            ours.retire({1: "stopped early"}, epoch)
            theirs.retire({1: "stopped early"}, epoch)
        for one, two in zip(case.epoch(runner, ours, epoch), case.epoch(plain, theirs, epoch), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(vars(ours.state), vars(theirs.state), rtol=1e-9, atol=1e-9)
