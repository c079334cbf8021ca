"""What training a stack takes of the device's memory, found before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lockstep.engine.forward import FEWEST, HELD, MOST
from lockstep.engine.loop import Problem
from lockstep.engine.population import Member
from lockstep.engine.step import Resident
from lockstep.engine.trial import tried
from lockstep.optim import rule_for

GIVEN_BACK = 2**25  # bytes; smaller blocks stay with the process


@dataclass(frozen=True)
class Needs:
    """Bytes that a stack takes: ``shared`` however many networks it has and ``kept`` of each that has been trained;
    of each that trains, what it ``holds`` from step to step, and what a step takes for ``passing`` through and back.
    ``judging`` is what the validation of all takes between the steps."""

    shared: int
    kept: int
    holds: int
    passing: int
    judging: int

    def of(self, at_once: int, networks: int) -> int:
        """The most that ``networks`` take, of which ``at_once`` train together."""
        busy = max(self.passing * at_once, self.judging)
        return self.shared + self.kept * networks + self.holds * at_once + busy

    def most(self, left: int, networks: int) -> int:
        """How many of ``networks`` may train at once for all to take ``left`` bytes at most: 1 at least."""
        fitting = (k for k in range(networks, 1, -1) if self.of(k, networks) <= left)
        return next(fitting, 1)


def needs_of(modules: Sequence[nn.Module], members: Sequence[Member], problem: Problem) -> Needs | None:
    """What a stack of these networks needs by the executor that ``problem`` names: one of them is tried, then two.

    None for networks that train in no stack, or not at all: training finds that out by itself, and says why.
    """
    try:
        one = tried(modules[:1], members[:1], problem)
        two = tried(modules[:2], members[:2], problem) if len(members) > 1 else one
    except Exception:
        return None
    K, rows = len(members), sum(len(member.valid_rows) for member in members)
    passing = in_pieces(max(two.step - one.step, 0), two.largest) if K > 1 else one.step
    at_desks = min(K, torch.get_num_threads()) * holds(modules[0], members[0]) if problem.executor == "compiled" else 0
    a_row = one.outputs / one.rows
    return Needs(
        shared=max(one.step - passing, 0) + at_desks, kept=bytes_of(modules[0]), holds=holds(modules[0], members[0]),
        passing=passing, judging=int(min(rows * a_row, max(K * FEWEST * a_row, min(MOST * a_row, HELD)))),
    )  # fmt: skip


def in_pieces(size: int, largest: int) -> int:
    """What tensors of ``size`` bytes together take of a process: those whose memory is kept for the next ones (glibc
    gives back what is larger) lie so that about as much again was seen to be lost between them."""
    return 2 * size if largest < GIVEN_BACK else size


def holds(module: nn.Module, member: Member) -> int:
    """Bytes that a network has from step to step: its parameters, the best (for a moment twice) and the moments; its
    buffers as often; and its rows, keys and factors of an epoch."""
    moments = len(rule_for(member.spec.optimizer).moments) + (member.spec.training.ema is not None)
    buffers = sum(buffer.nbytes for buffer in module.buffers())
    sizes = [p for p in module.parameters() if p.requires_grad]
    tables = member.steps * (member.batch_size * 8 + len(sizes) * 8)
    return (4 + moments) * bytes_of(module) + 3 * buffers + tables


def bytes_of(module: nn.Module) -> int:
    return sum(p.nbytes for p in module.parameters() if p.requires_grad)


def stored(data: Resident) -> int:
    """Bytes of the rows, once also where windows share them."""
    places = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in (*data.inputs, data.targets)}
    return sum(places.values())


def in_words(size: int) -> str:
    """``"82 MB"``, ``"1.2 GB"``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
