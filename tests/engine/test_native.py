"""The kernels: what they need of a machine, and that trainings by them are those of the eager executor."""

import ctypes
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lockstep.engine.backprop.dropout import Dropout
from lockstep.engine.executors import EXECUTORS, Objective, pick
from lockstep.engine.native import NoLibrary, library, native_runner
from lockstep.engine.native.toolchain import recipe
from lockstep.engine.population import Member, make_population
from lockstep.engine.stack import Stack, lift
from lockstep.engine.state import State, fresh_state, rule_of
from lockstep.engine.step import Resident
from lockstep.engine.streams import epoch_rows
from lockstep.engine.tables import epoch_tables
from lockstep.errors import SpecError, TrainingError
from lockstep.network.losses import LOSSES
from lockstep.optim import rule_for
from lockstep.spec import SGD, Adam, AdamW, OneCycleLR, Optimizer, Population, RMSprop, Training, TrainSpec

Rng = np.random.Generator
CPU = torch.device("cpu")
ROWS, BATCH, EPOCHS = 200, 20, 5

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(lr=[1e-2, 3e-2], momentum=0.9, weight_decay=1e-2),
    "plain sgd": SGD(lr=[1e-2, 3e-2]),
    "nesterov": SGD(lr=[1e-2, 3e-2], momentum=0.9, nesterov=True, weight_decay=1e-2),
    "rmsprop": RMSprop(lr=[1e-3, 3e-3], momentum=0.5, weight_decay=1e-2),
    "centred rmsprop": RMSprop(lr=[1e-3, 3e-3], centered=True),
    "adam": Adam(lr=[1e-3, 3e-3], weight_decay=1e-2),
    "adamw": AdamW(lr=[1e-3, 3e-3], weight_decay=0.1),
    "adamw that spares vectors": AdamW(lr=[1e-3, 3e-3], weight_decay=0.1, decay_vectors=False),
}


def net() -> nn.Module:
    """Without the bias whose gradient batch norm makes zero: some rules divide by its round-off."""
    return nn.Sequential(
        nn.Linear(7, 19, bias=False), nn.BatchNorm1d(19), nn.GELU(), nn.Dropout(0.2),
        nn.Linear(19, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3),
    ).double()  # fmt: skip


def problem(rng: Rng, spec: TrainSpec) -> tuple[tuple[Member, ...], Stack, Objective]:
    rows = rng.permutation(ROWS)
    members = make_population(
        spec, [(np.sort(rows[40:]), np.sort(rows[:40])), (np.sort(rows[:160]), rows[160:])]
    ).training
    data = Resident((torch.from_numpy(rng.normal(size=(ROWS, 7))),), torch.from_numpy(rng.integers(3, size=ROWS)))
    return members, lift([net() for _ in members], CPU), Objective("cross_entropy", LOSSES["cross_entropy"], data)


def trained(
    executor: str, members: tuple[Member, ...], stack: Stack, objective: Objective
) -> tuple[State, list[Tensor], list[Tensor]]:
    """State, losses and validation outputs after ``EPOCHS`` epochs."""
    rule = rule_of(members[0].spec, stack)
    runner, state, losses = EXECUTORS[executor].runner(stack, objective, rule), fresh_state(stack, rule), []
    for epoch in range(EPOCHS):
        rows = torch.from_numpy(epoch_rows(members, epoch, members[0].steps, BATCH))
        tables, _ = epoch_tables(members, rule, stack.places, {}, epoch, members[0].steps, stack.params)
        own, _ = runner.steps(state, rows, tables)
        losses += own
    return state, losses, runner.outputs(state.weights, state.buffers, [member.valid_rows for member in members])


def in_threads(count: int, *problem: Any) -> tuple[State, list[Tensor], list[Tensor]]:
    torch.set_num_threads(count)
    try:
        return trained("compiled", *problem)
    finally:
        torch.set_num_threads(1)


def spec_of(optimizer: Optimizer, **training: Any) -> TrainSpec:
    return TrainSpec(
        optimizer=optimizer, training=Training(epochs=EPOCHS, batch_size=BATCH, **training),
        population=Population(folds=2, seeds=2),
    )  # fmt: skip


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_forty_steps_by_the_kernels_are_forty_eager_steps_for_every_optimiser(
    rng: Rng, name: str, ema: float | None
) -> None:
    members, stack, objective = problem(rng, spec_of(OPTIMIZERS[name], ema=ema))
    assert len(members) == 8
    assert members[0].steps * EPOCHS == 40
    (found, losses, outputs), (expected, eager_losses, eager_outputs) = (
        trained(executor, members, stack, objective) for executor in ("compiled", "eager")
    )
    for one, other in [
        (found.params, expected.params), (torch.stack(losses), torch.stack(eager_losses)),
        *((found.moments[key], expected.moments[key]) for key in expected.moments),
        *((found.buffers[key], expected.buffers[key]) for key in expected.buffers),
        *zip(outputs, eager_outputs, strict=True),
    ]:  # fmt: skip
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_schedule_that_moves_rate_and_momentum_within_an_epoch_is_followed(rng: Rng) -> None:
    case = problem(rng, spec_of(AdamW(lr=[1e-3, 1e-2])).replace("schedule", OneCycleLR()))
    found, expected = (trained(executor, *case)[0] for executor in ("compiled", "eager"))
    torch.testing.assert_close(found.params, expected.params, rtol=1e-9, atol=1e-9)


def test_neither_the_number_of_threads_nor_who_trains_beside_it_changes_a_member(rng: Rng) -> None:
    members, stack, objective = problem(rng, spec_of(AdamW(lr=[1e-3, 3e-3])))
    alone, *_ = trained("compiled", members[3:4], stack.part([3], mapped=True), objective)
    together, *_ = trained("compiled", members, stack, objective)
    assert torch.equal(alone.params[0], together.params[3])
    shared, *_ = in_threads(3, members, stack, objective)
    assert torch.equal(shared.params, together.params)


LARGE: dict[str, Callable[[], nn.Sequential]] = {
    "norms along columns and rows": lambda: nn.Sequential(
        nn.BatchNorm1d(7), nn.Linear(7, 301), nn.BatchNorm1d(301), nn.GELU(), nn.Dropout(0.2), nn.Linear(301, 999),
        nn.LayerNorm(999), nn.Tanh(), nn.Linear(999, 3),
    ),
    "columns throughout": lambda: nn.Sequential(
        nn.Linear(7, 301), nn.BatchNorm1d(301), nn.ReLU(), nn.Dropout(0.2), nn.Linear(301, 777), nn.SiLU(),
        nn.Linear(777, 130, bias=False), nn.BatchNorm1d(130, affine=False), nn.Tanh(), nn.Dropout(0.1),
        nn.Linear(130, 3),
    ),
    "products alone, one of few columns": lambda: nn.Sequential(
        nn.Linear(7, 601), nn.Linear(601, 6), nn.ReLU(), nn.Linear(6, 900), nn.ReLU(), nn.Linear(900, 333),
        nn.Linear(333, 3),
    ),
    "one and two columns": lambda: nn.Sequential(
        nn.Linear(7, 613), nn.ReLU(), nn.Linear(613, 2), nn.Tanh(), nn.Linear(2, 900), nn.SiLU(), nn.Linear(900, 700),
        nn.Linear(700, 1, bias=False), nn.Tanh(), nn.Linear(1, 3),
    ),
    "two columns of the inputs": lambda: nn.Sequential(nn.Linear(7, 2), nn.Linear(2, 1200), nn.Linear(1200, 600)),
    "many outputs": lambda: nn.Sequential(nn.Linear(7, 613), nn.ELU(), nn.Linear(613, 611)),
}  # fmt: skip


def test_a_dropout_that_drops_nothing_is_left_out_and_one_that_drops_for_some_is_not(rng: Rng) -> None:
    def dropouts(*rates: float) -> int:
        stack = lift([nn.Sequential(nn.Linear(7, 3), nn.Dropout(rate)) for rate in rates], CPU)
        kernels = native_runner(stack, problem(rng, spec_of(SGD()))[2].data, "cross_entropy", rule_for(SGD())).steps
        return sum(isinstance(layer, Dropout) for layer, _ in kernels.__self__.chain.layers)  # type: ignore[attr-defined]

    assert dropouts(0.0, 0.0) == 0
    assert dropouts(0.0, 0.5) == 1


@pytest.mark.parametrize("name", LARGE)
def test_a_team_of_threads_makes_of_a_large_member_what_one_does(rng: Rng, name: str) -> None:
    members, _, objective = problem(rng, spec_of(AdamW()))
    stack = lift([LARGE[name]().double()], CPU)
    assert 6 * stack.layout.total * BATCH > 3 * 10_000_000  # operations that are worth a thread
    (alone, losses, _), (by_a_team, same, _) = (in_threads(count, members[:1], stack, objective) for count in (1, 4))
    assert torch.equal(torch.stack(losses), torch.stack(same))
    assert torch.equal(by_a_team.params, alone.params)
    for buffer, value in alone.buffers.items():
        assert torch.equal(by_a_team.buffers[buffer], value)
    expected, eager, _ = trained("eager", members[:1], stack, objective)
    torch.testing.assert_close(torch.stack(losses), torch.stack(eager), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alone.params, expected.params, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", [
    nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Sigmoid(),
    nn.Tanh(),
], ids=repr)  # fmt: skip
def test_what_is_no_number_is_none_after_any_activation_so_that_divergence_is_seen(
    activation: nn.Module, dtype: torch.dtype
) -> None:
    stack = lift([nn.Sequential(nn.Linear(1, 1), activation).to(dtype)], CPU)
    inputs = torch.tensor([[1.0], [torch.nan], [-1.0]], dtype=dtype)
    objective = Objective("mse", LOSSES["mse"], Resident((inputs,), torch.zeros(3, 1, dtype=dtype)))
    runner = EXECUTORS["compiled"].runner(stack, objective, rule_for(SGD()))
    (output,) = runner.outputs(stack.params, stack.buffers, [np.arange(3)])
    assert output.isnan().flatten().tolist() == [False, True, False]


def test_a_network_may_have_thousands_of_parameters_each_with_its_norm(rng: Rng) -> None:
    members, _, objective = problem(rng, spec_of(SGD()))
    deep = nn.Sequential(nn.Linear(7, 1), *(nn.Linear(1, 1) for _ in range(2100)), nn.Linear(1, 3)).double()
    for name, p in deep.named_parameters():
        p.data.fill_(1.0 if "weight" in name else 0.0)
    stack = lift([deep], CPU)
    rule = rule_for(SGD())
    tables, _ = epoch_tables(members[:1], rule, 0, {}, 0, 1, stack.params)
    runner = EXECUTORS["compiled"].runner(stack, objective, rule)
    _, norms = runner.steps(fresh_state(stack, rule), torch.arange(20)[None, None], tables)
    biases = norms[0, 0, 1:-2:2]
    assert len(biases) == 2101
    torch.testing.assert_close(biases, biases[:1].expand_as(biases))  # what comes down is the same all the way


@pytest.fixture
def no_threads() -> Iterator[None]:
    """A process that can start no thread: each would take more memory than there are addresses."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "pthread_setattr_default_np"):
        pytest.skip("this C library has no default for the size of threads")
    before, huge = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    libc.pthread_getattr_default_np(before)
    libc.pthread_attr_init(huge)
    libc.pthread_attr_setstacksize(huge, ctypes.c_size_t(1 << 50))
    assert libc.pthread_setattr_default_np(huge) == 0
    yield
    libc.pthread_setattr_default_np(before)


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("count", [2, 8])
def test_without_threads_it_is_an_error_and_no_end_of_the_process(rng: Rng, count: int) -> None:
    members, stack, objective = problem(rng, spec_of(AdamW(lr=[1e-3, 3e-3])))
    part = stack.part(range(count), mapped=True)
    with pytest.raises(MemoryError, match="or for 3 threads"):
        in_threads(3, members[:count], part, objective)


def test_a_batch_of_one_row_has_no_variance_as_in_torch(rng: Rng) -> None:
    members, stack, objective = problem(rng, spec_of(AdamW()))
    rule = rule_of(members[0].spec, stack)
    tables, _ = epoch_tables(members, rule, stack.places, {}, 0, 1, stack.params)
    rows = torch.zeros(1, len(members), 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        EXECUTORS["compiled"].runner(stack, objective, rule).steps(fresh_state(stack, rule), rows, tables)


def test_a_call_takes_as_many_steps_as_leave_an_interruption_heard(rng: Rng) -> None:
    members, stack, objective = problem(rng, spec_of(AdamW()))
    runner = EXECUTORS["compiled"].runner(stack, objective, rule_of(members[0].spec, stack))
    assert runner.at_once(20) > runner.at_once(2000) > 1
    assert runner.at_once(10**12) == 1


class Scaled(nn.Module):
    def __init__(self, by: Tensor) -> None:
        super().__init__()
        self.last = nn.Linear(7, 3)
        self.register_buffer("by", by)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x * self.by)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("module", "reason"), [
    # whose outputs in eval mode are those of a batch
    (nn.Sequential(nn.Linear(7, 3), nn.BatchNorm1d(3, track_running_stats=False)), "without running statistics"),
    (nn.Sequential(nn.Linear(7, 3), nn.LayerNorm(5)), "1.weight has 5 numbers, and 3 columns come to it"),
    (nn.Sequential(nn.Linear(7, 3), nn.BatchNorm1d(2)), "1.running_mean has 2 numbers, and 3 columns"),
    (Scaled(torch.ones(2, 7)), "by has 14 numbers"),
    (Scaled(torch.tensor(2)), "by is int64, and its weights float32"),
    (Scaled(torch.ones(7, dtype=torch.float64)), "by is float64, and its weights float32"),
])  # fmt: skip
def test_what_the_kernels_would_read_wrongly_takes_backprop_and_the_plan_says_why(
    module: nn.Module, reason: str
) -> None:
    objective = Objective("mse", LOSSES["mse"], Resident((torch.randn(20, 7),), torch.randn(20, 3)))
    name, why = pick("auto", module, objective)
    assert name == "backprop"
    assert reason in why


def test_class_weights_of_another_number_than_the_classes_are_refused_as_by_the_loss_itself(rng: Rng) -> None:
    members, stack, objective = problem(rng, spec_of(AdamW()))
    rule = rule_of(members[0].spec, stack)
    weights = {"class_weights": torch.ones(len(members), 2, dtype=torch.float64)}
    tables, _ = epoch_tables(members, rule, stack.places, weights, 0, 1, stack.params)
    rows = torch.zeros(1, len(members), BATCH, dtype=torch.int64)
    with pytest.raises(TrainingError, match="one weight per class, however: 2 weights for 3 classes"):
        EXECUTORS["compiled"].runner(stack, objective, rule).steps(fresh_state(stack, rule), rows, tables)


# ------------------------------------------------------------------------------------------------------ of the machine


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A machine that has compiled nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    yield monkeypatch
    library.cache_clear()


def compiler_that(tmp_path: Path, script: str) -> str:
    path = tmp_path / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.usefixtures("fresh")
def test_kernels_are_compiled_once_and_found_again(tmp_path: Path) -> None:
    library(torch.float32)
    (made,) = (tmp_path / "lockstep").iterdir()
    when = made.stat().st_mtime_ns
    library.cache_clear()
    library(torch.float32)
    assert [path.stat().st_mtime_ns for path in (tmp_path / "lockstep").iterdir()] == [when]


@pytest.mark.usefixtures("fresh")
def test_a_damaged_library_is_a_reason_that_names_it_and_without_it_all_is_well() -> None:
    path = recipe(torch.float32, "train")[1]
    path.write_bytes(b"half a library")
    with pytest.raises(NoLibrary, match=f"cannot be loaded .*without {path.name} they are made anew"):
        library(torch.float32)
    path.unlink()
    library(torch.float32)


def test_without_a_compiler_a_chain_takes_backprop_and_the_plan_says_why(fresh: pytest.MonkeyPatch, rng: Rng) -> None:
    fresh.setenv("PATH", "")
    fresh.delenv("CXX", raising=False)
    _, _, objective = problem(rng, spec_of(AdamW()))
    name, reason = pick("auto", net(), objective)
    assert name == "backprop"
    assert "no C++ compiler" in reason
    with pytest.raises(
        SpecError, match=r"executor=compiled needs .* however: no C\+\+ compiler .* Take executor=auto\."
    ):
        pick("compiled", net(), objective)


@pytest.mark.parametrize(("script", "reason"), [
    ("echo no licence >&2; exit 1", "does not work .no licence."),
    ('case "$*" in *-dM*) exit 0;; *) echo too old >&2; exit 1;; esac', "cannot make them .too old."),
    ('case "$*" in *-dM*) exit 0;; *) exit 0;; esac', "cannot be loaded"),
])  # fmt: skip
def test_a_compiler_that_fails_is_a_reason_and_leaves_nothing_behind(
    fresh: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str
) -> None:
    fresh.setenv("CXX", compiler_that(tmp_path, script))
    with pytest.raises(NoLibrary, match=reason):
        library(torch.float32)
    left = list((tmp_path / "lockstep").glob("*"))
    assert left == [] or reason == "cannot be loaded"


def test_a_compiler_that_is_no_program_is_a_reason(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = Path(compiler_that(tmp_path, ""))
    path.write_bytes(b"\x7fELF of another machine")
    fresh.setenv("CXX", str(path))
    with pytest.raises(NoLibrary, match="cannot be run"):
        library(torch.float32)


@pytest.mark.skipif(os.name != "posix", reason="folders have other rights there")
@pytest.mark.usefixtures("fresh")
def test_a_cache_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "lockstep").write_text("a file in the way")
    with pytest.raises(NoLibrary, match=r"compiled kernels cannot be kept .*lockstep"):
        library(torch.float32)


def test_other_precisions_than_those_of_the_kernels_are_a_reason() -> None:
    with pytest.raises(NoLibrary, match="for float32 and float64, and its weights are bfloat16"):
        library(torch.bfloat16)
