"""What the kernels make of rows: bit for bit the features that the preprocessing itself gives, from rows kept once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.engine.executors import EXECUTORS, Objective, pick
from lockstep.engine.native.program import chain_of, one_hots
from lockstep.engine.native.runner import Kernels
from lockstep.engine.population import make_population
from lockstep.engine.stack import Stack, lift
from lockstep.engine.state import fresh_state
from lockstep.engine.step import Resident, Runner, Tables
from lockstep.engine.streams import epoch_rows
from lockstep.engine.tables import epoch_tables
from lockstep.network.build import Network
from lockstep.network.losses import LOSSES
from lockstep.network.preprocess.images import ImageShape, fit_pixels
from lockstep.network.preprocess.table import TableShape, fit_table
from lockstep.optim import Rule, rule_for
from lockstep.spec import SGD, AdamW, Optimizer, Population, Preprocess, Training, TrainSpec

Rng = np.random.Generator
CPU = torch.device("cpu")
ROWS = 120


def as_they_are(front: nn.Module, dtype: torch.dtype) -> Network:
    """A network whose outputs are its features."""
    width = front.shape.width  # type: ignore[union-attr]
    head = nn.Linear(width, width, bias=False)  # type: ignore[arg-type]
    head.weight.data = torch.eye(width)  # type: ignore[arg-type]
    return Network(front, nn.Identity(), head).to(dtype)


def runner_of(
    modules: Sequence[nn.Module], inputs: Sequence[Tensor], optimizer: Optimizer
) -> tuple[Runner, Stack, Rule]:
    objective = Objective("mse", LOSSES["mse"], Resident(tuple(inputs), torch.zeros_like(modules[0](*inputs))))
    assert EXECUTORS["compiled"].refusal(modules[0], objective) is None
    stack, rule = lift(modules, CPU), rule_for(optimizer)
    return EXECUTORS["compiled"].runner(stack, objective, rule), stack, rule


def kernels_of(modules: Sequence[nn.Module], inputs: Sequence[Tensor]) -> tuple[Kernels, Stack]:
    runner, stack, _ = runner_of(modules, inputs, SGD())
    return runner.steps.__self__, stack  # type: ignore[attr-defined]


def check(rng: Rng, fronts: Sequence[nn.Module], inputs: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> None:
    """Each member has its own rows, and its own preprocessing."""
    modules = [as_they_are(front, dtype) for front in fronts]
    kernels, stack = kernels_of(modules, inputs)
    rows = [rng.integers(ROWS, size=int(rng.integers(1, 300))) for _ in modules]
    for module, own, found in zip(modules, rows, kernels.outputs(stack.params, stack.buffers, rows), strict=True):
        assert torch.equal(found, module.preprocess(*inputs)[torch.from_numpy(own)])
    assert kernels.inputs.rows.data_ptr() == inputs[0].data_ptr() or inputs[0].dtype not in (dtype, torch.uint8)


def images(rng: Rng, *size: int) -> NDArray[np.uint8]:
    return rng.integers(256, size=(ROWS, *size), dtype=np.uint8)


@pytest.mark.parametrize("size", [(5, 7), (3, 4, 3), (3, 6, 5), (28, 28), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_pixels_are_standardised_from_bytes_as_from_numbers(
    rng: Rng, size: tuple[int, ...], dtype: torch.dtype, kind: type[np.generic]
) -> None:
    pixels, shape = images(rng, *size), ImageShape(size)
    fronts = [fit_pixels(shape, shape.flat, pixels[rng.choice(ROWS, 50)]) for _ in range(3)]
    check(rng, fronts, [torch.from_numpy(pixels.astype(kind))], dtype)


def test_a_training_on_bytes_is_bit_for_bit_that_on_the_same_pixels_in_float32(rng: Rng) -> None:
    pixels, shape = images(rng, 6, 6), ImageShape((6, 6))
    spec = TrainSpec(optimizer=AdamW(), training=Training(epochs=1, batch_size=10), population=Population(folds=2))
    members = make_population(
        spec, [(np.arange(60), np.arange(60, ROWS)), (np.arange(60, ROWS), np.arange(60))]
    ).training
    modules = [as_they_are(fit_pixels(shape, shape.flat, pixels[m.train_rows]), torch.float32) for m in members]
    rows = torch.from_numpy(epoch_rows(members, 0, 6, 10))
    found = []
    for inputs in (torch.from_numpy(pixels), torch.from_numpy(pixels).float()):
        runner, stack, rule = runner_of(modules, [inputs], AdamW())
        tables, _ = epoch_tables(members, rule, 0, {}, 0, 6, stack.params)
        state = fresh_state(stack, rule)
        losses, _ = runner.steps(state, rows, tables)
        found.append(
            [state.params, losses, *runner.outputs(state.params, state.buffers, [m.valid_rows for m in members])]
        )
    for from_bytes, from_numbers in zip(*found, strict=True):
        assert torch.equal(from_bytes, from_numbers)
    assert not torch.equal(found[0][0], stack.params)


def table(rng: Rng, cardinalities: tuple[int, ...], columns: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """With gaps in every second column, and values so large that bins and spreads overflow."""
    numbers = rng.normal(size=(ROWS, columns)) * 10.0 ** rng.integers(-3, 4, size=columns)
    numbers[:, ::2][rng.random(numbers[:, ::2].shape) < 0.2] = np.nan
    codes = (
        np.stack([rng.integers(n, size=ROWS) for n in cardinalities], axis=1) if cardinalities else np.zeros((ROWS, 0))
    )
    return numbers.astype(np.float32), codes.astype(np.int64)


@pytest.mark.parametrize("kind", ["standard", "robust", "quantile", "piecewise"])
@pytest.mark.parametrize(
    ("columns", "cardinalities"), [(5, (3, 30, 40, 2)), (4, ()), (0, (3, 9)), (1, (90,)), (23, (5,))]
)
def test_a_table_has_the_features_that_its_preprocessing_gives(
    rng: Rng, kind: Any, columns: int, cardinalities: tuple[int, ...]
) -> None:
    numbers, codes = table(rng, cardinalities, columns)
    distinct = tuple(len(np.unique(column[~np.isnan(column)])) for column in numbers.T)
    shape = TableShape(cardinalities, distinct, np.flatnonzero(np.isnan(numbers).any(0)))
    spec = Preprocess(numbers=kind, bins=6, onehot_max=20, embedding_size=3)
    folds = [rng.choice(ROWS, size=40, replace=False) for _ in range(3)]  # codes that some folds never see
    check(
        rng, [fit_table(spec, shape, numbers[own], codes[own]) for own in folds],
        [torch.from_numpy(numbers), torch.from_numpy(codes)],
    )  # fmt: skip


@pytest.mark.parametrize("hidden", [9, 40, 1500])  # one vector of columns, some, and work for a team of threads
@pytest.mark.parametrize("cardinalities", [(9, 8), (9, 30, 8, 40), (19,)])  # of up to 20 values: a one-hot
@pytest.mark.parametrize("columns", [0, 3])
def test_weights_of_one_hots_are_added_where_autograd_multiplies_by_ones_and_zeros(
    rng: Rng, hidden: int, cardinalities: tuple[int, ...], columns: int
) -> None:
    numbers, codes = table(rng, cardinalities, columns)
    shape = TableShape(cardinalities, (ROWS,) * columns, np.flatnonzero(np.isnan(numbers).any(0)))
    spec = Preprocess(numbers="standard", onehot_max=20, embedding_size=3)
    fronts = [fit_table(spec, shape, numbers[:60], codes[:60]), fit_table(spec, shape, numbers[60:], codes[60:])]
    modules = [
        Network(front, nn.Sequential(nn.Linear(front.shape.width, hidden), nn.Tanh()), nn.Linear(hidden, 2)).double()
        for front in fronts
    ]
    inputs = [torch.from_numpy(numbers).double(), torch.from_numpy(codes)]
    chain = chain_of(modules[0], inputs)
    assert one_hots(chain).count == sum(n <= 20 for n in cardinalities)
    rows = torch.from_numpy(rng.integers(ROWS, size=(4, 2, 40)))

    def trained(executor: str, which: slice, threads: int = 1) -> list[Tensor]:
        stack, rule = lift(modules[which], CPU), rule_for(SGD(momentum=0.9))
        objective = Objective("mse", LOSSES["mse"], Resident(tuple(inputs), torch.ones(ROWS, 2).double()))
        runner, state = EXECUTORS[executor].runner(stack, objective, rule), fresh_state(stack, rule)
        K = len(stack.params)
        numbers = {"momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0}
        each = {name: torch.full((K,), value, dtype=torch.float64) for name, value in numbers.items()}
        factors = rule.coefficients(each, torch.full((4, K), 0.1, dtype=torch.float64), 0)
        keys, clip = torch.zeros(4, K, 0, dtype=torch.int32), torch.ones(K).double()
        tables = Tables({}, keys, tuple(factors), torch.stack(list(factors.values()), dim=1), clip)
        torch.set_num_threads(threads)
        try:
            losses, norms = runner.steps(state, rows[:, which], tables)
        finally:
            torch.set_num_threads(1)
        outputs = runner.outputs(state.params, state.buffers, [np.arange(ROWS)] * K)
        return [state.params, losses.mT, norms.transpose(0, 1), torch.stack(outputs)]

    both = trained("compiled", slice(2))
    for found, expected in zip(both, trained("eager", slice(2)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for by_a_team, alone in zip(trained("compiled", slice(1), threads=3), both, strict=True):
        assert torch.equal(by_a_team, alone[:1])


def test_one_hots_of_few_values_are_multiplied_by(rng: Rng) -> None:
    numbers, codes = table(rng, (3, 4), 2)
    front = fit_table(Preprocess(numbers="standard"), TableShape((3, 4), (ROWS,) * 2, np.zeros(0, int)), numbers, codes)
    inputs = [torch.from_numpy(numbers), torch.from_numpy(codes)]
    assert one_hots(chain_of(as_they_are(front, torch.float32), inputs)).count == 0


def test_infinity_and_numbers_far_outside_are_features_as_torch_has_them(rng: Rng) -> None:
    numbers = rng.normal(size=(ROWS, 3)).astype(np.float32)
    spec, shape = Preprocess(numbers="piecewise", bins=4), TableShape((), (ROWS,) * 3, np.array([0, 2]))
    front = fit_table(spec, shape, numbers, np.zeros((ROWS, 0), np.int64))
    numbers[:5] = [[np.inf, -np.inf, 0], [1e38, -1e38, 1], [np.nan] * 3, [-0.0, 0.0, -1], [3e38, 3e38, 3e38]]
    check(rng, [front], [torch.from_numpy(numbers), torch.zeros(ROWS, 0, dtype=torch.int64)])


@pytest.mark.parametrize("rows", [
    torch.randn(ROWS, 3, 4), torch.randn(ROWS + 11).unfold(0, 12, 1), torch.randn(1, 12).expand(ROWS, 12),
    torch.randn(2 * ROWS, 20)[::2, 5:17], torch.randn(12, ROWS).T, torch.randn(ROWS, 4, 3).mT,
], ids=["as given", "windows", "one row for all", "some of a larger table", "columns first", "turned"])  # fmt: skip
def test_rows_of_a_network_of_ones_own_are_read_where_they_lie_if_their_numbers_lie_side_by_side(rows: Tensor) -> None:
    linear = nn.Linear(12, 12, bias=False)
    linear.weight.data = torch.eye(12)
    kernels, stack = kernels_of([nn.Sequential(nn.Flatten(), linear)], [rows])
    (found,) = kernels.outputs(stack.params, stack.buffers, [np.arange(ROWS)[::-1]])
    assert torch.equal(found, rows.flatten(1).flip(0))
    assert (kernels.inputs.rows.data_ptr() == rows.data_ptr()) == rows[0].is_contiguous()


def test_rows_that_would_have_to_be_copied_and_are_many_take_backprop(rng: Rng) -> None:  # noqa: ARG001
    many = torch.zeros(1).expand(200_000, 2_000)
    module = nn.Linear(2_000, 1)

    def by(rows: Tensor) -> tuple[str, str]:
        return pick("auto", module, Objective("mse", LOSSES["mse"], Resident((rows,), torch.zeros(len(rows), 1))))

    name, why = by(many)
    assert name == "backprop"
    assert "a copy of all 200,000 rows would take more than 1 GB" in why
    assert by(torch.zeros(1, 2_000).expand(200_000, 2_000))[0] == "compiled"  # as many, side by side


def test_what_no_formula_gives_is_worked_out_once_for_members_that_share_a_fold(rng: Rng) -> None:
    numbers, codes = table(rng, (), 4)
    shape = TableShape((), (ROWS,) * 4, np.array([0, 2]))
    folds = [
        fit_table(Preprocess(numbers="quantile"), shape, numbers[own], codes[own])
        for own in (slice(60), slice(60, 120))
    ]
    kernels, stack = kernels_of(
        [as_they_are(front, torch.float32) for front in folds * 3], [torch.from_numpy(numbers), torch.from_numpy(codes)]
    )
    for _ in range(2):
        kernels.outputs(stack.params, stack.buffers, [np.arange(9)] * 6)
    assert [tuple(made.shape) for made in kernels.inputs.made.values()] == [(ROWS, 4)] * 2
