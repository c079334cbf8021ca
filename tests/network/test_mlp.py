"""The multi-layer perceptron: an activation per layer, and residual blocks as their formula has them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lockstep.errors import SpecError
from lockstep.network.families import make_body
from lockstep.network.families.mlp import mlp
from lockstep.network.layers.norms import norm
from lockstep.network.shapes import Flat
from lockstep.spec import FitSpec, Mlp, Perceptron, read_settings

Rng = np.random.Generator


def test_each_hidden_layer_has_its_own_activation() -> None:
    body, _ = mlp(Mlp(hidden=(8, 7, 6), activation=["leaky_relu", "swish", "mish"], slope=0.3, norm="none"), 5)
    assert [type(layer) for layer in body[1::3]] == [nn.LeakyReLU, nn.SiLU, nn.Mish]
    assert body[1].negative_slope == 0.3


@pytest.mark.parametrize(("other", "ours"), [("swish", "silu"), ("linear", "identity"), (["swish"], ("silu",))])
def test_activations_go_by_their_other_names_too(other: Any, ours: Any) -> None:
    assert Mlp(hidden=(8,), activation=other) == Mlp(hidden=(8,), activation=ours)
    assert Mlp(init="xavier") == Mlp(init="glorot_uniform")
    assert Mlp(init="kaiming") == Mlp(init="he_normal")


def test_a_list_of_activations_must_have_one_for_each_layer() -> None:
    with pytest.raises(SpecError, match="one for each, however: 1 activations, 2 hidden layers"):
        Mlp(hidden=(8, 8), activation=["relu"])


def test_a_stored_spec_keeps_what_is_set_per_layer(tmp_path: Any) -> None:
    spec = FitSpec(model=Mlp(hidden=(8, 4), activation=["tanh", "gelu"], residual=True, norm="group", groups=2))
    (tmp_path / "spec.toml").write_text(spec.to_toml(), encoding="utf-8")
    assert FitSpec.parse(read_settings(tmp_path / "spec.toml")) == spec


@pytest.mark.parametrize("norm_name", ["none", "layer", "rms", "group", "batch"])
def test_a_residual_body_is_what_its_formula_says(rng: Rng, norm_name: Any) -> None:  # noqa: ARG001
    body, width = mlp(Mlp(hidden=(6, 6, 4), residual=True, norm=norm_name, activation="gelu", dropout=0.3), 5)
    body.eval()
    first, *blocks = list(body)[:4]
    x = torch.randn(7, 5)
    h = first(x)
    for block in blocks:
        normed, (up, _, _, down, _) = h, list(block.inner)[-5:]
        if norm_name != "none":
            normed = block.inner[0](h)
        around = h if up.out_features == h.shape[1] else h @ block.around.weight.T
        h = around + down(nn.functional.gelu(up(normed)))
    h = h if norm_name == "none" else body[4](h)
    torch.testing.assert_close(body(x), nn.functional.gelu(h))
    assert width == 4
    drops = [layer for layer in body.modules() if isinstance(layer, nn.Dropout)]
    assert [layer.p for layer in drops] == [0.3] * 6


def test_residual_without_blocks_is_refused() -> None:
    with pytest.raises(SpecError, match="residual needs blocks, however: hidden is empty"):
        Mlp(hidden=(), residual=True)


def test_group_norm_takes_32_groups_or_as_many_as_divide_the_width() -> None:
    assert [norm("group", width).num_groups for width in (256, 48, 7)] == [32, 16, 1]  # type: ignore[union-attr]
    assert norm("group", 48, groups=6).num_groups == 6  # type: ignore[union-attr]
    with pytest.raises(SpecError, match="groups must divide the width, however: 5 groups of 48 features"):
        norm("group", 48, groups=5)


def test_rms_norm_has_no_form_for_convolutions() -> None:
    with pytest.raises(SpecError, match="RMS norm is over features on the last axis, however: convolutions"):
        norm("rms", 8, axes=2)


def test_a_perceptron_hands_its_inputs_to_the_head() -> None:
    body, width = make_body(Perceptron(), Flat(5))
    x = torch.randn(3, 5)
    assert body(x) is x
    assert width == 5
