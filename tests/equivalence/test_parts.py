"""Every activation, norm and loss in a stack is torch's own, and so is every network of perceptrons that they make."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from every import able, distance
from plain import train_plainly
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from lockstep.engine.loop import Problem
from lockstep.engine.population import make_population
from lockstep.engine.step import Resident
from lockstep.engine.tables import loss_numbers
from lockstep.engine.train import make_modules, train_population
from lockstep.network.build import build
from lockstep.network.layers.activations import ACTIVATIONS, activation
from lockstep.network.layers.norms import norm
from lockstep.network.losses import LOSSES
from lockstep.network.preprocess import TableShape
from lockstep.spec import AdamW, FitSpec, Loss, Mlp, Perceptron, Population, Preprocess, Training

Rng = np.random.Generator
Function = Callable[[Tensor], Tensor]
TORCHS: dict[str, Function] = {
    "relu": F.relu, "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "elu": F.elu, "selu": F.selu, "gelu": F.gelu,
    "silu": F.silu, "mish": F.mish, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "softmax": lambda x: F.softmax(x, dim=-1), "identity": lambda x: x,
}  # fmt: skip


def value_and_gradient(function: Function, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    out = function(x)
    return out.detach(), torch.autograd.grad((out * weights).sum(), x)[0]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_has_torchs_value_and_gradient_alone_and_in_a_stack(rng: Rng, name: str) -> None:
    x, weights = (torch.from_numpy(rng.normal(size=(3, 40, 6)) * 4) for _ in range(2))
    module = activation(name, slope=0.2)
    fused = value_and_gradient(vmap(module), x, weights)
    for k in range(3):
        value, gradient = value_and_gradient(TORCHS[name], x[k], weights[k])
        for own in (value_and_gradient(module, x[k], weights[k]), (fused[0][k], fused[1][k])):
            torch.testing.assert_close(own, (value, gradient), rtol=1e-12, atol=1e-14)


def test_leaky_relus_slope_is_torchs_unless_set() -> None:
    assert activation("leaky_relu")(torch.tensor(-1.0)) == F.leaky_relu(torch.tensor(-1.0))


NORMS: dict[tuple[str, int], Callable[[], nn.Module]] = {
    ("batch", 0): lambda: nn.BatchNorm1d(6), ("batch", 1): lambda: nn.BatchNorm1d(6),
    ("batch", 2): lambda: nn.BatchNorm2d(6), ("layer", 0): lambda: nn.LayerNorm(6),
    ("layer", 2): lambda: nn.GroupNorm(1, 6), ("group", 0): lambda: nn.GroupNorm(3, 6),
    ("group", 2): lambda: nn.GroupNorm(3, 6), ("rms", 0): lambda: nn.RMSNorm(6),
}  # fmt: skip


def gradients(module: nn.Module, out: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(out.square().sin().sum(), list(module.parameters())))


@pytest.mark.parametrize(("name", "axes"), NORMS)
@pytest.mark.parametrize("training", [True, False])
def test_a_norm_in_a_stack_is_torchs(rng: Rng, name: str, axes: int, training: bool) -> None:
    x = torch.from_numpy(rng.normal(size=(3, 8, 6, *(4, 5)[:axes])) * 3 + 1)
    theirs = [NORMS[name, axes]().double().train(training) for _ in range(3)]
    for one in theirs:
        for tensor in (*one.parameters(), *one.buffers()):
            if tensor.is_floating_point():
                tensor.data = torch.from_numpy(rng.uniform(0.5, 2, tensor.shape))
    ours = norm(name, 6, groups=3, axes=axes)
    assert ours is not None
    ours = ours.double().train(training)
    params, buffers = stack_module_state(theirs)

    def summed(params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Any]:
        buffers = {key: value.clone() for key, value in buffers.items()}
        out = functional_call(ours, (params, buffers), x)
        return out.square().sin().sum(), (out, buffers)

    sums, (outputs, after) = vmap(summed)(params, buffers, x)
    steps = dict(zip(params, torch.autograd.grad(sums.sum(), list(params.values())), strict=True))
    for k, one in enumerate(theirs):
        expected = one(x[k])
        torch.testing.assert_close(outputs[k], expected, rtol=1e-12, atol=1e-12)
        own = [steps[key][k] for key, _ in one.named_parameters()]
        torch.testing.assert_close(own, gradients(one, expected), rtol=1e-9, atol=1e-9)
        for key, buffer in one.named_buffers():
            torch.testing.assert_close(after[key][k], buffer, rtol=1e-12, atol=1e-12)


ROWS, FEATURES, CLASSES, EPOCHS = 60, 5, 3, 50
PLAIN: dict[str, Callable[[Tensor, Tensor, Loss], Tensor]] = {
    "cross_entropy": lambda z, y, own: F.cross_entropy(  # a validation loss is without smoothing
        z, y, label_smoothing=own.label_smoothing if torch.is_grad_enabled() else 0.0
    ),
    "binary_cross_entropy": lambda z, y, _: F.binary_cross_entropy_with_logits(z[:, 0], y.double()),
    "mse": lambda z, y, _: F.mse_loss(z[:, 0], y),
    "mae": lambda z, y, _: F.l1_loss(z[:, 0], y),
    "huber": lambda z, y, own: F.huber_loss(z[:, 0], y, delta=own.delta),
    "quantile": lambda z, y, own: (
        own.quantile * F.relu(y - z[:, 0]) + (1 - own.quantile) * F.relu(z[:, 0] - y)
    ).mean(),
}  # fmt: skip
# Two candidates each, which differ in a number of the loss or, where it has none, in their rate.
NETWORKS: dict[str, tuple[Perceptron | Mlp, Loss]] = {
    "softmax regression": (Perceptron(), Loss(name="cross_entropy", label_smoothing=[0.0, 0.2])),
    "logistic regression": (Perceptron(), Loss(name="binary_cross_entropy")),
    "linear regression": (Perceptron(), Loss(name="mse")),
    "the text's": (Mlp(hidden=(8, 6)), Loss(name="cross_entropy")),
    "an activation per layer": (
        Mlp(hidden=(8, 7, 6, 5), activation=["leaky_relu", "elu", "mish", "silu"], slope=0.3, norm="group", groups=1,
            init="auto"),
        # 0.3 is under, 15 about the size of residuals: where all are beyond both, gradients differ by a factor alone,
        # which AdamW takes out.
        Loss(name="huber", delta=[0.3, 15.0]),
    ),
    "saturating": (
        Mlp(hidden=(8, 6), activation=["sigmoid", "softmax"], norm="none", init="auto"),
        Loss(name="quantile", quantile=[0.2, 0.9]),
    ),
    "self-normalising": (
        Mlp(hidden=(8, 6), activation="selu", norm="none", init="auto", dropout=0.0), Loss(name="binary_cross_entropy")
    ),
    "residual": (Mlp(hidden=(8, 8), residual=True, dropout=0.2), Loss(name="mse")),
    "residual with projection": (
        Mlp(hidden=(8, 6), residual=True, norm="rms", activation="gelu", init="orthogonal"), Loss(name="mae")
    ),
}  # fmt: skip


def problem(case: str, rng: Rng) -> tuple[FitSpec, tuple[np.ndarray, np.ndarray], np.ndarray]:
    model, loss = NETWORKS[case]
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    score = x @ rng.normal(size=(FEATURES, CLASSES)) + rng.normal(size=(ROWS, CLASSES))
    if loss.name == "cross_entropy":
        y = score.argmax(1)
    else:
        y = (score[:, 0] > 0).astype(np.int64) if loss.name == "binary_cross_entropy" else score[:, 0] * 10 + 4
    spec = FitSpec(
        preprocess=Preprocess(numbers="standard"), model=model, loss=loss,
        optimizer=AdamW(lr=1e-2 if list(loss.axes()) else [3e-3, 1e-2]),
        training=Training(epochs=EPOCHS, batch_size=12),
        population=Population(folds=1, seeds=1, seed=int(rng.integers(1000))),
    )  # fmt: skip
    return spec, (x, np.zeros((ROWS, 0), dtype=np.int64)), y


def run(
    spec: FitSpec, inputs: tuple[np.ndarray, np.ndarray], y: np.ndarray, executor: str,
    members: tuple[int, ...] | None = None,
) -> Any:  # fmt: skip
    population, modules, data = parts(spec, inputs, y, members)

    def at(ours: Any) -> Problem:
        numbers = loss_numbers(ours, modules[0], torch.device("cpu"))
        return Problem(data, LOSSES[spec.loss.name], spec.loss.name, numbers, executor)

    return train_population(population, modules, at, torch.device("cpu"))


def parts(
    spec: FitSpec, inputs: tuple[np.ndarray, np.ndarray], y: np.ndarray, members: tuple[int, ...] | None = None
) -> Any:
    folds = [(np.arange(12, ROWS), np.arange(12))]
    population = make_population(spec.replace("population.members", members), folds)
    shape = TableShape((), (ROWS,) * FEATURES, np.array([], dtype=np.int64))
    modules = make_modules(
        lambda member: build(member.spec, spec.loss.name, CLASSES, shape, inputs, y).double(), population.training
    )
    data = Resident((torch.from_numpy(inputs[0]).double(), torch.from_numpy(inputs[1])), torch.from_numpy(y))
    return population, modules, data


@cache
def plainly(case: str) -> Any:
    """A problem with data of its own, and what a plain torch loop makes of each member."""
    seed = int(np.random.default_rng().integers(2**31))
    given = problem(case, np.random.default_rng(seed))
    population, modules, data = parts(*given)
    losses = PLAIN[given[0].loss.name]
    ends = [
        train_plainly(
            module, member, data.inputs, data.targets, lambda z, t, own=member.spec.loss: losses(z, t, own)
        )
        for module, member in zip(modules, population.members, strict=True)
    ]  # fmt: skip
    assert population.members[0].steps * EPOCHS == 200
    return seed, given, ends


def able_to(case: str) -> list[str]:
    given = problem(case, np.random.default_rng(0))
    _, modules, data = parts(*given)
    return able(modules[0], given[0].loss.name, data)


RUNS = [(case, executor) for case in NETWORKS for executor in able_to(case)]


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_after_200_steps_a_member_has_the_weights_it_has_alone_and_in_a_plain_torch_loop(
    case: str, executor: str
) -> None:
    seed, given, ends = plainly(case)
    print("seed", seed)  # shown when a test fails
    fused = run(*given, executor)
    assert len(fused.stacks) == 1
    alone = run(*given, executor, members=(1,))
    assert distance(fused.module(1), alone.module(0)) < 1e-9
    for index, plain in enumerate(ends):
        assert fused.finished[index].best_epoch == plain.best_epoch
        assert distance(fused.module(index), plain.best) < 1e-9
    assert distance(fused.module(0), fused.module(1)) > 1e-6, "candidates must differ, or the test shows nothing"
