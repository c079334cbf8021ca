"""Targets that a named loss cannot take are told with what they are and what to give."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lockstep.errors import DataError
from lockstep.network.losses import LOSSES
from lockstep.network.targets import check_targets

CODES = torch.tensor([0, 2, 1, 0, 2])
WRONG: list[tuple[str, list[int], Tensor, str]] = [
    ("cross_entropy", [3], CODES + 1, "Class codes count from 0 to 2 for a network of 3 outputs, however y holds 1 to "
     "3. Count them from 0: y - 1."),
    ("cross_entropy", [3], CODES - 1, "however y holds -1 to 1. Count them from 0: y + 1."),
    ("cross_entropy", [2], CODES, "however y holds 0 to 2. Give the network 3 outputs."),
    ("cross_entropy", [2], CODES - 1, "however y holds -1 to 1. Give the network 3 outputs, and count from 0: y + 1."),
    ("cross_entropy", [3, 4], CODES[:, None].repeat(1, 4) + 1, "however y holds 1 to 3."),
    ("cross_entropy", [3], CODES.float(), "as whole numbers, however y is float32. Give y as whole numbers: y.long()."),
    ("cross_entropy", [3], CODES + 0.5, "however y is float32. For numbers that are no classes: loss='mse'."),
    ("cross_entropy", [3], CODES[:, None], "however a row of y is [1]. Give y.squeeze(-1)."),
    ("cross_entropy", [3], torch.eye(3)[CODES], "however a row of y is [3], a number per class. Give y.argmax(1);"),
    ("cross_entropy", [3], torch.eye(3)[CODES].long(), "a number per class. Give y.argmax(1);"),
    ("cross_entropy", [3, 4], CODES, "however a row of y is [] and the network's output [3, 4]."),
    ("cross_entropy", [1], CODES % 2, "however the network gives one number per row. For two classes: "
     "loss='binary_cross_entropy'; for more,"),
    ("cross_entropy", [], CODES % 2, "however the network gives one number per row."),
    ("binary_cross_entropy", [1], CODES, "binary_cross_entropy takes y of 0 and 1, however: from 0 to 2. For three "
     "classes or more: loss='cross_entropy'."),
    ("binary_cross_entropy", [1], 2.0 * (CODES % 2) - 1, "however: from -1 to 1. Give (y > 0).float()."),
    ("binary_cross_entropy", [2], CODES % 2, "however a row of y is [] and of the network's output [2]."),
    ("mse", [3], CODES.float(), "mse takes an output of the shape of y (a last axis of 1 aside), however a row of y is "
     "[] and of the network's output [3]."),
    ("mae", [], CODES[:, None].float(), "mae takes an output of the shape of y"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "output", "targets", "message"), WRONG)
def test_targets_that_do_not_fit_are_refused_with_what_to_give(
    loss: str, output: list[int], targets: Tensor, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        check_targets(torch.randn(2, *output), targets, loss)
    assert message in str(caught.value)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_what_the_loss_can_take_is_taken(rng: np.random.Generator, loss: str) -> None:
    """The oracle is the loss itself: it has a finite value wherever nothing is refused."""
    classes, rows = int(rng.integers(2, 6)), 7
    codes = torch.from_numpy(rng.integers(0, classes, (rows, 3)))
    bits, numbers = (codes > 0).float(), torch.from_numpy(rng.normal(size=(rows, 3)))
    cases = {
        "cross_entropy": [([classes], codes[:, 0]), ([classes + 2], codes[:, 0]), ([classes, 3], codes)],
        "binary_cross_entropy": [([1], bits[:, 0]), ([], bits[:, 0].long()), ([3], bits), ([], 0.3 * bits[:, 0])],
    }.get(loss, [([1], numbers[:, 0]), ([], numbers[:, 0]), ([3], numbers), ([3, 1], numbers), ([1], codes[:, 0])])
    for shape, targets in cases:
        output = torch.randn(rows, *shape)
        check_targets(output[:2], targets, loss)
        assert LOSSES[loss](output, targets, {}).isfinite()
