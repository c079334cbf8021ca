"""Optimisers and schedules over stacks: pure functions of (state, gradient, step)."""

from lockstep.optim.clip import clip_factors
from lockstep.optim.plateau import Plateau, after_epoch, fresh_plateau
from lockstep.optim.rules import Rule, averaging, rule_for, sparing
from lockstep.optim.schedules import epoch_momenta, epoch_rates, unfinished

__all__ = [
    "Plateau",
    "Rule",
    "after_epoch",
    "averaging",
    "clip_factors",
    "epoch_momenta",
    "epoch_rates",
    "fresh_plateau",
    "rule_for",
    "sparing",
    "unfinished",
]
