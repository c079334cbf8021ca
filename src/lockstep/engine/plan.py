"""The plan: how a run is executed, each choice with its reason."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lockstep.engine.executors import pick
from lockstep.engine.loop import Problem
from lockstep.engine.population import Member, Population
from lockstep.engine.stack import stackable
from lockstep.engine.step import Resident
from lockstep.engine.train import kinds


@dataclass(frozen=True)
class Choice:
    """One choice: what was chosen, the value, and why."""

    choice: str
    value: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """How a run is executed: all choices with their reasons, as they are shown."""

    choices: tuple[Choice, ...]


def make_plan(
    device: torch.device,
    population: Population,
    modules: Sequence[nn.Module],
    data: Resident,
    problem: Callable[[Sequence[Member]], Problem],
) -> Plan:
    """How these modules are trained on this machine. Raises ``SpecError`` for an executor that cannot train them."""
    K, N = len(population.training), len(data.targets)
    stacks = len(stackable(modules, [kinds(member) for member in population.training]))
    sizes = [sum(p.numel() for p in module.parameters() if p.requires_grad) for module in modules]
    dtype = str(next(modules[0].parameters()).dtype).removeprefix("torch.")
    # weights, gradient, best weights and two moments, maybe an average; the rows once, also where windows share them
    copies = 5 + any(member.spec.training.ema is not None for member in population.training)
    stored = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in (*data.inputs, data.targets)}
    megabytes = (copies * sum(sizes) * 4 + sum(stored.values())) / 1e6
    choices = (
        Choice("device", device.type, why_device(device)),
        *executor_choices(executors(population, modules, problem)),
        Choice("precision", dtype, "the precision of the networks' own weights"),
        Choice("threads", str(torch.get_num_threads()), "what torch takes on this machine"),
        Choice("networks", f"{K} in {stacks} stack{'s' if stacks > 1 else ''}", why_stacks(sizes, stacks)),
        Choice(
            "steps per epoch",
            epochs_by_size(population),
            "full batches that fit the smallest fold; what is left over comes in another epoch's shuffle",
        ),
        Choice("memory", f"{megabytes:,.0f} MB", f"weights, moments and {N:,} rows, on the device once"),
    )
    return Plan(choices)


def executors(
    population: Population, modules: Sequence[nn.Module], problem: Callable[[Sequence[Member]], Problem]
) -> list[tuple[str, str]]:
    """Each stack's executor, and why. Raises ``SpecError`` for one that was asked for and cannot train a stack."""
    members = population.training
    found = []
    for group in stackable(modules, [kinds(member) for member in members]):
        own = problem([members[position] for position in group])
        found.append(pick(own.executor, modules[group[0]], own.objective))
    return found


def executor_choices(found: Sequence[tuple[str, str]]) -> list[Choice]:
    """One choice per executor and reason, with the number of its stacks where there are several."""
    counts = Counter(found)
    return [
        Choice("executor", name if len(counts) == 1 else f"{name} for {count} of {len(found)} stacks", reason)
        for (name, reason), count in counts.items()
    ]


def epochs_by_size(population: Population) -> str:
    """``"39 of 128 rows"``, or for each batch size among the members."""
    sizes = dict.fromkeys((member.steps, member.batch_size) for member in population.training)
    return ", ".join(f"{steps} of {size} rows" for steps, size in sizes)


def why_stacks(sizes: Sequence[int], stacks: int) -> str:
    if stacks == 1:
        return f"{sizes[0]:,} parameters each; all trained in one step"
    return "networks that differ in more than numbers cannot share a step: the stacks are trained one after another"


def why_device(device: torch.device) -> str:
    if device.type == "cpu":
        return "torch sees no GPU here" if not torch.cuda.is_available() else "asked for"
    return "the fastest that torch sees here"
