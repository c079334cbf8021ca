"""The plan: how a run is executed, each choice with its reason."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from lockstep.engine import machine
from lockstep.engine.executors import EXECUTORS, checked_name, must_compile, pick
from lockstep.engine.loop import Problem
from lockstep.engine.memory import Needs, bytes_of, in_words, needs_of, stored
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
    groups = [
        Group([modules[p] for p in positions], ours := [members[p] for p in positions], problem(ours))
        for positions in stackable(modules, [kinds(member) for member in members])
    ]
    left = machine.memory_left(device)
    own = checked_precision(forced.precision, device, modules[0])
    settled = settle(forced, own, groups, left, rungs=bool(population.rungs))
    precision = precision_choice(forced, own, settled)
    if precision.value != own:
        settled = settle(forced, precision.value, groups, left, rungs=bool(population.rungs))
    to_train = max(stack.most for stack in settled)
    if not transforms and "torch._dynamo" in sys.modules:  # what torch.func.grad loads when it is first called
        before += FUNCTORCH
    held = stored(data) if device.type == "cuda" else before
    sizes = [sum(p.numel() for p in module.parameters() if p.requires_grad) for module in modules]
    choices = (
        Choice("device", device.type, why_device(forced.device, device)),
        *counted([stack.executor for stack in settled]),
        precision,
        Choice(
            "threads", str(torch.get_num_threads()),
            "what torch takes on this machine" if forced.threads is None else "asked for",
        ),
        Choice("networks", f"{len(members)} in {stacks(len(groups))}", why_stacks(sizes, len(groups))),
        *together(forced.at_once, settled),
        Choice(
            "steps per epoch",
            epochs_by_size(population),
            "full batches that fit the smallest fold; what is left over comes in another epoch's shuffle",
        ),
        *halvings(population),
        memory_choice(device, held, to_train, 0 if device.type == "cuda" else afterwards, left),
    )  # fmt: skip
    ways = tuple(Way(stack.executor.value, precision.value, stack.at_once) for stack in settled)
    return Plan(choices, ways)


@dataclass(frozen=True, eq=False)
class Group:
    """Networks that could be one stack, with their members and what they train on."""

    modules: Sequence[nn.Module]
    members: Sequence[Member]
    problem: Problem

    @property
    def size(self) -> int:
        """Bytes of what all of them train."""
        return len(self.modules) * bytes_of(self.modules[0])


@dataclass(frozen=True)
class Settled:
    """A group with its executor, what it needs of memory, and how many train at once."""

    group: Group
    executor: Choice
    needs: Needs | None
    at_once: int

    @property
    def most(self) -> int:
        """The bytes that it takes at most, as far as that is known."""
        return self.needs.of(self.at_once, len(self.group.members)) if self.needs else 0


def settle(forced: Forced, precision: str, groups: Sequence[Group], left: int | None, *, rungs: bool) -> list[Settled]:
    """Raises ``SpecError`` for what was asked for and cannot train a group."""
    executors, each = [], []
    for group in groups:
        executors.append(executor_of(forced.executor, group, precision))
        own = replace(group.problem, executor=executors[-1].value, precision=precision)
        each.append(needs_of(group.modules, group.members, own))
    sizes = [len(group.members) for group in groups]
    each = held_together(each, sizes) if rungs else each
    at_once = [at_once_for(forced.at_once, needs, size, left) for needs, size in zip(each, sizes, strict=True)]
    return list(map(Settled, groups, executors, each, at_once))


def precision_choice(forced: Forced, own: str, settled: Sequence[Settled]) -> Choice:
    """The precision of all products, ``own`` being that of the weights or one that was asked for. What is measured, is
    so of the largest group, and of no more networks than train at once."""
    stack = max(settled, key=lambda one: one.group.size)
    group, device = stack.group, stack.group.problem.data.targets.device
    if forced.precision != "auto":
        return Choice("precision", own, asked_for(own, device))
    if own != "float32":
        return Choice("precision", own, "the precision of the networks' own weights")
    coarser, refused = {}, f"this {device.type} has no products in bfloat16"
    for name in machine.coarser(device):
        one = replace(group.problem, precision=name)
        if forced.executor != "auto" and (why := EXECUTORS[forced.executor].refusal(group.modules[0], one.objective)):
            refused = f"executor={forced.executor} was asked for, and {why}"
        else:
            coarser[name] = replace(one, executor=executor_of(forced.executor, group, name).value)
    if not coarser:
        return Choice("precision", own, f"that of the weights; {refused}")
    few = min(TRIED, stack.at_once)
    exact = replace(group.problem, precision=own, executor=stack.executor.value)
    networks = sum(len(one.group.members) for one in settled)
    return Choice("precision", *measured_precision(group.modules[:few], group.members[:few], exact, coarser, networks))


def executor_of(wanted: str, group: Group, precision: str) -> Choice:
    """The executor of a stack. Raises ``SpecError`` for one that was asked for and cannot train it."""
    own, steps = replace(group.problem, precision=precision), group.members[0].all_steps
    module = group.modules[0]
    if wanted == "auto" and must_compile(module, own.objective):
        name, reason = pick("auto", module, own.objective, kernels=False)
        share = len(group.members) / min(TRIED, len(group.members))
        step = tried(group.modules[:TRIED], group.members[:TRIED], replace(own, executor=name))
        if (seconds := share * steps * step.seconds) < COMPILING:
            return Choice("executor", name, f"{reason}; over in {seconds:.1g} s, sooner than kernels are compiled")
    return Choice("executor", *pick(wanted, module, own.objective, steps=steps))


def held_together(each: Sequence[Needs | None], sizes: Sequence[int]) -> list[Needs | None]:
    """What stacks of these ``sizes`` need whose candidates are halved: every network of each is held from rung to
    rung."""
    held = [need.holds * size if need else 0 for need, size in zip(each, sizes, strict=True)]
    return [
        need and replace(need, shared=need.shared + sum(held) - own, kept=need.kept + need.holds, holds=0)
        for need, own in zip(each, held, strict=True)
    ]


def at_once_for(forced: int | None, needs: Needs | None, networks: int, left: int | None) -> int:
    """How many networks of a stack train together: all for whose needs there is memory, as far as that is known."""
    if forced is not None:
        return min(forced, networks)
    return networks if left is None or needs is None else needs.most(int(SPARE * left), networks)


def together(forced: int | None, settled: Sequence[Settled]) -> Iterator[Choice]:
    """Said where a stack is trained in parts."""
    cut = [(stack.at_once, len(stack.group.members)) for stack in settled]
    parts = ", ".join(f"{count} of {total}" for count, total in cut if count < total)
    if parts:
        why = "asked for" if forced is not None else "there is not enough memory for more: the others wait their turn"
        yield Choice("at once", parts, why)


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
