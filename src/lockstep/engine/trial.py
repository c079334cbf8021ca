"""A few steps of a few networks, taken before training to see what they take. Nothing of the networks is changed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor, nn

from lockstep.engine.alone import seeded
from lockstep.engine.executors import runner_of
from lockstep.engine.forward import FEWEST
from lockstep.engine.living import Living
from lockstep.engine.loop import Problem
from lockstep.engine.machine import products_in
from lockstep.engine.population import Member
from lockstep.engine.stack import Stack, lift
from lockstep.engine.state import State, fresh_state, rule_of
from lockstep.engine.step import Runner, Tables
from lockstep.engine.streams import epoch_rows
from lockstep.engine.tables import epoch_tables
from lockstep.engine.train import without_torchs_advice

PASSES = 3  # see ``paced``


@dataclass(frozen=True, eq=False)
class Trial:
    """Networks in a stack of their own, ready to take the first steps of their first epoch."""

    stack: Stack
    runner: Runner
    state: State
    rows: Tensor
    tables: Tables

    def steps(self) -> tuple[float, Tensor]:
        """Take the steps, and wait until they are taken: the seconds, and the losses ``[S, K]``."""
        began = time.perf_counter()
        losses = self.runner.steps(self.state, self.rows, self.tables)[0].cpu()
        return time.perf_counter() - began, losses


def trial_of(modules: Sequence[nn.Module], members: Sequence[Member], problem: Problem, steps: int) -> Trial:
    stack, member = lift(modules, problem.data.targets.device), members[0]
    rule = rule_of(member.spec, stack)
    runner = runner_of(problem.executor, stack, problem.objective, rule)
    rows = torch.from_numpy(epoch_rows(members, 0, steps, member.batch_size)).to(stack.params.device)
    numbers = {name: number[: len(members)] for name, number in problem.loss_numbers.items()}
    tables, _ = epoch_tables(members, rule, stack.places, numbers, 0, member.steps, stack.params)
    return Trial(stack, runner, fresh_state(stack, rule), rows, tables.part(slice(steps)))


@dataclass(frozen=True)
class Tried:
    """What a step of a few networks took: ``seconds``, the bytes of new tensors at most and of the ``largest``, and
    what the outputs of ``rows`` rows of each took."""

    seconds: float
    step: int
    largest: int
    outputs: int
    rows: int


def tried(modules: Sequence[nn.Module], members: Sequence[Member], problem: Problem) -> Tried:
    """A step and the outputs of these networks, taken once to warm up and then measured."""
    trial = trial_of(modules, members, problem, 1)
    judged = [np.resize(one.valid_rows if len(one.valid_rows) else one.train_rows, FEWEST) for one in members]
    with seeded(0, trial.stack.params.device), without_torchs_advice():
        with Living() as step:
            trial.steps()
        seconds, _ = trial.steps()
        with Living() as outputs:
            trial.runner.outputs(trial.state.weights, trial.state.buffers, judged)
    return Tried(seconds, step.most, step.largest, outputs.most, FEWEST)


@dataclass(frozen=True)
class Paced:
    """What a step of a few networks took in seconds, and what their loss was over the first steps, on average."""

    seconds: float
    loss: float


def paced(
    modules: Sequence[nn.Module], members: Sequence[Member], problem: Problem, steps: int, limit: float = inf
) -> Paced:
    """The first ``steps`` are taken for their losses, then once more (a CUDA graph is recorded then), and a third time
    to be timed. If the first pass takes more than ``limit`` seconds, it is the only one."""
    trial = trial_of(modules, members, problem, steps)
    with seeded(0, trial.stack.params.device), without_torchs_advice(), products_in(problem.precision):
        seconds, losses = trial.steps()
        for _ in range(PASSES - 1 if seconds <= limit else 0):
            seconds, _ = trial.steps()
    return Paced(seconds / steps, float(losses.mean()))
