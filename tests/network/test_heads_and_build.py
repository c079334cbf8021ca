"""Heads speak the task's language; a network's structure depends on the spec and the shapes alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lockstep.errors import SpecError
from lockstep.network.build import Network, build, refit
from lockstep.network.families.mlp import mlp
from lockstep.network.heads import Logits, Regression, fit_head, loss_for, to_prediction
from lockstep.network.layers.activations import ACTIVATIONS
from lockstep.network.preprocess import ImageShape, TableShape
from lockstep.spec import FitSpec, Mlp, Preprocess
from lockstep.spec.network import Transformer

Rng = np.random.Generator


def test_a_regression_head_works_on_the_standardised_target_and_answers_in_its_units(rng: Rng) -> None:
    target = rng.normal(size=1000) * 50 + 300
    head = fit_head("mse", 4, 0, target)
    assert isinstance(head, Regression)
    assert float(head.centre) == pytest.approx(target.mean(), rel=1e-6)
    assert float(head.spread) == pytest.approx(target.std(), rel=1e-6)
    h = torch.randn(7, 4)
    torch.testing.assert_close(head(h), head.output(h) * head.spread + head.centre)
    assert head(h).shape == (7, 1)


def test_a_constant_target_has_spread_1() -> None:
    head = fit_head("mae", 4, 0, np.full(10, 3.0))
    assert isinstance(head, Regression)
    assert float(head.spread) == 1


@pytest.mark.parametrize(("loss", "outputs"), [("cross_entropy", 5), ("binary_cross_entropy", 1)])
def test_a_classification_head_is_linear(loss: str, outputs: int) -> None:
    head = fit_head(loss, 4, 5, np.zeros(3))
    assert isinstance(head, Logits)
    assert head.weight.shape == (outputs, 4)


def test_predictions_are_torchs_softmax_and_sigmoid(rng: Rng) -> None:
    z = rng.normal(size=(3, 7, 4)) * 10
    softmax = torch.softmax(torch.from_numpy(z), -1)
    np.testing.assert_allclose(to_prediction("cross_entropy", z), softmax, rtol=1e-12)
    two = to_prediction("binary_cross_entropy", z[..., :1])
    assert two.shape == (3, 7, 2)
    np.testing.assert_allclose(two[..., 1], torch.sigmoid(torch.from_numpy(z[..., 0])), rtol=1e-12)
    np.testing.assert_allclose(two.sum(-1), 1, rtol=1e-15)
    assert np.array_equal(to_prediction("mse", z[..., :1]), z[..., 0])


def test_a_very_small_probability_is_not_rounded_to_0() -> None:
    p = to_prediction("binary_cross_entropy", np.array([[40.0], [-40.0]]))
    np.testing.assert_allclose(p, [[np.exp(-40), 1], [1, np.exp(-40)]], rtol=1e-12)


def test_predictions_of_extreme_logits_are_probabilities() -> None:
    z = np.array([[1e4, -1e4], [0, 0]], dtype=np.float32)
    assert to_prediction("cross_entropy", z).tolist() == [[1, 0], [0.5, 0.5]]
    assert to_prediction("binary_cross_entropy", z[:, :1]).tolist() == [[0, 1], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("task", "wanted", "loss"),
    [
        ("binary", "auto", "binary_cross_entropy"), ("multiclass", "auto", "cross_entropy"),
        ("regression", "auto", "mse"), ("regression", "mae", "mae"), ("binary", "cross_entropy", "cross_entropy"),
    ],
)  # fmt: skip
def test_the_loss_follows_the_task_or_the_wish(task: Any, wanted: str, loss: str) -> None:
    assert loss_for(task, wanted) == loss


@pytest.mark.parametrize(
    ("task", "wanted", "fitting"),
    [
        ("binary", "mse", "binary_cross_entropy or cross_entropy | a distance between numbers"),
        ("multiclass", "huber", "cross_entropy | a distance between numbers"),
        ("multiclass", "binary_cross_entropy", "cross_entropy | one sigmoid says yes or no"),
        ("regression", "cross_entropy", "mse, mae, huber or quantile | the target is a number"),
    ],
)
def test_a_loss_that_does_not_suit_the_task_is_refused_with_the_reason(task: Any, wanted: str, fitting: str) -> None:
    with pytest.raises(SpecError) as caught:
        loss_for(task, wanted)
    losses, _, reason = fitting.partition(" | ")
    rule = f"loss.name must suit the task: a {task} target takes {losses}, however: {wanted}, "
    assert str(caught.value).startswith(rule)
    assert reason in str(caught.value)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("activation", ["softmax", ("relu", "softmax")])
def test_softmax_in_the_body_of_a_classifier_is_refused_with_the_reason(rng: Rng, loss: str, activation: Any) -> None:
    spec = FitSpec(model=Mlp(hidden=(8, 4), activation=activation))
    with pytest.raises(SpecError, match=r"must leave softmax to the head.*however: softmax in the body.*Take relu"):
        network(rng, 50, loss, spec)
    assert network(rng, 50, "mse", spec).eval()(*map(torch.from_numpy, table(rng, 5))).isfinite().all()


def test_the_body_is_the_texts_pipeline() -> None:
    body, width = mlp(Mlp(hidden=(8, 4), dropout=0.3), 5)
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout] * 2
    assert [type(layer) for layer in body] == kinds
    assert [layer.p for layer in body if isinstance(layer, nn.Dropout)] == [0.3, 0.3]
    assert width == 4
    assert body(torch.randn(3, 5)).shape == (3, 4)


def test_a_body_without_hidden_layers_is_the_identity() -> None:
    body, width = mlp(Mlp(hidden=()), 5)
    x = torch.randn(3, 5)
    assert body(x) is x
    assert width == 5


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_every_activation_and_norm_can_be_built(activation: Any, norm: Any) -> None:
    body, _ = mlp(Mlp(hidden=(6,), activation=activation, norm=norm), 5)
    assert type(body[-2]) is type(ACTIVATIONS[activation]())
    assert any(isinstance(layer, nn.LayerNorm) for layer in body) == (norm == "layer")
    assert body(torch.randn(3, 5)).isfinite().all()


def table(rng: Rng, rows: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    x[rng.random((rows, 3)) < 0.3] = np.nan
    return x, np.stack([rng.integers(0, 4, rows), rng.integers(0, 20, rows)], axis=1)


SHAPE = TableShape((4, 20), (50, 50, 50), np.array([0, 2]))
SPEC = FitSpec(preprocess=Preprocess(numbers="piecewise", bins=5, onehot_max=6), model=Mlp(hidden=(8,)))


def network(rng: Rng, rows: int, loss: str = "cross_entropy", spec: FitSpec = SPEC) -> Network:
    return build(spec, loss, 3, SHAPE, table(rng, rows), rng.normal(size=rows))


@pytest.mark.parametrize("numbers", ["standard", "robust", "quantile", "piecewise"])
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mse"])
def test_the_structure_depends_on_the_spec_and_the_shapes_only(rng: Rng, loss: str, numbers: str) -> None:
    spec = SPEC.replace("preprocess.numbers", numbers)
    shapes = [
        {name: (t.shape, t.dtype) for name, t in network(rng, rows, loss, spec).state_dict().items()}
        for rows in (200, 50, 1)
    ]
    assert shapes[0] == shapes[1] == shapes[2]


def test_networks_of_one_seed_have_equal_weights_whatever_rows_they_are_fitted_on(rng: Rng) -> None:
    built = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        built.append(network(rng, 100))
    a, b, c = (dict(one.named_parameters()) for one in built)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_a_network_eats_raw_rows(rng: Rng) -> None:
    x, codes = table(rng, 30)
    out = network(rng, 100).eval()(torch.from_numpy(x), torch.from_numpy(codes))
    assert out.shape == (30, 3)
    assert out.isfinite().all()


def test_images_are_built_from_their_shape_alone(rng: Rng) -> None:
    images = rng.integers(0, 256, (40, 6, 5)).astype(np.uint8)
    shape = ImageShape(images.shape[1:])
    built = build(FitSpec(model=Mlp(hidden=(8,))), "cross_entropy", 10, shape, (images,), np.zeros(40))
    assert built(torch.from_numpy(images)).shape == (40, 10)


@pytest.mark.parametrize("model", [Mlp(hidden=(8,), norm="batch"), Transformer(layers=1)], ids=["mlp", "transformer"])
@pytest.mark.parametrize("numbers", ["standard", "quantile", "piecewise"])
def test_what_rows_settle_can_be_taken_from_a_network_that_was_fitted_on_them(
    rng: Rng, model: Any, numbers: Any
) -> None:
    x, codes = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(30, size=(50, 1))
    shape, target = TableShape((30,), (50, 50, 50), np.array([1])), rng.normal(size=50)
    spec = FitSpec(model=model, preprocess=Preprocess(numbers=numbers, onehot_max=10))

    def made(seed: int, *rows: Any) -> Network:
        torch.manual_seed(seed)
        return build(spec, "mse", 0, shape, rows[:2], rows[2])

    expected = made(2, x, codes, target)
    blank = np.zeros((1, 3), dtype=np.float32), np.zeros((1, 1), dtype=np.int64), np.zeros(1)
    found = refit(made(2, *blank), made(1, x, codes, target)).state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found[name], tensor), name
