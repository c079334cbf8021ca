"""Optimisers and schedules over stacks: pure functions of (state, gradient, step)."""

from lockstep.optim.clip import clip_factors
from lockstep.optim.rules import Rule, rule_for
from lockstep.optim.schedules import epoch_rates, unfinished

__all__ = ["Rule", "clip_factors", "epoch_rates", "rule_for", "unfinished"]
