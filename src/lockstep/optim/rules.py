"""The update rules of a stack: torch's optimisers with every number a column ``[K, 1]``.

A rule works in two parts. ``coefficients`` turns the members' hyper-parameters ``[K]`` and rates ``[S, K]`` into the
factors of ``S`` steps, in float64 on the host as ``torch.optim`` does in Python floats. ``update`` applies the factors
of one step to ``[K, P]`` tensors in place. What changes from step to step is thus data, and the update never branches.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lockstep.spec import SGD, Adam, AdamW, Optimizer, RMSprop

Numbers = dict[str, Tensor]


@dataclass(frozen=True)
class Rule:
    """One optimiser over a stack.

    ``moments`` names its state tensors, each ``[K, P]`` and zero at the start. ``coefficients(numbers, rates, taken)``
    takes ``numbers`` ``[K]`` (or ``[S, K]``, for one that a schedule moves), ``rates`` ``[S, K]`` and the count of
    steps already taken, all float64, and returns ``[S, K]`` tensors. ``update(params, grads, moments, factors)``
    changes ``params`` and ``moments`` in place; ``factors`` are ``[K, 1]``, and ``decay`` may be ``[K, P]``.
    ``kind`` says which rule it is, ``decayed`` ``[P]`` where it has weight decay (None: everywhere), for those who
    update by themselves.
    """

    kind: str
    moments: tuple[str, ...]
    coefficients: Callable[[Numbers, Tensor, int], Numbers]
    update: Callable[[Tensor, Tensor, Numbers, Numbers], None]
    decayed: Tensor | None = None


def rule_for(optimizer: Optimizer) -> Rule:
    """The rule of an optimiser's kind; its numbers arrive with the coefficients."""
    match optimizer:
        case SGD(nesterov=True):
            return Rule("nesterov", ("velocity",), _sgd_coefficients, _nesterov_update)
        case SGD():
            return Rule("sgd", ("velocity",), _sgd_coefficients, _sgd_update)
        case RMSprop(centered=True):
            return Rule("rmsprop_centred", ("square", "velocity", "mean"), _rmsprop_coefficients, _rmsprop_update)
        case RMSprop():
            return Rule("rmsprop", ("square", "velocity"), _rmsprop_coefficients, _rmsprop_update)
        case Adam():
            return Rule("adam", ("mean", "square"), _adam_coefficients, _adam_update)
        case AdamW():
            return Rule("adamw", ("mean", "square"), _adamw_coefficients, _adamw_update)
    raise AssertionError(f"no rule for {optimizer!r}")


def sparing(rule: Rule, decayed: Tensor) -> Rule:
    """``rule`` with weight decay only where ``decayed`` ``[P]`` is 1, and none where it is 0."""

    def update(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
        rule.update(params, grads, moments, factors | {"decay": factors["decay"] * decayed})

    return replace(rule, update=update, decayed=decayed)


def averaging(rule: Rule) -> Rule:
    """``rule`` with a moving average of the weights beside it, the moment ``average``: ``a ← da + (1 − d)θ`` after each
    step, ``d`` being the number ``ema``; after the first step it is the weights themselves."""

    def coefficients(numbers: Numbers, rates: Tensor, taken: int) -> Numbers:
        fresh = (1 - numbers["ema"]).expand_as(rates).clone()
        if taken == 0 and len(fresh):
            fresh[0] = 1.0
        return rule.coefficients(numbers, rates, taken) | {"average": fresh}

    def update(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
        rule.update(params, grads, moments, factors)
        moments["average"].lerp_(params, factors["average"])

    return replace(rule, moments=(*rule.moments, "average"), coefficients=coefficients, update=update)


def _sgd_coefficients(numbers: Numbers, rates: Tensor, taken: int) -> Numbers:
    """torch starts the velocity at the first gradient, undamped, and without momentum knows no dampening."""
    momentum = numbers["momentum"].expand_as(rates)
    fresh = torch.where(momentum == 0, 1.0, 1 - numbers["dampening"]).expand_as(rates).clone()
    if taken == 0 and len(fresh):
        fresh[0] = 1.0
    return {"lr": rates, "momentum": momentum, "fresh": fresh, "decay": numbers["weight_decay"].expand_as(rates)}


def _sgd_update(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
    """``v ← μv + g``, ``θ ← θ − ηv`` with weight decay in the gradient."""
    grads = grads + factors["decay"] * params
    velocity = moments["velocity"]
    velocity.mul_(factors["momentum"]).add_(grads.mul_(factors["fresh"]))
    params.sub_(factors["lr"] * velocity)


def _nesterov_update(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
    """``v ← μv + g``, ``θ ← θ − η(g + μv)``."""
    grads = grads + factors["decay"] * params
    velocity = moments["velocity"]
    velocity.mul_(factors["momentum"]).add_(grads)
    params.sub_(grads.add_(factors["momentum"] * velocity).mul_(factors["lr"]))


def _rmsprop_coefficients(numbers: Numbers, rates: Tensor, _taken: int) -> Numbers:
    return {
        "lr": rates,
        "alpha": numbers["alpha"].expand_as(rates),
        "fresh": (1 - numbers["alpha"]).expand_as(rates),
        "eps": numbers["eps"].expand_as(rates),
        "decay": numbers["weight_decay"].expand_as(rates),
        "momentum": numbers["momentum"].expand_as(rates),
    }


def _rmsprop_update(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
    """``v ← αv + (1−α)g²``, ``u ← μu + g/(√v + ε)``, ``θ ← θ − ηu``; centred, ``v`` less the square of the mean."""
    grads = grads + factors["decay"] * params
    square, velocity, mean = moments["square"], moments["velocity"], moments.get("mean")
    square.mul_(factors["alpha"]).add_((grads * grads).mul_(factors["fresh"]))
    spread = square
    if mean is not None:
        mean.lerp_(grads, factors["fresh"])
        spread = square - mean * mean
    velocity.mul_(factors["momentum"]).add_(grads.div_(spread.sqrt().add_(factors["eps"])))
    params.sub_(factors["lr"] * velocity)


def _adam_coefficients(numbers: Numbers, rates: Tensor, taken: int) -> Numbers:
    t = torch.arange(taken + 1, taken + 1 + len(rates), dtype=torch.float64)[:, None]
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    return {
        "step_size": rates / (1 - beta1**t),
        "unbias": (1 - beta2**t).rsqrt(),
        "fresh1": (1 - beta1).expand_as(rates),
        "beta2": beta2.expand_as(rates),
        "fresh2": (1 - beta2).expand_as(rates),
        "eps": numbers["eps"].expand_as(rates),
        "decay": numbers["weight_decay"].expand_as(rates),
    }


def _adamw_coefficients(numbers: Numbers, rates: Tensor, taken: int) -> Numbers:
    return _adam_coefficients(numbers, rates, taken) | {"decay": rates * numbers["weight_decay"]}


def _adam_update(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
    """Adam with weight decay, if any, in the gradient."""
    _adam_step(params, grads + factors["decay"] * params, moments, factors)


def _adamw_update(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
    """Adam with weight decay beside the gradient: ``θ ← θ(1 − ηλ)`` first."""
    params.addcmul_(params, factors["decay"], value=-1)
    _adam_step(params, grads, moments, factors)


def _adam_step(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
    """``m ← β₁m + (1−β₁)g``, ``v ← β₂v + (1−β₂)g²``, ``θ ← θ − η m̂/(√v̂ + ε)``, hats as in Kingma and Ba 2015."""
    mean, square = moments["mean"], moments["square"]
    mean.lerp_(grads, factors["fresh1"])
    square.mul_(factors["beta2"]).add_((grads * grads).mul_(factors["fresh2"]))
    scale = square.sqrt().mul_(factors["unbias"]).add_(factors["eps"])
    params.sub_(scale.reciprocal_().mul_(mean).mul_(factors["step_size"]))
