"""The plan: how a run is executed, each choice with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lockstep.engine.population import Population
from lockstep.engine.step import Resident
from lockstep.engine.structure import structure


@dataclass(frozen=True)
class Choice:
    """One choice: what was chosen, the value, and why."""

    choice: str
    value: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """How a run is executed: the ``executor`` by name, and all choices with reasons, as they are shown."""

    executor: str
    choices: tuple[Choice, ...]


def make_plan(device: torch.device, population: Population, modules: Sequence[nn.Module], data: Resident) -> Plan:
    """How these modules are trained on this machine."""
    K, N = len(population.training), len(data.targets)
    stacks = len({structure(module) for module in modules})
    parameters = sum(p.numel() for p in modules[0].parameters() if p.requires_grad)
    dtype = str(next(modules[0].parameters()).dtype).removeprefix("torch.")
    # weights, gradient, best weights and two moments at most; the rows once
    megabytes = (5 * K * parameters * 4 + sum(x.nbytes for x in (*data.inputs, data.targets))) / 1e6
    choices = (
        Choice("device", device.type, why_device(device)),
        Choice("executor", "eager", "the step as it is written: starts at once and runs everywhere"),
        Choice("precision", dtype, "the precision of the networks' own weights"),
        Choice("threads", str(torch.get_num_threads()), "what torch takes on this machine"),
        Choice("networks", f"{K} in {stacks} stack{'s' if stacks > 1 else ''}", why_stacks(parameters, stacks)),
        Choice(
            "steps per epoch",
            f"{population.steps} of {population.batch_size} rows",
            "full batches that fit the smallest fold; what is left over comes in another epoch's shuffle",
        ),
        Choice("memory", f"{megabytes:,.0f} MB", f"weights, moments and {N:,} rows, on the device once"),
    )
    return Plan("eager", choices)


def why_stacks(parameters: int, stacks: int) -> str:
    if stacks == 1:
        return f"{parameters:,} parameters each; all trained in one step"
    return "networks that differ in more than numbers cannot share a step: the stacks are trained one after another"


def why_device(device: torch.device) -> str:
    if device.type == "cpu":
        return "torch sees no GPU here" if not torch.cuda.is_available() else "asked for"
    return "the fastest that torch sees here"
