"""Learning-rate schedules: the rates of one epoch's steps, as a table."""

import math

import torch
from torch import Tensor

from lockstep.spec import Constant, CosineAnnealingLR, ExponentialLR, Schedule, StepLR


def epoch_rates(schedule: Schedule, numbers: dict[str, Tensor], epoch: int, epochs: int, steps: int) -> Tensor:
    """The rates ``[S, K]`` (float64) of the ``steps`` steps of epoch ``epoch`` (from 0) of a run of ``epochs``.

    ``numbers`` holds the base rate ``lr`` and the schedule's own numbers, each ``[K]``.
    """
    match schedule:
        case Constant():
            rate = numbers["lr"]
        case StepLR(step_size=step_size):
            rate = numbers["lr"] * numbers["gamma"] ** (epoch // step_size)
        case ExponentialLR():
            rate = numbers["lr"] * numbers["gamma"] ** epoch
        case CosineAnnealingLR(T_max=T_max):
            rate = _cosine(numbers["lr"], numbers["eta_min"], epoch, T_max or epochs)
        case _:
            raise AssertionError(f"no rates for {schedule!r}")
    return rate.expand(steps, -1).to(torch.float64)


def unfinished(schedule: Schedule, epochs: int) -> str | None:
    """The setting by which a schedule is longer than the run, as ``"T_max=200"``; None where it is not."""
    match schedule:
        case CosineAnnealingLR(T_max=int(T_max)) if T_max > epochs:
            return f"T_max={T_max}"
        case StepLR(step_size=step_size) if step_size >= epochs:
            return f"step_size={step_size}"
    return None


def _cosine(lr: Tensor, eta_min: Tensor, epoch: int, T_max: int) -> Tensor:
    """``η_min + (η − η_min)(1 + cos(π t/T))/2``: torch's closed form, by epoch."""
    return eta_min + (lr - eta_min) * (1 + math.cos(math.pi * epoch / T_max)) / 2
