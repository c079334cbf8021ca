"""All that a plan is made of."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lockstep.engine.loop import Problem
from lockstep.engine.plan import Forced, Plan, make_plan
from lockstep.engine.population import make_population
from lockstep.engine.step import Resident
from lockstep.engine.train import Way, make_modules, train_population
from lockstep.network.losses import LOSSES
from lockstep.spec import Population, Training, TrainSpec

CPU = torch.device("cpu")


class Setting:
    """A population of ``K`` seeds that trains on the first ``train`` rows and is judged on the others."""

    def __init__(
        self, make: Callable[[], nn.Module], x: Tensor, y: Tensor, loss: str, *, K: int, epochs: int, batch_size: int,
        train: int,
    ) -> None:  # fmt: skip
        spec = TrainSpec(
            training=Training(epochs=epochs, batch_size=batch_size), population=Population(folds=1, seeds=K)
        )
        self.data, self.loss = Resident((x,), y), loss
        self.population = make_population(spec, [(np.arange(train), np.arange(train, len(x)))])
        self.modules = make_modules(lambda _: make(), self.population.training)

    def problem(self, _: Sequence[Any]) -> Problem:
        return Problem(self.data, LOSSES[self.loss], self.loss, {})

    def plan(self, **forced: Any) -> Plan:
        return make_plan(Forced(**forced), CPU, self.population, self.modules, self.data, self.problem)

    def train(self, ways: Sequence[Way] | None, **how: Any) -> list[Tensor]:
        trained = train_population(self.population, self.modules, self.problem, CPU, ways, **how)
        return [done.params for done in trained.finished]
