"""First weights have the variance that their formula gives, chosen by the activation behind them unless set."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lockstep.network.families.mlp import mlp
from lockstep.network.layers.activations import ACTIVATIONS, activation
from lockstep.network.layers.initialise import initialise, scheme_for
from lockstep.spec import Mlp

Rng = np.random.Generator
IN, OUT, SLOPE = 300, 500, 0.3
HE = 2 / IN
VARIANCES = {"glorot": 2 / (IN + OUT), "he": HE, "lecun": 1 / IN}


def drawn(scheme: str, name: str = "relu") -> nn.Linear:
    layer = nn.Linear(IN, OUT)
    initialise(layer, scheme, name, SLOPE)
    assert not layer.bias.any()
    return layer


def variance(layer: nn.Module) -> float:
    return float(layer.weight.detach().var())  # type: ignore[operator, union-attr]


# 150,000 weights: the variance of a normal sample is off by 0.4 % (one standard deviation), of a uniform one by less.
@pytest.mark.parametrize("rule", VARIANCES)
def test_uniform_and_normal_weights_have_the_variance_of_the_formula(rng: Rng, rule: str) -> None:  # noqa: ARG001
    uniform, normal = drawn(f"{rule}_uniform").weight.detach(), drawn(f"{rule}_normal").weight.detach()
    edge = math.sqrt(3 * VARIANCES[rule])
    assert 0.99 * edge < uniform.abs().max() <= edge
    assert uniform.mean().abs() < 0.02 * edge
    assert float(uniform.var()) == pytest.approx(VARIANCES[rule], rel=0.03)
    assert normal.abs().max() > 3.5 * math.sqrt(VARIANCES[rule])
    assert float(normal.var()) == pytest.approx(VARIANCES[rule], rel=0.03)


def test_he_takes_leaky_relus_slope_into_account(rng: Rng) -> None:  # noqa: ARG001
    assert variance(drawn("he_normal", "leaky_relu")) == pytest.approx(HE / (1 + SLOPE**2), rel=0.03)
    assert variance(drawn("he_uniform", "leaky_relu")) == pytest.approx(HE / (1 + SLOPE**2), rel=0.03)


@pytest.mark.parametrize(("name", "gain"), [("relu", math.sqrt(2)), ("tanh", 1.0)])
def test_orthogonal_weights_are_orthogonal(rng: Rng, name: str, gain: float) -> None:  # noqa: ARG001
    weight = drawn("orthogonal", name).weight.detach()
    torch.testing.assert_close(weight.T @ weight, gain**2 * torch.eye(IN), rtol=0, atol=1e-4)


def test_auto_follows_the_activation() -> None:
    he, glorot = ["relu", "leaky_relu", "elu", "gelu", "silu", "mish"], ["tanh", "sigmoid", "softmax", "identity"]
    expected = dict.fromkeys(he, "he_normal") | dict.fromkeys(glorot, "glorot_uniform") | {"selu": "lecun_normal"}
    assert {name: scheme_for(name) for name in ACTIVATIONS} == expected
    for name in ("relu", "selu", "tanh"):
        made = []
        for scheme in ("auto", scheme_for(name)):
            torch.manual_seed(3)
            made.append(drawn(scheme, name).weight)
        assert torch.equal(*made)


def test_torch_leaves_a_layer_as_torch_made_it() -> None:
    layers = []
    for scheme in (None, "torch"):
        torch.manual_seed(3)
        layer = nn.Linear(4, 5)
        if scheme:
            initialise(layer, scheme, "relu")
        layers.append(layer)
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert layers[1].bias.any()


def test_convolutions_are_drawn_by_what_one_output_sees(rng: Rng) -> None:  # noqa: ARG001
    body = nn.Sequential(nn.Conv2d(20, 60, 5, bias=False), nn.ReLU(), nn.Conv1d(100, 200, 3))
    initialise(body, "he_normal", "relu")
    assert variance(body[0]) == pytest.approx(2 / (20 * 25), rel=0.06)
    assert variance(body[2]) == pytest.approx(2 / (100 * 3), rel=0.06)


def test_each_layer_of_an_mlp_is_drawn_for_its_own_activation(rng: Rng) -> None:  # noqa: ARG001
    body, _ = mlp(Mlp(hidden=(300, 400, 300), activation=["relu", "selu", "tanh"], norm="none", init="auto"), 200)
    variances = [variance(layer) for layer in body if isinstance(layer, nn.Linear)]
    assert variances == pytest.approx([2 / 200, 1 / 300, 2 / (400 + 300)], rel=0.05)


# What the schemes are for: a signal keeps its size through many layers; with torch's default it dies.
@pytest.mark.parametrize(("name", "scheme", "kept"), [
    ("relu", "auto", True), ("selu", "auto", True), ("relu", "torch", False),
])  # fmt: skip
def test_a_signal_keeps_its_size_through_20_layers(rng: Rng, name: str, scheme: Any, kept: bool) -> None:
    layers: list[nn.Module] = []
    for _ in range(20):
        layers.append(nn.Linear(400, 400, bias=False))
        initialise(layers[-1], scheme, name)
        layers.append(activation(name))
    x = torch.from_numpy(rng.normal(size=(50, 400))).float()
    size = float(nn.Sequential(*layers)(x).detach().square().mean().sqrt())
    assert (0.2 < size < 5) is kept
    assert kept or size < 1e-4
