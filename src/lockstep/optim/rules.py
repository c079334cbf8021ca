"""The update rules of a stack: torch's optimisers with every number a column ``[K, 1]``.

A rule works in two parts. ``coefficients`` turns the members' hyper-parameters ``[K]`` and rates ``[S, K]`` into the
factors of ``S`` steps, in float64 on the host as ``torch.optim`` does in Python floats. ``update`` applies the factors
of one step to ``[K, P]`` tensors in place. What changes from step to step is thus data, and the update never branches.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lockstep.spec import SGD, Adam, AdamW, Optimizer, RMSprop

Numbers = dict[str, Tensor]
_LONG_AGO = torch.tensor(1e30)  # steps


@dataclass(frozen=True)
class Rule:
    """One optimiser over a stack.

    ``moments`` names its state tensors, each ``[K, P]`` and zero at the start. ``coefficients(numbers, rates, taken)``
    takes ``numbers`` ``[K]`` (or ``[S, K]``, for one that a schedule moves), ``rates`` ``[S, K]`` and the count of
    steps already taken, all float64, and returns ``[S, K]`` tensors. ``update(params, grads, moments, factors)``
    changes ``params`` and ``moments`` in place, and ``grads``, which are of no use after it; ``factors`` are
    ``[K, 1]``, and ``decay`` may be ``[K, P]``.
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
    grads.addcmul_(params, factors["decay"])
    velocity = moments["velocity"].mul_(factors["momentum"]).addcmul_(grads, factors["fresh"])
    params.addcmul_(velocity, factors["lr"], value=-1)


def _nesterov_update(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
    """``v ← μv + g``, ``θ ← θ − η(g + μv)``."""
    grads.addcmul_(params, factors["decay"])
    velocity = moments["velocity"].mul_(factors["momentum"]).add_(grads)
    params.addcmul_(grads.addcmul_(velocity, factors["momentum"]), factors["lr"], value=-1)


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
    grads.addcmul_(params, factors["decay"])
    square, velocity, mean = moments["square"], moments["velocity"], moments.get("mean")
    square.lerp_(grads * grads, factors["fresh"])
    spread = square
    if mean is not None:
        mean.lerp_(grads, factors["fresh"])
        spread = torch.addcmul(square, mean, mean, value=-1)
    velocity.mul_(factors["momentum"]).add_(grads.div_(spread.sqrt().add_(factors["eps"])))
    params.addcmul_(velocity, factors["lr"], value=-1)


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
    _adam_step(params, grads.addcmul_(params, factors["decay"]), moments, factors)


def _adamw_update(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
    """Adam with weight decay beside the gradient: ``θ ← θ(1 − ηλ)`` first."""
    params.addcmul_(params, factors["decay"], value=-1)
    _adam_step(params, grads, moments, factors)


def _adam_step(params: Tensor, grads: Tensor, moments: Numbers, factors: Numbers) -> None:
    """``m ← β₁m + (1−β₁)g``, ``v ← β₂v + (1−β₂)g²``, ``θ ← θ − η m̂/(√v̂ + ε)``, hats as in Kingma and Ba 2015, whose
    ``√v̂ = √v/√(1−β₂ᵗ)`` goes into the rate and ``ε`` here, as it does there (section 2)."""
    mean, square = moments["mean"], moments["square"]
    rate, eps = factors["step_size"] / factors["unbias"], factors["eps"] / factors["unbias"]
    if numbers_at_hand(params):
        numbers = (x.flatten().tolist() for x in (factors["fresh1"], factors["fresh2"], rate, eps))
        _in_one_pass(zip(params, grads, mean, square, strict=True), zip(*numbers, strict=True))
        return
    mean.lerp_(grads, factors["fresh1"])
    square.lerp_(grads.square_(), factors["fresh2"])
    scale = torch.sqrt(square, out=grads).add_(eps)
    params.addcmul_(mean.div(scale), rate, value=-1)


def numbers_at_hand(params: Tensor) -> bool:
    """Whether Python may read a step's numbers: on a GPU it would wait for them, and in a recording they stay."""
    return params.device.type == "cpu"


def _in_one_pass(rows: Iterable[tuple[Tensor, ...]], numbers: Iterable[tuple[float, ...]]) -> None:
    """The same by torch's kernel of ``Adam(fused=True)``, which reads and writes a member's memory once: half the time
    of the passes above. It is told that training began long ago, for the bias of the moments is in its numbers."""
    for (param, grad, mean, square), (fresh1, fresh2, rate, eps) in zip(rows, numbers, strict=True):
        torch._fused_adam_(
            [param], [grad], [mean], [square], [], [_LONG_AGO], lr=rate, beta1=1 - fresh1, beta2=1 - fresh2,
            weight_decay=0.0, eps=eps, amsgrad=False, maximize=False,
        )  # fmt: skip
