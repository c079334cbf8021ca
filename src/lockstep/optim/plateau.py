"""What ``ReduceLROnPlateau`` remembers from epoch to epoch, per member."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lockstep.spec import ReduceLROnPlateau

Numbers = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Plateau:
    """Each ``[K]`` float64 on the host: the ``rate`` now, the ``best`` value, how many epochs in a row were ``bad``,
    and the epochs of ``cooldown`` left."""

    rate: Tensor
    best: Tensor
    bad: Tensor
    cooldown: Tensor

    def rows(self, keep: Tensor) -> "Plateau":
        """The members at the given positions alone."""
        return Plateau(self.rate[keep], self.best[keep], self.bad[keep], self.cooldown[keep])


def fresh_plateau(lr: Tensor) -> Plateau:
    """Before the first epoch; ``lr`` ``[K]``."""
    nothing = torch.zeros_like(lr)
    return Plateau(lr, torch.full_like(lr, float("inf")), nothing, nothing)


def after_epoch(schedule: ReduceLROnPlateau, numbers: Numbers, plateau: Plateau, value: Tensor) -> Plateau:
    """What it is after an epoch with the watched ``value`` ``[K]``, smaller is better: torch's ``step``.

    A value below 0 is an accuracy (or the like) with its sign changed, to which torch's ``mode="max"`` belongs.
    """
    match schedule.threshold_mode:
        case "rel":
            bar = plateau.best * (1 - numbers["threshold"] * plateau.best.sign())
        case "abs":
            bar = plateau.best - numbers["threshold"]
    better = value < bar
    bad = torch.where(better, 0.0, plateau.bad + 1)
    cooling = plateau.cooldown > 0
    bad = torch.where(cooling, 0.0, bad)
    due = bad > schedule.patience
    lower = torch.maximum(plateau.rate * numbers["factor"], numbers["min_lr"])
    return Plateau(
        rate=torch.where(due & (plateau.rate - lower > numbers["eps"]), lower, plateau.rate),
        best=torch.where(better, value, plateau.best),
        bad=torch.where(due, 0.0, bad),
        cooldown=torch.where(due, float(schedule.cooldown), plateau.cooldown - cooling.to(value.dtype)),
    )
