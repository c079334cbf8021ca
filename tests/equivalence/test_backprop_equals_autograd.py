"""Backpropagation written out, in PyTorch and in C++, against autograd, on fresh random nets: gradients, losses,
running statistics."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.engine.executors import EXECUTORS, Objective, by_autograd, by_chain_rule
from lockstep.engine.stack import Stack, lift
from lockstep.engine.state import fresh_state
from lockstep.engine.step import Resident, Tables
from lockstep.network.build import build
from lockstep.network.layers.dropout import dropout_keys
from lockstep.network.losses import LOSSES
from lockstep.network.preprocess.table import TableShape
from lockstep.optim import rule_for
from lockstep.spec import SGD, FitSpec, Mlp

Rng = np.random.Generator
CPU = torch.device("cpu")
ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2), "elu": lambda: nn.ELU(0.7), "selu": nn.SELU,
    "gelu": nn.GELU, "gelu_tanh": lambda: nn.GELU("tanh"), "silu": nn.SiLU, "mish": nn.Mish, "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh, "softmax": lambda: nn.Softmax(dim=-1), "identity": nn.Identity,
}  # fmt: skip
NORMS = {
    "none": None, "batch": nn.BatchNorm1d, "plain batch": lambda H: nn.BatchNorm1d(H, affine=False, momentum=0.3),
    "untracked batch": lambda H: nn.BatchNorm1d(H, track_running_stats=False), "layer": nn.LayerNorm,
    "layer without bias": lambda H: nn.LayerNorm(H, bias=False, eps=1e-3), "rms": nn.RMSNorm,
    "plain rms": lambda H: nn.RMSNorm(H, eps=1e-6, elementwise_affine=False),
    "group": lambda H: nn.GroupNorm(2, H), "plain layer": lambda H: nn.LayerNorm(H, elementwise_affine=False),
}  # fmt: skip
FEATURES = 6
COMPILED = EXECUTORS["compiled"]
BOUND = {torch.float32: 1e-5, torch.float64: 1e-10}


def draw(rng: Rng, activations: list[str], norms: list[str], *, outputs: int, bias: bool = True) -> nn.Sequential:
    """A net with a hidden layer per activation, of random widths, with dropout here and there."""
    width, layers = FEATURES, []
    for activation, norm in zip(activations, norms, strict=True):
        own = 2 * int(rng.integers(3, 12))
        layers.append(nn.Linear(width, own, bias=bias))
        if NORMS[norm] is not None:
            layers.append(NORMS[norm](own))
        layers.append(ACTIVATIONS[activation]())
        if rng.random() < 0.5:
            layers.append(nn.Dropout(float(rng.choice([0.0, 0.1, 0.5]))))
        width = own
    return nn.Sequential(*layers, nn.Linear(width, outputs, bias=bias))


def several(rng: Rng, net: nn.Module, dtype: torch.dtype) -> list[nn.Module]:
    """Networks of one structure with weights and statistics of their own."""
    members = []
    for _ in range(int(rng.integers(1, 5))):
        member = copy.deepcopy(net)
        for p in member.parameters():
            p.data += 0.3 * torch.randn_like(p) / p.shape[-1] ** 0.5
        for name, buffer in member.named_buffers():
            if "running" in name:
                buffer += torch.rand_like(buffer)
        members.append(member.to(dtype))
    return members


def gradients(
    rng: Rng, modules: list[nn.Module], data: Resident, loss: str, numbers: dict[str, Tensor], batch: int
) -> dict[str, tuple[Tensor, Tensor, dict[str, Tensor]] | None]:
    """What each executor makes of one batch: gradients ``[K, P]``, losses ``[K]``, buffers. Also what autograd makes of
    it in float64, and of weights that are off by a rounding to float32."""
    K = len(modules)
    rows = torch.from_numpy(rng.integers(len(data.targets), size=(K, batch)))
    seeds = rng.integers(9, size=K)

    def by(make: Any, stack: Stack, data: Resident, numbers: dict[str, Tensor]) -> Any:
        keys = torch.from_numpy(dropout_keys(seeds, np.array([3]), len(stack.dropouts))[0])
        inputs, target = data.batch(rows)
        buffers = {name: buffer.clone() for name, buffer in stack.buffers.items()}
        made = make(stack, Objective(loss, LOSSES[loss], data))
        return made(stack.params, buffers, keys, inputs, target, numbers)

    def by_kernels(stack: Stack) -> Any:
        """The velocity after one step of SGD is the gradient."""
        rule, objective = rule_for(SGD()), Objective(loss, LOSSES[loss], data)
        state, ones = fresh_state(stack, rule), torch.ones(K, dtype=torch.float64)
        factors = rule.coefficients(
            {"momentum": 0 * ones, "dampening": 0 * ones, "weight_decay": 0 * ones}, ones[None], 0
        )
        keys = torch.from_numpy(dropout_keys(seeds, np.array([3]), len(stack.dropouts)))
        table = torch.stack(list(factors.values()), dim=1).to(stack.params)
        tables = Tables(numbers, keys, tuple(factors), table, torch.full((K,), torch.inf).to(stack.params))
        losses, norms = EXECUTORS["compiled"].runner(stack, objective, rule).steps(state, rows[None], tables)
        velocity = state.moments["velocity"]
        torch.testing.assert_close(norms[0].norm(dim=1), velocity.norm(dim=1))
        torch.testing.assert_close(state.params, stack.params - velocity)
        return velocity, losses[0], state.buffers

    stack, exact = lift(modules, CPU), lift([copy.deepcopy(module).double() for module in modules], CPU)
    rounded = replace(exact, params=exact.params * (1 + 2.0**-24 * torch.randn_like(exact.params)))
    in_double = Resident(tuple(map(double, data.inputs)), double(data.targets))
    return {
        "eager": by(by_autograd, stack, data, numbers),
        "backprop": by(by_chain_rule, stack, data, numbers),
        "compiled": None if COMPILED.refusal(modules[0], Objective(loss, LOSSES[loss], data)) else by_kernels(stack),
        "exact": by(by_autograd, exact, in_double, {name: double(number) for name, number in numbers.items()}),
        "rounded": by(by_autograd, rounded, in_double, {name: double(number) for name, number in numbers.items()}),
    }


def double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def check(
    rng: Rng, modules: list[nn.Module], data: Resident, loss: str, numbers: dict[str, Tensor], batch: int = 0
) -> None:
    assert EXECUTORS["backprop"].refusal(modules[0], Objective(loss, LOSSES[loss], data)) is None
    made = gradients(rng, modules, data, loss, numbers, batch or int(rng.integers(16, 64)))
    (expected, losses, became), *written, (exact, *_), (rounded, *_) = made.values()
    size = float(expected.norm())
    assert size > 0
    bound = BOUND[expected.dtype]
    if expected.dtype == torch.float32:  # a norm over nearly equal numbers is ill-conditioned: then, by how much
        off = max(float((expected - exact).norm()), float((rounded - exact).norm()))
        bound = max(bound, 10 * off / size)
    for found, own_losses, own_became in filter(None, written):
        assert float((found - expected).norm()) / size <= bound
        torch.testing.assert_close(own_losses, losses, rtol=10 * bound, atol=10 * bound)
        assert set(own_became) == set(became)
        for name, buffer in became.items():
            torch.testing.assert_close(own_became[name], buffer, rtol=10 * bound, atol=10 * bound)


def targets_for(rng: Rng, loss: str, outputs: int, dtype: torch.dtype, rows: int = 60) -> Tensor:
    match loss:
        case "cross_entropy":
            return torch.from_numpy(rng.integers(outputs, size=rows))
        case "binary_cross_entropy":
            return torch.from_numpy(rng.integers(2, size=rows))
    return torch.from_numpy(rng.normal(size=(rows, outputs) if outputs > 1 else rows)).to(dtype)


def numbers_for(rng: Rng, loss: str, outputs: int, K: int, dtype: torch.dtype, share: float = 0.6) -> dict[str, Tensor]:
    """Some of the numbers that the loss can have, each with a row per member."""
    classes = outputs if loss == "cross_entropy" else 2
    shapes: dict[str, Any] = {
        "cross_entropy": {"label_smoothing": (), "class_weights": (classes,)},
        "binary_cross_entropy": {"label_smoothing": (), "class_weights": (2,)},
        "huber": {"scale": (), "delta": ()}, "quantile": {"scale": (), "quantile": ()},
    }.get(loss, {"scale": ()})  # fmt: skip
    return {
        name: torch.from_numpy(rng.uniform(0.05, 0.95, size=(K, *shape))).to(dtype)
        for name, shape in shapes.items() if rng.random() < share
    }  # fmt: skip


def outputs_for(rng: Rng, loss: str) -> int:
    return int(rng.integers(2, 6)) if loss == "cross_entropy" else 1


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("depth", range(6))
def test_the_gradient_is_autograds_at_any_depth_and_for_any_loss(
    rng: Rng, depth: int, loss: str, dtype: torch.dtype
) -> None:
    outputs = outputs_for(rng, loss)
    activations = rng.choice([name for name in ACTIVATIONS if name != "softmax"], size=depth).tolist()
    norms = rng.choice(list(NORMS), size=depth).tolist()
    modules = several(rng, draw(rng, activations, norms, outputs=outputs, bias=rng.random() < 0.8), dtype)
    check(rng, modules, data_for(rng, loss, outputs, dtype), loss, numbers_for(rng, loss, outputs, len(modules), dtype))


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_has_its_derivative(rng: Rng, name: str, dtype: torch.dtype) -> None:
    modules = several(rng, draw(rng, [name, name], ["none", "none"], outputs=3), dtype)
    for module in modules:
        module[0].weight.data.mul_(3)  # far into both sides of it
    check(rng, modules, data_for(rng, "cross_entropy", 3, dtype), "cross_entropy", {})


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("name", NORMS)
def test_each_norm_has_its_derivative_and_leaves_the_same_statistics(rng: Rng, name: str, dtype: torch.dtype) -> None:
    modules = several(rng, draw(rng, ["tanh", "tanh"], [name, name], outputs=3), dtype)
    check(rng, modules, data_for(rng, "cross_entropy", 3, dtype), "cross_entropy", {})


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_has_its_derivative_with_all_its_numbers_and_with_none(rng: Rng, loss: str) -> None:
    outputs = outputs_for(rng, loss)
    modules = several(rng, draw(rng, ["tanh"], ["none"], outputs=outputs), torch.float64)
    data = data_for(rng, loss, outputs, torch.float64)
    check(rng, modules, data, loss, {})
    check(rng, modules, data, loss, numbers_for(rng, loss, outputs, len(modules), torch.float64, share=1.0))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "quantile"])
def test_several_outputs_are_averaged_as_autograd_does(rng: Rng, loss: str) -> None:
    modules = several(rng, draw(rng, ["gelu"], ["layer"], outputs=3), torch.float64)
    check(rng, modules, data_for(rng, loss, 3, torch.float64), loss, {})


def test_frozen_parameters_take_part_and_get_no_gradient(rng: Rng) -> None:
    modules = several(rng, draw(rng, ["tanh", "tanh"], ["batch", "layer"], outputs=3), torch.float64)
    names = rng.choice(list(dict(modules[0].named_parameters())), size=4, replace=False)
    for module in modules:
        for frozen in names:
            module.get_parameter(frozen).requires_grad_(False)
    check(rng, modules, data_for(rng, "cross_entropy", 3, torch.float64), "cross_entropy", {})


class Written(nn.Module):
    """As a course text writes it, for images."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 * FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.last = nn.Linear(8, 1)
        self.register_buffer("spread", torch.tensor(2.5))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), -1)
        h = F.leaky_relu(self.net(x), negative_slope=0.3)
        return self.spread * torch.tanh(self.last(h)).squeeze(-1)  # type: ignore[no-any-return]


def test_a_users_class_whose_forward_is_a_chain_is_followed(rng: Rng) -> None:
    modules = several(rng, Written(), torch.float64)
    x = torch.from_numpy(rng.normal(size=(60, 2, FEATURES)))
    check(rng, modules, Resident((x,), torch.from_numpy(rng.normal(size=60))), "mse", {})


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_our_own_networks_on_a_table_learn_their_embeddings_too(rng: Rng, task: str) -> None:
    rows, cardinalities = 80, (3, 30, 40)
    numbers = rng.normal(size=(rows, 4)).astype(np.float32)
    numbers[rng.random(numbers.shape) < 0.1] = np.nan
    codes = np.stack([rng.integers(n, size=rows) for n in cardinalities], axis=1)
    shape = TableShape(cardinalities, tuple(len(np.unique(column)) for column in numbers.T), np.array([1, 3]))
    target = rng.normal(size=rows).astype(np.float32) if task == "regression" else rng.integers(2, size=rows)
    loss = {"multiclass": "cross_entropy", "binary": "binary_cross_entropy", "regression": "mse"}[task]
    spec = FitSpec(model=Mlp(hidden=(8, 6), norm="batch", activation="gelu", dropout=0.2))
    folds = [rng.choice(rows, size=50, replace=False) for _ in range(3)]  # values that some folds never see
    modules = [build(spec, loss, 2, shape, [numbers[own], codes[own]], target[own]) for own in folds]
    for module in modules:
        for p in module.parameters():
            p.data += 0.1 * torch.randn_like(p)
    check(rng, list(modules), Resident((torch.from_numpy(numbers), torch.from_numpy(codes)), torch.from_numpy(target)),
          loss, {})  # fmt: skip


def data_for(rng: Rng, loss: str, outputs: int, dtype: torch.dtype) -> Resident:
    x = torch.from_numpy(rng.normal(size=(60, FEATURES))).to(dtype)
    return Resident((x,), targets_for(rng, loss, outputs, dtype))
