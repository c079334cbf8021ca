"""The precision of products: that of the weights, or a coarser one that was measured to be faster and to do no harm."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from lockstep.engine import machine
from lockstep.engine.loop import Problem
from lockstep.engine.population import Member
from lockstep.engine.refusals import first_sentence
from lockstep.engine.structure import dtype_of
from lockstep.engine.trial import PASSES, Paced, paced
from lockstep.errors import SpecError

PRECISIONS = ("auto", "float32", "bfloat16", "tf32")
STEPS, FEWEST = 20, 5  # that are taken to find out
SHARE = 0.1  # of a run's steps, at most, all passes together
WORTH = 10.0  # seconds; a run that is over sooner is not worth finding out for
PAYS = 1.1  # times as fast: less is noise, and no reason to round
HARMS = 0.01  # of the loss
GIVES_UP = 4  # times as slow at first: not tried again
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
    modules: Sequence[nn.Module],
    members: Sequence[Member],
    problem: Problem,
    coarser: Mapping[str, Problem],
    networks: int,
) -> tuple[str, str]:
    """The precision of products, and why. ``problem`` is in that of the weights, ``coarser`` are the same in each other
    one that could be taken; all name their executors. ``networks`` such networks train in all.

    Those given take a few steps in each, from the same weights on the same rows: a coarser one is taken if its steps
    take less time and its losses are no higher.
    """
    member, share = members[0], SHARE / PASSES / (1 + len(coarser))
    steps = min(STEPS, member.steps, int(share * member.all_steps))
    if steps < FEWEST:
        return problem.precision, f"that of the weights; {member.all_steps:,} steps are too few for measuring another"
    try:
        exact = paced(modules, members, problem, steps)
    except Exception as error:  # training meets it too, and says more
        return problem.precision, f"that of the weights; not measured: {first_sentence(str(error))}"
    if exact.seconds * member.all_steps * networks / len(members) < WORTH:
        return problem.precision, "that of the weights; over too soon for another one to be worth measuring"
    found, failed = {}, []
    for precision, one in coarser.items():
        try:
            found[precision] = paced(modules, members, one, steps, limit=GIVES_UP * steps * exact.seconds)
        except Exception as error:
            failed.append(f"{precision} cannot be measured: {first_sentence(str(error))}")
    return judged(exact, found, failed)


def judged(exact: Paced, found: Mapping[str, Paced], failed: Sequence[str] = ()) -> tuple[str, str]:
    """The fastest precision that does no harm, and why, after the steps in float32 and in the coarser ones."""
    told = "; ".join([*(f"{name}: {in_words(exact, one)}" for name, one in found.items()), *failed])
    fit = {name: one.seconds for name, one in found.items() if pays(exact, one) and not harms(exact, one)}
    if not fit:
        return "float32", f"that of the weights; measured: {told}"
    return min(fit, key=fit.__getitem__), f"measured: {told}; {KEPT}"


def pays(exact: Paced, other: Paced) -> bool:
    return exact.seconds >= PAYS * other.seconds


def harms(exact: Paced, other: Paced) -> bool:
    """Whether the loss is higher by more than rounding moves it, or none at all."""
    return not other.loss - exact.loss <= HARMS * abs(exact.loss)


def in_words(exact: Paced, other: Paced) -> str:
    """``"1.8 × as fast as float32, loss 0.693 where it was 0.692"``."""
    speed = f"{exact.seconds / other.seconds:.2g} × as fast as float32"
    return f"{speed}, loss {other.loss:.4g} where it was {exact.loss:.4g}"
