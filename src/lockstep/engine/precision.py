"""The precision of products: that of the weights, or a coarser one that was measured to be faster and to do no harm."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from lockstep.engine import machine
from lockstep.engine.executors import EXECUTORS
from lockstep.engine.loop import Problem
from lockstep.engine.population import Member
from lockstep.engine.structure import dtype_of
from lockstep.engine.trial import Paced, paced
from lockstep.errors import SpecError

PRECISIONS = ("auto", "float32", "bfloat16", "tf32")
TRIED = 8  # networks of a stack
STEPS = 20  # that they take
SHARE = 0.02  # of a run's steps may be taken to find out
WORTH = 10.0  # seconds; a run that is over sooner is not worth finding out for
PAYS = 1.1  # times as fast: less is noise, and no reason to round
HARMS = 0.01  # of the loss
KEPT = "weights, sums and statistics stay float32"


def checked_precision(wanted: str, device: torch.device, module: nn.Module) -> str:
    """``wanted``, or for ``auto`` that of the network's weights. Raises ``SpecError`` for one that this device or
    these networks lack."""
    own = str(dtype_of(module)).removeprefix("torch.")
    if wanted in ("auto", own):
        return own
    if own != "float32":
        raise SpecError(f"precision={wanted} needs weights in float32, however: {own}. Take precision=auto.")
    if wanted == "tf32" and device.type != "cuda":
        raise SpecError(f"precision=tf32 needs a GPU of NVIDIA's, however: {device.type}. Take precision=float32.")
    return wanted


def asked_for(precision: str, device: torch.device) -> str:
    """Why products are in a ``precision`` that was asked for."""
    if precision not in ("bfloat16", "tf32"):
        return "asked for"
    slow = ", though it is slow here: no instruction has such products"
    here = slow if precision == "bfloat16" and not machine.has_bfloat16(device) else ""
    return f"asked for{here}; {KEPT}"


def measured_precision(
    modules: Sequence[nn.Module], members: Sequence[Member], problem: Problem, wanted: str
) -> tuple[str, str]:
    """The precision of a stack's products, and why. ``problem`` is in that of its weights and names the executor for
    it; ``wanted`` is the executor that was asked for, or ``auto``.

    The first networks take a few steps in each precision that the device has, from the same weights on the same rows:
    a coarser one is taken if its steps take less time and its losses are no higher.
    """
    own, device, member = problem.precision, problem.data.targets.device, members[0]
    if own != "float32":
        return own, "the precision of the networks' own weights"
    if not (known := machine.coarser(device)):
        return own, f"that of the weights; this {device.type} has no products in bfloat16"
    coarser = {name: replace(problem, precision=name, executor=wanted) for name in known}
    if wanted != "auto" and (why := EXECUTORS[wanted].refusal(modules[0], coarser["bfloat16"].objective)):
        return own, f"that of the weights; executor={wanted} was asked for, and {why}"
    few, ours = modules[:TRIED], members[:TRIED]
    steps = max(1, min(STEPS, member.steps, int(SHARE * member.all_steps)))
    try:
        exact = paced(few, ours, problem, steps)
        if exact.seconds * member.all_steps * len(modules) / len(few) < WORTH:
            return own, "that of the weights; over too soon for another one to be worth measuring"
        found = {name: paced(few, ours, one, steps) for name, one in coarser.items()}
    except Exception:  # training finds out by itself what is wrong with these networks, and says it
        return own, "that of the weights; another one could not be measured"
    return judged(exact, found)


def judged(exact: Paced, found: dict[str, Paced]) -> tuple[str, str]:
    """The fastest precision that does no harm, and why, after the steps in float32 and in the coarser ones."""
    told = "; ".join(f"{name}: {in_words(exact, one)}" for name, one in found.items())
    fit = {name: one.seconds for name, one in found.items() if pays(exact, one) and not harms(exact, one)}
    if not fit:
        return "float32", f"that of the weights; {told}"
    return min(fit, key=fit.__getitem__), f"{told}; {KEPT}"


def pays(exact: Paced, other: Paced) -> bool:
    return exact.seconds >= PAYS * other.seconds


def harms(exact: Paced, other: Paced) -> bool:
    """Whether the loss is higher by more than rounding moves it, or none at all."""
    return not other.loss - exact.loss <= HARMS * abs(exact.loss)


def in_words(exact: Paced, other: Paced) -> str:
    """``"1.8 × as fast as float32, loss 0.693 instead of 0.692"``."""
    speed = f"{exact.seconds / other.seconds:.2g} × as fast as float32"
    return f"{speed}, loss {other.loss:.4g} where it was {exact.loss:.4g}"
