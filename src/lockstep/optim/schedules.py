"""Learning-rate schedules: the rates of one epoch's steps, as a table."""

import math

import torch
from torch import Tensor

from lockstep.spec import Constant, CosineAnnealingLR, Schedule


def epoch_rates(schedule: Schedule, numbers: dict[str, Tensor], epoch: int, epochs: int, steps: int) -> Tensor:
    """The rates ``[S, K]`` (float64) of the ``steps`` steps of epoch ``epoch`` (from 0) of a run of ``epochs``.

    ``numbers`` holds the base rate ``lr`` and the schedule's own numbers, each ``[K]``.
    """
    match schedule:
        case Constant():
            rate = numbers["lr"]
        case CosineAnnealingLR(T_max=T_max):
            rate = _cosine(numbers["lr"], numbers["eta_min"], epoch, T_max or epochs)
        case _:
            raise AssertionError(f"no rates for {schedule!r}")
    return rate.expand(steps, -1).to(torch.float64)


def _cosine(lr: Tensor, eta_min: Tensor, epoch: int, T_max: int) -> Tensor:
    """``η_min + (η − η_min)(1 + cos(π t/T))/2``: torch's closed form, by epoch."""
    return eta_min + (lr - eta_min) * (1 + math.cos(math.pi * epoch / T_max)) / 2
