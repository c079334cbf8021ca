"""The training loop: what happens in an epoch, from top to bottom."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lockstep.engine.executors import Objective, runner_of
from lockstep.engine.population import Member
from lockstep.engine.records import EpochRecord, Floats, Observer
from lockstep.engine.stack import Stack, Tensors
from lockstep.engine.state import Best, State, fresh_best, fresh_state, measured_dtype, rule_of
from lockstep.engine.step import Resident, Runner
from lockstep.engine.streams import epoch_rows
from lockstep.engine.tables import epoch_tables, next_plateau, start_of_plateau
from lockstep.network.losses import LossFunction, metric, metric_name
from lockstep.optim import Plateau
from lockstep.spec import Training

Ended = Literal["finished", "stopped early", "diverged", "halved", "interrupted"]


@dataclass(frozen=True, eq=False)
class Problem:
    """What a stack is trained on: the data, the loss and its numbers (a row per member of the stack).

    ``loss_name`` is empty for a user's own loss function, which then has no metric beside it.
    """

    data: Resident
    loss: LossFunction
    loss_name: str
    loss_numbers: Tensors
    executor: str = "auto"
    precision: str = "float32"

    @property
    def objective(self) -> Objective:
        return Objective(self.loss_name, self.loss, self.data, self.precision)


@dataclass(frozen=True, eq=False)
class Finished:
    """A member that trains no more: its best weights, the epoch they are from (0: none was ever good), what was
    monitored then (smaller is better, infinity: none was ever good), and why it ended."""

    params: Tensor
    buffers: Tensors
    best_epoch: int
    monitor: float
    epochs: int
    ended: Ended


@dataclass
class Progress:
    """How far a stack has got: ``active`` are the positions still training, in the order of ``state`` and ``best``.

    ``plateau`` is what the schedule remembers, if it is one that follows the members' losses. ``seconds`` is the time
    that it took.
    """

    epoch: int
    active: list[int]
    state: State
    best: Best
    finished: dict[int, Finished] = field(default_factory=dict)
    plateau: Plateau | None = None
    seconds: float = 0.0

    def weights(self) -> dict[int, Finished]:
        """The best weights of every member so far, by position; those still training are ``interrupted`` here."""
        now = {
            position: Finished(
                self.best.params[row],
                {name: buffer[row] for name, buffer in self.best.buffers.items()},
                int(self.best.epoch[row]),
                float(self.best.monitor[row]),
                self.epoch,
                "interrupted",
            )
            for row, position in enumerate(self.active)
        }
        return self.finished | now

    def retire(self, ended: dict[int, Ended], epoch: int) -> None:
        """Move the members at these rows of the stack to ``finished``, and pack the others."""
        for row, reason in ended.items():
            best = self.best
            buffers = {name: buffer[row].clone() for name, buffer in best.buffers.items()}
            self.finished[self.active[row]] = Finished(
                best.params[row].clone(), buffers, int(best.epoch[row]), float(best.monitor[row]), epoch, reason
            )
        rows = [row for row in range(len(self.active)) if row not in ended]
        if len(rows) < len(self.active):
            keep = torch.tensor(rows, dtype=torch.int64, device=self.state.params.device)
            self.state, self.best = self.state.rows(keep), self.best.rows(keep)
            self.plateau = self.plateau and self.plateau.rows(keep.cpu())
            self.active = [self.active[row] for row in rows]


def start(stack: Stack, members: Sequence[Member]) -> Progress:
    state = fresh_state(stack, rule_of(members[0].spec, stack))
    return Progress(0, list(range(len(members))), state, fresh_best(stack), plateau=start_of_plateau(members))


def train_stack(
    stack: Stack,
    members: Sequence[Member],
    problem: Problem,
    progress: Progress,
    *,
    until: int | None = None,
    observers: Sequence[Observer] = (),
    keep: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train ``members``, one per row of ``stack``, from ``progress`` on, which it changes: to the epoch ``until``, or
    until every member has ended.

    ``observers`` get one record per epoch, ``keep`` the progress, to store it. ``stop`` is asked before every step
    (or every few, where many go at once); when it says so, the epoch ends there, is measured as any other, and the run
    is over.
    """
    spec, steps, batch_size = members[0].spec, members[0].steps, members[0].batch_size
    rule = rule_of(spec, stack)
    runner = runner_of(problem.executor, stack, problem.objective, rule)
    at_once = runner.at_once(batch_size)
    began = time.perf_counter() - progress.seconds

    while progress.active and (until is None or progress.epoch < until):
        epoch_began = time.perf_counter()
        running = [members[position] for position in progress.active]
        own_loss = {name: number[progress.active] for name, number in problem.loss_numbers.items()}
        rows = torch.from_numpy(epoch_rows(running, progress.epoch, steps, batch_size))
        rows = rows.to(stack.params.device)
        tables, rates = epoch_tables(
            running, rule, stack.places, own_loss, progress.epoch, steps, stack.params, progress.plateau
        )

        losses: list[Tensor] = []
        norms: list[Tensor] = []
        for begin in range(0, steps, at_once):
            if interrupted := stop():
                break
            these = slice(begin, begin + at_once)
            loss, norm = runner.steps(progress.state, rows[these], tables.part(these))
            losses += loss
            norms += norm
        if not losses:  # interrupted between epochs: the last one is already measured
            progress.retire(dict.fromkeys(range(len(running)), "interrupted"), progress.epoch)
            break

        train_loss = torch.stack(losses).mean(0)
        valid_loss, valid_metric = validate(runner, running, problem, own_loss, progress.state)
        judged = len(running[0].valid_rows) > 0
        healthy = train_loss.isfinite() & progress.state.params.isfinite().all(dim=1)
        healthy &= valid_loss.isfinite() | (not judged)
        monitor = train_loss.to(valid_loss)
        if judged:
            monitor = monitored(spec.training, metric_name(problem.loss_name), train_loss, valid_loss, valid_metric)
        better = healthy & ((monitor < progress.best.monitor) | (not judged))
        progress.epoch += 1
        progress.best = progress.best.updated(better, progress.state, monitor, progress.epoch)
        progress.plateau = next_plateau(progress.plateau, running, monitor)

        best_epoch = progress.best.epoch.cpu().numpy().copy()
        ended = endings(progress.epoch, best_epoch, healthy.cpu().numpy(), spec.training, interrupted)
        layer_norms = torch.stack(norms)
        now = time.perf_counter()
        progress.seconds = now - began
        record = EpochRecord(
            epoch=progress.epoch, epochs=spec.training.epochs, partial=interrupted,
            members=np.array([member.index for member in running]), metric=metric_name(problem.loss_name),
            train_loss=host(train_loss), valid_loss=host(valid_loss), valid_metric=host(valid_metric),
            lr=rates[len(losses) - 1].numpy(), grad_norm=host(layer_norms.norm(dim=2).mean(0)),
            layers=stack.layout.names, layer_grad_norms=host(layer_norms.mean(0)), best_epoch=best_epoch,
            ended={running[row].index: reason for row, reason in ended.items()},
            seconds=now - epoch_began, elapsed=progress.seconds,
        )  # fmt: skip
        progress.retire(ended, progress.epoch)
        keep(progress)
        for observer in observers:
            observer(record)


def host(x: Tensor) -> Floats:
    return x.detach().to("cpu", torch.float64).numpy()


def validate(
    runner: Runner, members: Sequence[Member], problem: Problem, loss_numbers: Tensors, state: State
) -> tuple[Tensor, Tensor]:
    """Each member's loss and metric ``[K]`` on its own validation rows, NaN where it has none.

    The loss is the one trained on, without label smoothing.
    """
    real = measured_dtype(state.params.device)
    nothing = torch.full((len(members),), float("nan"), dtype=real, device=state.params.device)
    if any(len(member.valid_rows) == 0 for member in members):
        return nothing, nothing
    rows = [member.valid_rows for member in members]
    outputs = runner.outputs(state.weights, state.buffers, rows)
    losses, metrics = [], []
    for k, output in enumerate(outputs):
        target = problem.data.targets[torch.from_numpy(rows[k]).to(output.device)]
        numbers = {name: number[k] for name, number in loss_numbers.items() if name != "label_smoothing"}
        losses.append(problem.loss(output, target, numbers).to(real))
        metrics.append(metric(problem.loss_name, output, target, numbers, real).to(nothing))
    return torch.stack(losses), torch.stack(metrics)


def monitored(training: Training, name: str, train_loss: Tensor, valid_loss: Tensor, valid_metric: Tensor) -> Tensor:
    """What decides which epoch is best, ``[K]``, smaller is better."""
    if training.monitor == "train_loss":
        return train_loss.to(valid_loss)
    if training.monitor == "valid_loss" or not name:
        return valid_loss
    return -valid_metric if name == "accuracy" else valid_metric


def endings(
    epoch: int, best_epoch: NDArray[np.int64], healthy: NDArray[np.bool_], training: Training, interrupted: bool
) -> dict[int, Ended]:
    """The rows of the stack that trained for the last time, and why."""
    ended: dict[int, Ended] = {}
    for row in range(len(best_epoch)):
        if not healthy[row]:
            ended[row] = "diverged"
        elif interrupted:
            ended[row] = "interrupted"
        elif epoch >= training.epochs:
            ended[row] = "finished"
        elif training.patience is not None and epoch - best_epoch[row] >= training.patience:
            ended[row] = "stopped early"
    return ended
