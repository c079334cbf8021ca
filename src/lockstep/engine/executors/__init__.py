"""Ways of running the step, and which of them a stack takes.

The step is the same for all; an executor is where its gradients come from. Each says of a network whether it can train
it, and makes the gradients of a stack.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lockstep.engine.backprop import NotWritten, written, written_gradients
from lockstep.engine.backprop.losses import LOSSES_AND_DELTAS, fits
from lockstep.engine.executors.eager import autograd_gradients
from lockstep.engine.stack import Stack
from lockstep.engine.step import Gradients, Resident
from lockstep.errors import SpecError
from lockstep.network.losses import LossFunction


@dataclass(frozen=True)
class Objective:
    """What is minimised, on which data. ``name`` is empty for a user's own loss function."""

    name: str
    loss: LossFunction
    data: Resident


@dataclass(frozen=True)
class Executor:
    """``refusal`` says why a network cannot be trained by it (None where it can)."""

    gradients: Callable[[Stack, Objective], Gradients]
    refusal: Callable[[nn.Module, Objective], str | None]


def by_autograd(stack: Stack, objective: Objective) -> Gradients:
    return autograd_gradients(stack, objective.loss)


def by_chain_rule(stack: Stack, objective: Objective) -> Gradients:
    return written_gradients(stack, written(stack.originals[0], objective.data.inputs), objective.name)


def not_by_chain_rule(module: nn.Module, objective: Objective) -> str | None:
    if objective.name not in LOSSES_AND_DELTAS:
        return "the loss is a function of your own, whose derivative only autograd knows"
    try:
        network = written(module, objective.data.inputs)
    except NotWritten as reason:
        return str(reason)
    targets = objective.data.targets
    if not fits(objective.name, network.output, targets):
        return f"{objective.name} does not take an output of shape {[*network.output]} with such targets"
    return None


EXECUTORS: dict[str, Executor] = {
    "eager": Executor(by_autograd, lambda *_: None),
    "backprop": Executor(by_chain_rule, not_by_chain_rule),
}
NAMES = ("auto", *EXECUTORS)


def checked_name(name: str) -> str:
    """``name`` if it is one. Raises ``SpecError``."""
    if name not in NAMES:
        raise SpecError(f"executor must be {', '.join(NAMES[:-1])} or {NAMES[-1]}, however: {name!r}.")
    return name


def pick(wanted: str, module: nn.Module, objective: Objective, *, mapped: bool = True) -> tuple[str, str]:
    """The executor that a stack of such modules takes, and why. Raises ``SpecError`` for one that cannot train it.

    ``auto`` is the faster one where it was measured (docs/decisions/0005-backprop.md). ``mapped``: see ``Stack``.
    """
    if checked_name(wanted) == "eager":
        return "eager", "asked for"
    refusal = EXECUTORS["backprop"].refusal(module, objective) if mapped else "its networks train one after another"
    if wanted == "backprop":
        if refusal:
            raise SpecError(
                f"executor=backprop needs a chain of layers whose backward is written out, however: {refusal}. "
                "Take executor=auto."
            )
        return "backprop", "asked for"
    if refusal:
        return "eager", f"autograd, as {refusal}"
    if objective.data.targets.device.type != "cpu":
        return "eager", "autograd; backprop was measured to be faster on a CPU alone"
    return "backprop", "a chain of layers: the chain rule written out, which is faster than autograd on a CPU"


def gradients_of(wanted: str, stack: Stack, objective: Objective) -> Gradients:
    """How the gradients of ``stack`` are made by the executor that ``pick`` takes.

    ``gradients(params [K, P], buffers, keys, inputs, targets, loss numbers)`` returns them ``[K, P]``
    (``stack.layout.views`` gives each by name, in its parameter's shape), the losses ``[K]``, and the buffers.
    """
    name, _ = pick(wanted, stack.originals[0], objective, mapped=stack.mapped)
    return EXECUTORS[name].gradients(stack, objective)


__all__ = ["EXECUTORS", "NAMES", "Executor", "Objective", "checked_name", "gradients_of", "pick"]
