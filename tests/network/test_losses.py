"""Losses are their torch.nn.functional namesakes, with numbers that may be tensors."""

import numpy as np
import pytest
import torch
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


@pytest.mark.parametrize(("name", "reference"), [("mse", F.mse_loss), ("mae", F.l1_loss)])
@pytest.mark.parametrize("scale", [None, 4.0])
def test_regression_losses_are_torchs_of_errors_in_units_of_the_scale(
    rng: Rng, name: str, reference: type, scale: float | None
) -> None:
    output, target = tensor(rng.normal(size=(9, 1))), tensor(rng.normal(size=9))
    expected = reference(output.squeeze(1) / (scale or 1), target / (scale or 1))
    close(LOSSES[name](output, target, {} if scale is None else {"scale": tensor(scale)}), expected)


def test_several_outputs_are_taken_as_they_are_and_whole_targets_too(rng: Rng) -> None:
    output, target = tensor(rng.normal(size=(9, 3))), torch.from_numpy(rng.integers(0, 5, (9, 3)))
    close(LOSSES["mse"](output, target, {}), F.mse_loss(output, target.double()))


@pytest.mark.parametrize("name", ["mse", "mae", "binary_cross_entropy"])
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


def test_metrics_are_what_their_names_say(rng: Rng) -> None:
    logits, codes = tensor(rng.normal(size=(50, 3))), torch.from_numpy(rng.integers(0, 3, 50))
    assert metric("cross_entropy", logits, codes, torch.float64) == np.mean(logits.numpy().argmax(1) == codes.numpy())
    z, binary = tensor(rng.normal(size=(50, 1))), torch.from_numpy(rng.integers(0, 2, 50))
    assert metric("binary_cross_entropy", z, binary, torch.float64) == np.mean((z[:, 0].numpy() > 0) == binary.numpy())
    y = tensor(rng.normal(size=50))
    close(metric("mse", z, y, torch.float64), F.mse_loss(z[:, 0], y).sqrt())
    close(metric("mae", z, y, torch.float64), F.l1_loss(z[:, 0], y))
    assert metric("", z, y, torch.float64).isnan()
    assert [metric_name(name) for name in (*LOSSES, "")] == ["accuracy", "accuracy", "rmse", "mae", ""]


def test_extreme_logits_give_finite_losses() -> None:
    z = tensor([[1e4], [-1e4]])
    assert binary_cross_entropy(z, torch.tensor([0, 1]), {}) == 1e4
    assert cross_entropy(torch.cat([z, -z], 1), torch.tensor([1, 0]), {}) == 2e4
