"""Heads: the output layer for the task, and what its outputs mean."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from lockstep.errors import SpecError
from lockstep.spec import Task

LOSS_OF_TASK = {"binary": "binary_cross_entropy", "multiclass": "cross_entropy", "regression": "mse", "forecast": "mse"}
LOSSES_FOR_TASK = {
    "binary": ("binary_cross_entropy", "cross_entropy"),
    "multiclass": ("cross_entropy",),
    "regression": ("mse", "mae", "huber", "quantile"),
    "forecast": ("mse", "mae", "huber", "quantile"),
}
OF_CLASSES = ("cross_entropy", "binary_cross_entropy")


class Logits(nn.Linear):
    """Linear to one logit per class ``[B, C]``, or to the single logit ``[B, 1]`` of a binary task."""


class Regression(nn.Module):
    """Linear to one number, in the target's own units ``[B, 1]``: the layer works on the standardised target."""

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int, centre: float, spread: float) -> None:
        super().__init__()
        self.output = nn.Linear(features, 1)
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("spread", torch.tensor(spread))

    def forward(self, h: Tensor) -> Tensor:
        z: Tensor = self.output(h)
        return z * self.spread + self.centre


def loss_for(task: Task, wanted: str) -> str:
    """The loss of a task: the wanted one if it suits, the usual one for ``auto``."""
    if wanted == "auto":
        return LOSS_OF_TASK[task]
    if wanted not in LOSSES_FOR_TASK[task]:
        raise SpecError(
            f"loss.name must suit the task: a {task} target takes {one_of(LOSSES_FOR_TASK[task])}, "
            f"however: {wanted}, {why_not(task, wanted)}."
        )
    return wanted


def one_of(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def why_not(task: Task, loss: str) -> str:
    """Why the loss does not suit the task."""
    if task in ("regression", "forecast"):
        return "which compares probabilities of classes, and the target is a number"
    if loss in OF_CLASSES:
        return "whose one sigmoid says yes or no, and there are three classes or more"
    return "which is a distance between numbers, and classes have none"


def fit_head(loss: str, features: int, classes: int, target: NDArray[Any]) -> nn.Module:
    """The head for a loss; a regression's units come from the given (training) targets."""
    match loss:
        case "cross_entropy":
            return Logits(features, classes)
        case "binary_cross_entropy":
            return Logits(features, 1)
    spread = float(np.std(target))
    return Regression(features, float(np.mean(target)), spread if spread > 0 else 1.0)


def to_prediction(loss: str, output: NDArray[Any]) -> NDArray[np.float64]:
    """What outputs ``[…, N, C]`` say: probabilities ``[…, N, C]``, for a binary task two; or numbers ``[…, N]``."""
    z: NDArray[np.float64] = output.astype(np.float64)
    match loss:
        case "cross_entropy":
            z = np.exp(z - z.max(axis=-1, keepdims=True))
            return np.asarray(z / z.sum(axis=-1, keepdims=True))
        case "binary_cross_entropy":
            z = z[..., 0]  # each side on its own: 1 − p would round a small probability to 0
            return np.stack([expit(-z), expit(z)], axis=-1)
    return z[..., 0]
