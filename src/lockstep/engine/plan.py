"""The plan: how a run is executed, each choice with its reason."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from lockstep.engine import machine
from lockstep.engine.executors import checked_name, must_compile, pick
from lockstep.engine.loop import Problem
from lockstep.engine.memory import Needs, in_words, needs_of, stored
from lockstep.engine.population import Member, Population
from lockstep.engine.precision import PRECISIONS, asked_for, checked_precision, measured_precision
from lockstep.engine.stack import stackable
from lockstep.engine.step import Resident
from lockstep.engine.train import Way, kinds
from lockstep.engine.trial import tried
from lockstep.errors import SpecError

COMPILING = 4.0  # seconds that a compiler takes for the kernels
FUNCTORCH = 90_000_000  # bytes
TRIED = 8  # networks of a stack, to see how long a step takes
SPARE = 0.8  # of the memory that is left: what is worked out is 20 % wrong at most, and others want some too


@dataclass(frozen=True)
class Forced:
    """What the user settles of how a run is executed; ``auto`` and None leave it to the plan.

    ``at_once`` is how many networks of a stack train together. Raises ``SpecError``.
    """

    device: str = "auto"
    executor: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    at_once: int | None = None

    def __post_init__(self) -> None:
        checked_name(self.executor)
        if self.precision not in PRECISIONS:
            raise SpecError(f"precision must be auto, float32, bfloat16 or tf32, however: {self.precision!r}.")
        for name in ("threads", "at_once"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise SpecError(f"{name} must be a whole number from 1, however: {value!r}.")


@dataclass(frozen=True)
class Choice:
    """One choice: what was chosen, the value, and why."""

    choice: str
    value: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """How a run is executed: all choices with their reasons, as they are shown, and a way for each stack."""

    choices: tuple[Choice, ...]
    ways: tuple[Way, ...]


def make_plan(
    forced: Forced,
    device: torch.device,
    population: Population,
    modules: Sequence[nn.Module],
    data: Resident,
    problem: Callable[[Sequence[Member]], Problem],
    *,
    afterwards: int = 0,
) -> Plan:
    """How these modules are trained on this machine. ``afterwards`` are the bytes that a CPU holds once they are
    trained, for measuring and a report. Raises ``SpecError`` for what cannot train them."""
    members, before, transforms = population.training, machine.memory_held(), "torch._dynamo" in sys.modules
    groups = stackable(modules, [kinds(member) for member in members])
    executors, precisions, each = [], [], []
    for group in groups:
        own, ours = [modules[position] for position in group], [members[position] for position in group]
        executor, precision = way_of(forced, own, ours, problem(ours))
        executors.append(executor)
        precisions.append(precision)
        each.append(needs_of(own, ours, replace(problem(ours), executor=executor.value, precision=precision.value)))
    each = held_together(each, groups) if population.rungs else each
    left = machine.memory_left(device)
    at_once = [at_once_for(forced.at_once, needs, len(group), left) for needs, group in zip(each, groups, strict=True)]
    to_train = max(need.of(k, len(group)) if need else 0 for need, k, group in zip(each, at_once, groups, strict=True))
    if not transforms and "torch._dynamo" in sys.modules:  # what torch.func.grad loads when it is first called
        before += FUNCTORCH
    held = stored(data) if device.type == "cuda" else before
    sizes = [sum(p.numel() for p in module.parameters() if p.requires_grad) for module in modules]
    choices = (
        Choice("device", device.type, why_device(forced.device, device)),
        *counted(executors),
        *counted(precisions),
        Choice(
            "threads", str(torch.get_num_threads()),
            "what torch takes on this machine" if forced.threads is None else "asked for",
        ),
        Choice("networks", f"{len(members)} in {stacks(len(groups))}", why_stacks(sizes, len(groups))),
        *together(forced.at_once, at_once, groups),
        Choice(
            "steps per epoch",
            epochs_by_size(population),
            "full batches that fit the smallest fold; what is left over comes in another epoch's shuffle",
        ),
        *halvings(population),
        memory_choice(device, held, to_train, 0 if device.type == "cuda" else afterwards, left),
    )  # fmt: skip
    ways = tuple(
        Way(executor.value, precision.value, count)
        for executor, precision, count in zip(executors, precisions, at_once, strict=True)
    )
    return Plan(choices, ways)


def way_of(
    forced: Forced, modules: Sequence[nn.Module], members: Sequence[Member], problem: Problem
) -> tuple[Choice, Choice]:
    """The executor of a stack and the precision of its products. Raises ``SpecError`` for what was asked for and cannot
    train it."""
    device = problem.data.targets.device
    own = replace(problem, precision=checked_precision(forced.precision, device, modules[0]))
    executor = executor_of(forced.executor, modules, members, own)
    if forced.precision != "auto":
        return executor, Choice("precision", own.precision, asked_for(own.precision, device))
    precision = Choice(
        "precision", *measured_precision(modules, members, replace(own, executor=executor.value), forced.executor)
    )
    if precision.value != own.precision:
        executor = executor_of(forced.executor, modules, members, replace(own, precision=precision.value))
    return executor, precision


def executor_of(wanted: str, modules: Sequence[nn.Module], members: Sequence[Member], problem: Problem) -> Choice:
    """The executor of a stack. Raises ``SpecError`` for one that was asked for and cannot train it."""
    steps = members[0].all_steps
    if wanted == "auto" and must_compile(modules[0], problem.objective):
        name, reason = pick("auto", modules[0], problem.objective, kernels=False)
        share = len(members) / min(TRIED, len(members))
        seconds = share * steps * tried(modules[:TRIED], members[:TRIED], replace(problem, executor=name)).seconds
        if seconds < COMPILING:
            return Choice("executor", name, f"{reason}; over in {seconds:.1g} s, sooner than kernels are compiled")
    return Choice("executor", *pick(wanted, modules[0], problem.objective, steps=steps))


def held_together(each: Sequence[Needs | None], groups: Sequence[Sequence[int]]) -> list[Needs | None]:
    """What stacks need whose candidates are halved: every network of each is held from rung to rung."""
    held = [need.holds * len(group) if need else 0 for need, group in zip(each, groups, strict=True)]
    return [
        need and replace(need, shared=need.shared + sum(held) - own, kept=need.kept + need.holds, holds=0)
        for need, own in zip(each, held, strict=True)
    ]


def at_once_for(forced: int | None, needs: Needs | None, networks: int, left: int | None) -> int:
    """How many networks of a stack train together: all for whose needs there is memory, as far as that is known."""
    if forced is not None:
        return min(forced, networks)
    return networks if left is None or needs is None else needs.most(int(SPARE * left), networks)


def together(forced: int | None, at_once: Sequence[int], groups: Sequence[Sequence[int]]) -> Iterator[Choice]:
    """Said where a stack is trained in parts."""
    cut = [(count, len(group)) for count, group in zip(at_once, groups, strict=True) if count < len(group)]
    if cut:
        why = "asked for" if forced is not None else "there is not enough memory for more: the others wait their turn"
        yield Choice("at once", ", ".join(f"{count} of {total}" for count, total in cut), why)


def memory_choice(device: torch.device, held: int, to_train: int, afterwards: int, left: int | None) -> Choice:
    """What the device's memory holds at most: on a CPU of the whole process, for that is what counts there."""
    what = "the rows" if device.type == "cuda" else "this process with its libraries and rows"
    then = f" or {in_words(afterwards)} to measure and report" if afterwards > to_train else ""
    free = "" if left is None else f"; {in_words(left)} are free"
    how = f"at most: {in_words(held)} {what}, {in_words(to_train)} to train{then}{free}"
    return Choice("memory", in_words(held + max(to_train, afterwards)), how)


def counted(choices: Sequence[Choice]) -> list[Choice]:
    """One choice per value and reason of the stacks' own, with the number of its stacks where there are several."""
    counts = Counter(choices)
    return [
        one if len(counts) == 1 else replace(one, value=f"{one.value} for {count} of {len(choices)} stacks")
        for one, count in counts.items()
    ]


def epochs_by_size(population: Population) -> str:
    """``"39 of 128 rows"``, or for each batch size among the members."""
    sizes = dict.fromkeys((member.steps, member.batch_size) for member in population.training)
    return ", ".join(f"{steps} of {size} rows" for steps, size in sizes)


def stacks(count: int) -> str:
    return f"{count} stack{'s' if count > 1 else ''}"


def halvings(population: Population) -> list[Choice]:
    """After which epochs how many candidates go on, where they are halved."""
    if not population.rungs:
        return []
    rungs = ", ".join(f"{left} after epoch {epoch}" for epoch, left in population.rungs)
    share = f"{100 * share_trained(population):.0f} % of the epochs of all"
    return [Choice("candidates", f"{population.candidates}, then {rungs}", f"the best go on, and take {share}")]


def share_trained(population: Population) -> float:
    """The share of all candidates' epochs that is trained, if none stops early."""
    left, begin, trained = population.candidates, 0, 0
    epochs = population.members[0].spec.training.epochs
    for until, then in (*population.rungs, (epochs, 0)):
        trained += left * (until - begin)
        left, begin = then, until
    return trained / (population.candidates * epochs) if population.rungs else 1.0


def why_stacks(sizes: Sequence[int], stacks: int) -> str:
    if stacks == 1:
        return f"{sizes[0]:,} parameters each; all trained in one step"
    return "networks that differ in more than numbers cannot share a step: the stacks are trained one after another"


def why_device(wanted: str, device: torch.device) -> str:
    if wanted != "auto":
        return "asked for"
    return "torch sees no GPU here" if device.type == "cpu" else "the fastest that torch sees here"
