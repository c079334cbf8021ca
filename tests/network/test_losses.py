"""Losses are their torch.nn.functional namesakes, with numbers that may be tensors."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_pinball_loss
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

from lockstep.errors import TrainingError
from lockstep.network.losses import LOSSES, metric, metric_name

Rng = np.random.Generator
cross_entropy, binary_cross_entropy = LOSSES["cross_entropy"], LOSSES["binary_cross_entropy"]


def tensor(x: object) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("extra", [(), (3,), (3, 2)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [None, 0.0, 0.1, 0.7])
def test_cross_entropy_is_torchs(rng: Rng, extra: tuple[int, ...], weighted: bool, smoothing: float | None) -> None:
    output, target = tensor(rng.normal(size=(7, 5, *extra)) * 5), torch.from_numpy(rng.integers(0, 5, (7, *extra)))
    weights = tensor(rng.uniform(0.1, 3, 5)) if weighted else None
    numbers = {} if smoothing is None else {"label_smoothing": tensor(smoothing)}
    numbers |= {} if weights is None else {"class_weights": weights}
    expected = F.cross_entropy(output, target, weight=weights, label_smoothing=smoothing or 0.0)
    close(cross_entropy(output, target, numbers), expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("column", [False, True])
def test_binary_cross_entropy_is_torchs_with_logits(rng: Rng, weighted: bool, column: bool) -> None:
    logits, target = tensor(rng.normal(size=9) * 3), torch.from_numpy(rng.integers(0, 2, 9))
    weights = tensor(rng.uniform(0.1, 3, 2)) if weighted else tensor([1.0, 1.0])
    numbers = {"class_weights": weights} if weighted else {}
    each = weights[target]
    expected = F.binary_cross_entropy_with_logits(logits, target.double(), weight=each, reduction="sum") / each.sum()
    close(binary_cross_entropy(logits[:, None] if column else logits, target, numbers), expected)


def test_binary_cross_entropy_is_cross_entropy_of_two_classes(rng: Rng) -> None:
    logits, target = tensor(rng.normal(size=9)), torch.from_numpy(rng.integers(0, 2, 9))
    numbers = {"label_smoothing": tensor(0.1), "class_weights": tensor(rng.uniform(0.1, 3, 2))}
    two = torch.stack([torch.zeros_like(logits), logits], dim=1)
    close(binary_cross_entropy(logits, target, numbers), cross_entropy(two, target, numbers))


@pytest.mark.parametrize(("name", "reference"), [("mse", F.mse_loss), ("mae", F.l1_loss), ("huber", F.huber_loss)])
@pytest.mark.parametrize("scale", [None, 4.0])
def test_regression_losses_are_torchs_of_errors_in_units_of_the_scale(
    rng: Rng, name: str, reference: type, scale: float | None
) -> None:
    output, target = tensor(rng.normal(size=(9, 1))), tensor(rng.normal(size=9))
    expected = reference(output.squeeze(1) / (scale or 1), target / (scale or 1))
    close(LOSSES[name](output, target, {} if scale is None else {"scale": tensor(scale)}), expected)


@pytest.mark.parametrize("delta", [0.1, 1.0, 30.0])
def test_huber_is_torchs_with_its_gradient(rng: Rng, delta: float) -> None:
    output, target = tensor(rng.normal(size=(40, 2)) * 3).requires_grad_(), tensor(rng.normal(size=(40, 2)))
    ours, theirs = LOSSES["huber"](output, target, {"delta": tensor(delta)}), F.huber_loss(output, target, delta=delta)
    close(ours, theirs)
    close(*(torch.autograd.grad(loss, output)[0] for loss in (ours, theirs)))


@pytest.mark.parametrize("q", [0.05, 0.5, 0.9])
def test_the_quantile_loss_is_scikit_learns_pinball_loss(rng: Rng, q: float) -> None:
    output, target, numbers = rng.normal(size=50), rng.normal(size=50), {"quantile": tensor(q)}
    ours = LOSSES["quantile"](tensor(output)[:, None], tensor(target), numbers)
    assert float(ours) == pytest.approx(mean_pinball_loss(target, output, alpha=q), rel=1e-12)
    close(LOSSES["quantile"](tensor(output), tensor(target), numbers | {"scale": tensor(5.0)}), ours / 5)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.9])
def test_the_gradient_of_the_quantile_loss_is_0_at_the_quantile_of_the_target(rng: Rng, q: float) -> None:
    target = tensor(rng.normal(size=101))  # an odd count, so that the quantile is one of them
    level = target.quantile(q, interpolation="nearest")
    slopes = []
    for at in (level - 1e-9, level + 1e-9):
        output = at.expand(101).clone().requires_grad_()
        (gradient,) = torch.autograd.grad(LOSSES["quantile"](output, target, {"quantile": tensor(q)}), output)
        slopes.append(float(gradient.sum()))
    assert slopes[0] < 0 < slopes[1]


def test_several_outputs_are_taken_as_they_are_and_whole_targets_too(rng: Rng) -> None:
    output, target = tensor(rng.normal(size=(9, 3))), torch.from_numpy(rng.integers(0, 5, (9, 3)))
    close(LOSSES["mse"](output, target, {}), F.mse_loss(output, target.double()))


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "quantile", "binary_cross_entropy"])
@pytest.mark.parametrize(("output", "target"), [((4, 2), (4,)), ((4,), (4, 1)), ((4, 1), (1, 4)), ((4, 3), (4, 2))])
def test_shapes_that_would_broadcast_are_refused(name: str, output: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(TrainingError) as caught:
        LOSSES[name](torch.zeros(output), torch.zeros(target), {})
    assert str(caught.value) == (
        "output and target must have one shape (a last axis of 1 aside), however: "
        f"output {list(output)}, target {list(target)}."
    )


@pytest.mark.parametrize(
    ("output", "target"),
    [
        (torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.int64)),
        (torch.zeros(4, 3), torch.zeros(4)),
        (torch.zeros(4), torch.zeros(4, dtype=torch.int64)),
        (torch.zeros(4, 3, 2), torch.zeros(4, dtype=torch.int64)),
    ],
)
def test_cross_entropy_says_what_it_needs(output: Tensor, target: Tensor) -> None:
    with pytest.raises(TrainingError, match=r"needs logits \[B, C\] and class codes \[B\] \(int64\), however: output"):
        cross_entropy(output, target, {})


def test_members_have_a_smoothing_of_their_own_in_a_stack(rng: Rng) -> None:
    output, target = tensor(rng.normal(size=(3, 6, 4))), torch.from_numpy(rng.integers(0, 4, (3, 6)))
    smoothing, weights = tensor([0.0, 0.1, 0.5]), tensor(rng.uniform(0.1, 2, (3, 4)))
    fused = vmap(cross_entropy)(output, target, {"label_smoothing": smoothing, "class_weights": weights})
    for k in range(3):
        expected = F.cross_entropy(output[k], target[k], weights[k], label_smoothing=float(smoothing[k]))
        close(fused[k], expected)


@pytest.mark.parametrize(("name", "number"), [("huber", "delta"), ("quantile", "quantile")])
def test_members_have_a_delta_and_a_quantile_of_their_own_in_a_stack(rng: Rng, name: str, number: str) -> None:
    output, target, own = tensor(rng.normal(size=(3, 6))), tensor(rng.normal(size=(3, 6))), tensor([0.2, 0.5, 0.9])
    fused = vmap(LOSSES[name])(output, target, {number: own})
    close(fused, torch.stack([LOSSES[name](output[k], target[k], {number: own[k]}) for k in range(3)]))


def test_metrics_are_what_their_names_say(rng: Rng) -> None:
    logits, codes = tensor(rng.normal(size=(50, 3))), torch.from_numpy(rng.integers(0, 3, 50))
    assert metric("cross_entropy", logits, codes, {}, torch.float64) == np.mean(
        logits.numpy().argmax(1) == codes.numpy()
    )
    z, binary = tensor(rng.normal(size=(50, 1))), torch.from_numpy(rng.integers(0, 2, 50))
    correct = np.mean((z[:, 0].numpy() > 0) == binary.numpy())
    assert metric("binary_cross_entropy", z, binary, {}, torch.float64) == correct
    y = tensor(rng.normal(size=50))
    numbers = {"scale": tensor(3.0), "quantile": tensor(0.8)}  # metrics are in the target's units all the same
    close(metric("mse", z, y, numbers, torch.float64), F.mse_loss(z[:, 0], y).sqrt())
    close(metric("mae", z, y, numbers, torch.float64), F.l1_loss(z[:, 0], y))
    close(metric("huber", z, y, numbers, torch.float64), F.l1_loss(z[:, 0], y))
    pinball = mean_pinball_loss(y.numpy(), z[:, 0].numpy(), alpha=0.8)
    assert float(metric("quantile", z, y, numbers, torch.float64)) == pytest.approx(pinball)
    assert metric("", z, y, {}, torch.float64).isnan()
    names = ["accuracy", "accuracy", "rmse", "mae", "mae", "pinball", ""]
    assert [metric_name(name) for name in (*LOSSES, "")] == names


def test_extreme_logits_give_finite_losses() -> None:
    z = tensor([[1e4], [-1e4]])
    assert binary_cross_entropy(z, torch.tensor([0, 1]), {}) == 1e4
    assert cross_entropy(torch.cat([z, -z], 1), torch.tensor([1, 0]), {}) == 2e4
