"""From modules and members to trained members: one stack per structure, trained one stack after another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lockstep.engine.loop import Finished, Problem, Progress, start, train_stack
from lockstep.engine.population import Member, Population
from lockstep.engine.records import Observer
from lockstep.engine.stack import Stack, Tensors, lift_groups
from lockstep.errors import TrainingError
from lockstep.spec import Frozen

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Trained:
    """A population after training: its stacks, and for each chosen member how it ended and where it lies."""

    stacks: tuple[Stack, ...]
    members: tuple[Member, ...]
    finished: tuple[Finished, ...]
    places: tuple[tuple[int, int], ...]

    def module(self, position: int) -> nn.Module:
        """The trained module of the member at ``position`` in ``members``, plain, with its best weights."""
        stack, row = self.places[position]
        done = self.finished[position]
        return self.stacks[stack].taken_out(row, done.params, done.buffers)


def make_modules(make: Callable[[Member], M], members: Sequence[Member]) -> list[M]:
    """``make(member)`` for each member, under the member's own seed; the caller's random state is left alone."""
    modules = []
    with torch.random.fork_rng(devices=[]):
        for member in members:
            torch.manual_seed(member.seed)
            modules.append(checked(make(member)))
    return modules


def checked(module: M) -> M:
    """``module``, if it is one that can be trained. Raises ``TrainingError``."""
    if not isinstance(module, nn.Module):
        raise TrainingError(f"make_module must return an nn.Module, however: {type(module).__name__}.")
    what = type(module).__name__
    if any(isinstance(p, UninitializedParameter) for p in module.parameters()):
        raise TrainingError(f"A network's shapes must be known, however: {what} is lazy. Call it once in make_module.")
    types = sorted({str(p.dtype) for p in module.parameters() if p.requires_grad})
    if not types:
        raise TrainingError(f"A network must have parameters that need a gradient, however: {what} has none.")
    if len(types) > 1:
        raise TrainingError(
            f"The parameters of a network must be of one type, however: {' and '.join(types)} in {what}."
        )
    return module


def train_population(
    population: Population,
    modules: Sequence[nn.Module],
    problem: Problem,
    device: torch.device,
    *,
    observers: Sequence[Observer] = (),
    keep: Callable[[Stack, Sequence[Member], Progress], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train the chosen members. ``problem.loss_numbers`` have a row per chosen member.

    ``keep`` gets the stack, its members and its progress after every epoch, to store them.
    """
    members = population.training
    stacks, finished, places = [], {}, {}
    for number, (stack, positions) in enumerate(lift_groups(modules, device, [kinds(member) for member in members])):
        ours = [members[position] for position in positions]
        own = replace(problem, loss_numbers=rows(problem.loss_numbers, positions))
        done = train_stack(
            stack, ours, own, start(stack, ours), observers=observers, stop=stop,
            keep=lambda progress, stack=stack, ours=ours: keep(stack, ours, progress),  # type: ignore[misc]
        )  # fmt: skip
        stacks.append(stack)
        for row, position in enumerate(positions):
            finished[position], places[position] = done[row], (number, row)
    order = range(len(members))
    return Trained(tuple(stacks), members, tuple(finished[p] for p in order), tuple(places[p] for p in order))


def kinds(member: Member) -> tuple[object, ...]:
    """What of a member's spec is structure, and not a number that can differ within a stack."""
    spec = member.spec
    return tuple(map(fixed, (spec.optimizer, spec.schedule, spec.training)))


def fixed(piece: Frozen) -> tuple[object, ...]:
    """A piece of a spec with the numbers left out."""
    fields = piece._fields().items()
    return (type(piece), *((name, float if isinstance(value, float) else value) for name, value in fields))


def rows(numbers: Tensors, positions: Sequence[int]) -> dict[str, Tensor]:
    return {name: number[list(positions)] for name, number in numbers.items()}


def pick_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one; an explicit device that is not there is an error."""
    match name:
        case "auto":
            kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
            return torch.device(kind)
        case "cuda" if not torch.cuda.is_available():
            raise TrainingError("device must exist here, however: cuda, which this torch does not see. Use cpu.")
        case "mps" if not torch.backends.mps.is_available():
            raise TrainingError("device must exist here, however: mps, which this torch does not see. Use cpu.")
    try:
        return torch.device(name)
    except RuntimeError:
        raise TrainingError(f"device must be auto, cpu, cuda or mps, however: {name!r}.") from None
