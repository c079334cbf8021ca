"""Ways of running the step, and which of them a stack takes.

What a step does is the same for all. Each says of a network whether it can train it, and makes of a stack its runner:
the step with gradients from autograd, around kernels where layers have them, or from the chain rule written out, or
many whole steps at once, in C++ or as a CUDA graph.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from lockstep.engine.backprop import NotWritten, written, written_gradients
from lockstep.engine.backprop.losses import LOSSES_AND_DELTAS, fits
from lockstep.engine.executors import cudagraph
from lockstep.engine.executors.eager import autograd_gradients
from lockstep.engine.forward import outputs_on_own_rows
from lockstep.engine.native import fused_stack, is_made, native_runner, no_kernels
from lockstep.engine.native import refusal as native_refusal
from lockstep.engine.stack import Stack
from lockstep.engine.step import Gradients, Resident, Runner, make_step, one_by_one
from lockstep.engine.structure import dtype_of
from lockstep.errors import SpecError
from lockstep.network.losses import LossFunction
from lockstep.optim import Rule


@dataclass(frozen=True)
class Objective:
    """What is minimised, on which data, with products in which precision. ``name`` is empty for a user's own loss
    function."""

    name: str
    loss: LossFunction
    data: Resident
    precision: str = "float32"


@dataclass(frozen=True)
class Executor:
    """``refusal`` says why a network cannot be trained by it (None where it can), ``needs`` what it takes."""

    needs: str
    runner: Callable[[Stack, Objective, Rule], Runner]
    refusal: Callable[[nn.Module, Objective], str | None]


def stepping(gradients: Callable[[Stack, Objective], Gradients]) -> Callable[[Stack, Objective, Rule], Runner]:
    """The runner that takes the step with these gradients, one after another."""

    def runner(stack: Stack, objective: Objective, rule: Rule) -> Runner:
        step = make_step(stack, objective.data, gradients(stack, objective), rule)
        return Runner(one_by_one(step), partial(outputs_on_own_rows, stack, objective.data))

    return runner


def by_autograd(stack: Stack, objective: Objective) -> Gradients:
    return autograd_gradients(stack, objective.loss, objective.precision, plain=bool(objective.name))


def by_fused_layers(stack: Stack, objective: Objective, rule: Rule) -> Runner:
    return stepping(by_autograd)(fused_stack(stack), objective, rule)


def by_cuda_graphs(stack: Stack, objective: Objective, rule: Rule) -> Runner:
    capture = cudagraph.CudaGraphs(stack.params.device)
    return cudagraph.replaying(stepping(by_autograd)(stack, objective, rule), capture)


def by_chain_rule(stack: Stack, objective: Objective) -> Gradients:
    return written_gradients(stack, written(stack.originals[0], objective.data.inputs), objective.name)


def by_kernels(stack: Stack, objective: Objective, rule: Rule) -> Runner:
    return native_runner(stack, objective.data, objective.name, rule)


def not_by_chain_rule(module: nn.Module, objective: Objective) -> str | None:
    if objective.precision == "bfloat16":
        return "it has no products in bfloat16"
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


def not_by_fused_layers(module: nn.Module, objective: Objective) -> str | None:
    if objective.data.targets.device.type != "cpu":
        return "its kernels are for a CPU"
    if objective.precision == "bfloat16":
        return "it has no products in bfloat16"
    return no_kernels(module)


def not_by_kernels(module: nn.Module, objective: Objective) -> str | None:
    if objective.data.targets.device.type != "cpu":
        return "its kernels are for a CPU"
    return not_by_chain_rule(module, objective) or native_refusal(module, objective.data.inputs)


def not_by_cuda_graphs(module: nn.Module, objective: Objective) -> str | None:
    return cudagraph.refusal(partial(by_autograd, objective=objective), module, objective.data)


EXECUTORS: dict[str, Executor] = {
    "eager": Executor("nothing", stepping(by_autograd), lambda *_: None),
    "fused": Executor(
        "convolutions over images, recurrence or attention of the families, on a CPU that has a C++ compiler",
        by_fused_layers,
        not_by_fused_layers,
    ),
    "backprop": Executor("a chain of layers whose backward is written out", stepping(by_chain_rule), not_by_chain_rule),
    "compiled": Executor("a chain of layers on a CPU that has a C++ compiler", by_kernels, not_by_kernels),
    "cudagraph": Executor("a GPU that a step never waits for", by_cuda_graphs, not_by_cuda_graphs),
}
NAMES = ("auto", *EXECUTORS)


def checked_name(name: str) -> str:
    """``name`` if it is one. Raises ``SpecError``."""
    if name not in NAMES:
        raise SpecError(f"executor must be {', '.join(NAMES[:-1])} or {NAMES[-1]}, however: {name!r}.")
    return name


def pick(
    wanted: str,
    module: nn.Module,
    objective: Objective,
    *,
    mapped: bool = True,
    kernels: bool = True,
    steps: int | None = None,
) -> tuple[str, str]:
    """The executor that a stack of such modules takes, and why. Raises ``SpecError`` for one that cannot train it.

    ``auto`` is the fastest where it was measured (docs/decisions/0005-backprop.md, 0007-kernels.md,
    0008-stacks-of-families.md; on a GPU nothing was yet, 0009-cudagraph.md); without ``kernels``, of those that need no
    compiler. ``mapped``: see ``Stack``. ``steps`` are those of the whole run, where they are known.
    """
    if checked_name(wanted) == "eager":
        return "eager", "asked for"
    apart = None if mapped else "its networks train one after another"
    if wanted != "auto":
        if refusal := apart or EXECUTORS[wanted].refusal(module, objective):
            needs = EXECUTORS[wanted].needs
            raise SpecError(f"executor={wanted} needs {needs}, however: {refusal}. Take executor=auto.")
        return wanted, "asked for"
    if apart:
        return "eager", f"autograd, as {apart}"
    if objective.data.targets.device.type != "cpu":
        return on_an_accelerator(module, objective, steps)
    if refusal := not_by_chain_rule(module, objective):
        if not kernels:
            return "eager", f"autograd, as {refusal}"
        if why := not_by_fused_layers(module, objective):
            return "eager", f"autograd, as {refusal}; not fused, as {why}"
        return "fused", f"autograd, as {refusal}, around layers for which this machine's compiler has made kernels"
    by_chain_rule = "a chain of layers: the chain rule written out, faster than autograd"
    if not kernels:
        return "backprop", by_chain_rule
    if refusal := native_refusal(module, objective.data.inputs):
        return "backprop", f"{by_chain_rule}; not compiled, as {refusal}"
    return "compiled", "a chain of layers, for which this machine's compiler has made kernels: many steps in one call"


def on_an_accelerator(module: nn.Module, objective: Objective, steps: int | None) -> tuple[str, str]:
    """What ``auto`` takes where a CPU's kernels are none."""
    if steps is not None and steps < cudagraph.WORTH_IT:
        return "eager", f"autograd; {steps} steps are too few for recording them as a CUDA graph to pay"
    if refusal := EXECUTORS["cudagraph"].refusal(module, objective):
        return "eager", f"autograd; not cudagraph, which needs {EXECUTORS['cudagraph'].needs}, as {refusal}"
    return "cudagraph", f"autograd, recorded as a CUDA graph: {cudagraph.AT_ONCE} steps in one launch"


def must_compile(module: nn.Module, objective: Objective) -> bool:
    """Whether the executor that ``auto`` takes has kernels that are not made yet on this machine."""
    if objective.data.targets.device.type != "cpu" or objective.precision == "bfloat16":
        return False
    if not_by_chain_rule(module, objective) is None:
        source, refusal = "train", native_refusal(module, objective.data.inputs, is_made)
    else:
        source, refusal = "parts", no_kernels(module, is_made)
    return refusal is None and not is_made(dtype_of(module), source)


def runner_of(wanted: str, stack: Stack, objective: Objective, rule: Rule) -> Runner:
    """How ``stack`` is trained by the executor that ``pick`` takes."""
    name, _ = pick(wanted, stack.originals[0], objective, mapped=stack.mapped)
    return EXECUTORS[name].runner(stack, objective, rule)


__all__ = ["EXECUTORS", "NAMES", "Executor", "Objective", "checked_name", "must_compile", "pick", "runner_of"]
