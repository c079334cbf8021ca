"""From modules and members to trained members: one stack per structure, trained one stack after another."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lockstep.engine.alone import seeded
from lockstep.engine.forward import outputs_on_all_rows
from lockstep.engine.halving import Standing, survivors
from lockstep.engine.loop import Ended, Finished, Problem, Progress, start, train_stack
from lockstep.engine.machine import products_in
from lockstep.engine.population import Member, Population
from lockstep.engine.probe import SLOW, reason_to_part
from lockstep.engine.records import Observer, Rung
from lockstep.engine.refusals import Reason
from lockstep.engine.stack import Stack, lift, stackable
from lockstep.engine.structure import difference, structure
from lockstep.errors import TrainingError
from lockstep.findings import Finding
from lockstep.spec import Frozen

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Trained:
    """A population after training: its stacks, and for each chosen member how it ended and where it lies."""

    stacks: tuple[Stack, ...]
    members: tuple[Member, ...]
    finished: tuple[Finished, ...]
    places: tuple[tuple[int, int], ...]

    @property
    def ended(self) -> dict[int, str]:
        """Why each member ended, by its number in the population."""
        return {member.index: done.ended for member, done in zip(self.members, self.finished, strict=True)}

    @property
    def left_behind(self) -> dict[int, int]:
        """The candidates that were halved, each with the epoch after which it was."""
        ends = zip(self.members, self.finished, strict=True)
        return {member.candidate: done.epochs for member, done in ends if done.ended == "halved"}

    def outputs(self, inputs: tuple[Tensor, ...]) -> NDArray[Any]:
        """Every member's outputs ``[K, N, …]`` in eval mode on the same rows, with its best weights."""
        outputs: dict[int, NDArray[Any]] = {}
        for number, stack in enumerate(self.stacks):
            ours = sorted((row, position) for position, (at, row) in enumerate(self.places) if at == number)
            positions = [position for _, position in ours]
            done = [self.finished[position] for position in positions]
            params = torch.stack([one.params for one in done])
            buffers = {name: torch.stack([one.buffers[name] for one in done]) for name in stack.buffers}
            with without_torchs_advice():
                own = outputs_on_all_rows(stack, params, buffers, inputs).cpu().numpy()
            outputs |= dict(zip(positions, own, strict=True))
        return np.stack([outputs[position] for position in range(len(outputs))])

    def module(self, position: int) -> nn.Module:
        """The trained module of the member at ``position`` in ``members``, plain, with its best weights."""
        stack, row = self.places[position]
        done = self.finished[position]
        return self.stacks[stack].taken_out(row, done.params, done.buffers)


@dataclass(frozen=True)
class Way:
    """How a stack is trained: by which executor, with products in which precision, and how many networks at once."""

    executor: str
    precision: str
    at_once: int

    def parts(self, group: Sequence[int]) -> list[list[int]]:
        """``group`` in as few parts as this allows, of nearly the same size."""
        count = -(-len(group) // self.at_once)
        bounds = [len(group) * part // count for part in range(count + 1)]
        return [list(group[begin:end]) for begin, end in pairwise(bounds)]

    def of(self, problem: Problem, *, mapped: bool) -> Problem:
        """``problem``, executed in this way; networks that train one after another have an executor of their own."""
        return replace(problem, executor=self.executor if mapped else problem.executor, precision=self.precision)


def make_modules(make: Callable[[Member], M], members: Sequence[Member]) -> list[M]:
    """``make(member)`` for each member, with torch's (numpy's, Python's) random stream started from the member's own
    seed; the caller's random state is left alone."""
    modules = []
    for member in members:
        with seeded(member.seed, torch.device("cpu")):
            torch.manual_seed(member.seed)  # a GPU's stream too, for a module that is made there
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
    problem: Callable[[Sequence[Member]], Problem],
    device: torch.device,
    ways: Sequence[Way] | None = None,
    *,
    observers: Sequence[Observer] = (),
    keep: Callable[[Stack, Sequence[Member], Progress], None] = lambda *_: None,
    at_rung: Callable[[Rung], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    notice: Callable[[Finding], None] | None = None,
) -> Trained:
    """Train the chosen members, one stack after another. ``problem(members)`` is what those of one stack train on,
    ``ways`` how each stack is trained (a plan's; without, all its networks at once as the problem has it).

    Where candidates are halved, every stack trains to the first rung, all candidates are ranked together, those that do
    not go on are retired, ``at_rung`` is told, and the stacks train on to the next.
    ``keep`` gets the stack, its members and its progress after every epoch, to store them. With ``notice`` the modules
    may be any: those that cannot be stacked are found, trained one after another, and ``notice`` is told why.
    """
    members = population.training
    groups = stackable(modules, [kinds(member) for member in members])
    apart = [False] * len(groups) if notice is None else told_apart(groups, modules, members, problem, device, notice)
    if ways is None:
        whole = [(problem([members[group[0]]]), len(group)) for group in groups]
        ways = [Way(own.executor, own.precision, count) for own, count in whole]
    parts = [
        (at, way, alone)
        for group, way, alone in zip(groups, ways, apart, strict=True)
        for at in (replace(way, at_once=1) if alone else way).parts(group)
    ]
    underway: list[Underway] = []
    going = tuple(dict.fromkeys(member.candidate for member in members))
    for until, left in (*population.rungs, (None, 0)):
        for number, (at, way, alone) in enumerate(parts):
            if number == len(underway):  # lifted when its turn comes: without rungs only one is held at a time
                stack, ours = lift([modules[p] for p in at], device, mapped=not alone), [members[p] for p in at]
                own = way.of(problem(ours), mapped=not alone)
                underway.append(Underway(stack, at, ours, own, start(stack, ours)))
            one = underway[number]
            if one.progress.active:
                with without_torchs_advice(), products_in(way.precision):
                    train_stack(
                        one.stack, one.members, one.problem, one.progress, until=until, stop=stop,
                        observers=[in_its_place(observer, number + 1, len(parts)) for observer in observers],
                        keep=lambda progress, one=one: keep(one.stack, one.members, progress),  # type: ignore[misc]
                    )  # fmt: skip
            one.let_go()
        if until is not None and not stop():  # else not all have come so far, and there is nothing to rank
            rung = halved(underway, going, left, until)
            going = rung.going
            at_rung(rung)
    return collected(underway, members)


@dataclass
class Underway:
    """A stack in training: where its members lie among the chosen ones, and how far they have got."""

    stack: Stack
    positions: Sequence[int]
    members: Sequence[Member]
    problem: Problem
    progress: Progress

    def let_go(self) -> None:
        """Once all members have ended, the stack needs no tensors any more."""
        if not self.progress.active:
            self.stack = self.stack.emptied()


def collected(underway: Sequence[Underway], members: tuple[Member, ...]) -> Trained:
    """What became of the members, in their order."""
    finished = {p: one.progress.finished[row] for one in underway for row, p in enumerate(one.positions)}
    places = {p: (number, row) for number, one in enumerate(underway) for row, p in enumerate(one.positions)}
    stacks, order = tuple(one.stack for one in underway), range(len(members))
    return Trained(stacks, members, tuple(finished[p] for p in order), tuple(places[p] for p in order))


def halved(underway: Sequence[Underway], candidates: Sequence[int], left: int, epoch: int) -> Rung:
    """Rank ``candidates`` over all stacks, and retire the members of those that are not among the ``left`` best."""
    going = survivors(standings(underway, candidates), left)
    ended: dict[int, str] = {}
    for one in underway:
        active = [one.members[position] for position in one.progress.active]
        rows: dict[int, Ended] = {row: "halved" for row, m in enumerate(active) if m.candidate not in going}
        one.progress.retire(rows, epoch)
        one.let_go()
        ended |= {active[row].index: reason for row, reason in rows.items()}
    return Rung(epoch=epoch, candidates=len(candidates), going=going, ended=ended)


def standings(underway: Sequence[Underway], candidates: Sequence[int]) -> Iterator[Standing]:
    """Where each candidate stands: a member counts with its best so far, also one that has ended by itself."""
    found: dict[int, list[Finished]] = {candidate: [] for candidate in candidates}
    for one in underway:
        for position, done in one.progress.weights().items():
            found.get(one.members[position].candidate, []).append(done)
    for candidate, own in found.items():
        diverged = sum(done.ended == "diverged" for done in own)
        yield Standing(diverged, fmean(done.monitor for done in own), candidate)


def told_apart(
    groups: Sequence[Sequence[int]],
    modules: Sequence[nn.Module],
    members: Sequence[Member],
    problem: Callable[[Sequence[Member]], Problem],
    device: torch.device,
    notice: Callable[[Finding], None],
) -> list[bool]:
    """Whether the members of each group, which could be a stack, must train one after another; ``notice`` is told why.

    All are tried before any trains, so that what is wrong with one is not found after another's hours.
    """
    for finding in several_structures(members, modules):
        notice(finding)
    apart = []
    for group in groups:
        two = [members[position] for position in group[:2]]
        pair, own = lift([modules[position] for position in group[:2]], device), problem(two)
        reason = reason_to_part(pair, two, own)
        if reason is not None:
            notice(not_stacked(reason, len(group)))
        apart.append(reason is not None)
    return apart


def in_its_place(observer: Observer, stack: int, stacks: int) -> Observer:
    """``observer``, told of every epoch which stack of how many it is of."""
    return lambda record: observer(replace(record, stack=stack, stacks=stacks))


def not_stacked(reason: Reason, count: int) -> Finding:
    return Finding(
        severity="warning" if count > 1 else "info",
        code="not-stacked",
        subject=f"{count} network{'s' if count > 1 else ''}",
        what=f"{count} networks train one after another, and not as one stack" if count > 1
        else "This network would not train in a stack with others",
        evidence=reason.why,
        remedy=reason.remedy,
    )  # fmt: skip


def several_structures(members: Sequence[Member], modules: Sequence[nn.Module]) -> Iterator[Finding]:
    """Candidates whose networks differ among themselves, and so are several stacks."""
    firsts: dict[int, int] = {}
    told: set[int] = set()
    for position, member in enumerate(members):
        first = firsts.setdefault(member.candidate, position)
        if member.candidate not in told and structure(modules[first]) != structure(modules[position]):
            told.add(member.candidate)
            yield Finding(
                severity="info",
                code="several-structures",
                subject=member.label,
                what="make_module makes networks that differ in more than numbers, so they are several stacks",
                evidence=f"member {members[first].index} has another {difference(modules[first], modules[position])}",
                remedy="A tensor that differs stacks as a buffer, a number as a parameter that needs no gradient.",
            )


@contextmanager
def without_torchs_advice() -> Iterator[None]:
    """Without torch's warnings that something could be faster, which are meant for who wrote the stack."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=SLOW)
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        yield


def kinds(member: Member) -> tuple[object, ...]:
    """What of a member's spec is structure: all that is read off one member for its whole stack.

    Not the numbers, which are the fields that hold floats: each member has its own.
    """
    spec = member.spec
    pieces = (spec.loss, spec.optimizer, spec.schedule, spec.training)
    return (member.batch_size, member.steps, *map(fixed, pieces))


def fixed(piece: Frozen) -> tuple[object, ...]:
    """A piece of a spec with the numbers left out."""
    fields = piece._fields().items()
    return (type(piece), *((name, float if isinstance(value, float) else value) for name, value in fields))


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
