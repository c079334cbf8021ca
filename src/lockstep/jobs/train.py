"""``lockstep.train``: any ``nn.Module``, a whole population of it, in one stack."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lockstep.data import make_splits
from lockstep.engine.alone import seeded
from lockstep.engine.forward import as_input
from lockstep.engine.loop import Problem
from lockstep.engine.population import Member, make_population
from lockstep.engine.step import Resident
from lockstep.engine.tables import loss_numbers
from lockstep.engine.train import Trained, make_modules, pick_device, train_population
from lockstep.errors import SpecError, TrainingError
from lockstep.findings import Finding
from lockstep.jobs.interrupt import stop_on_interrupt
from lockstep.jobs.prepare import long_schedules
from lockstep.jobs.progress import progress
from lockstep.jobs.tensors import joined, unpack
from lockstep.network.checks import check_logits
from lockstep.network.losses import LOSSES, LossFunction
from lockstep.runs import History
from lockstep.spec import AdamW, Constant, CosineAnnealingLR, Loss, Optimizer, Population, Schedule, Training, TrainSpec


@dataclass(frozen=True, eq=False)
class Result:
    """What ``lockstep.train`` returns. ``members`` are those that were trained, in the population's order."""

    members: tuple[Member, ...]
    history: pl.DataFrame
    trained: Trained
    findings: tuple[Finding, ...] = ()

    def member(self, index: int) -> nn.Module:
        """The trained network of member ``index`` (its number in the whole population): a plain module in eval mode,
        with the weights of its best epoch, on the CPU."""
        position = self._position(index)
        if self.trained.finished[position].best_epoch == 0:
            ended = self.trained.finished[position].ended
            raise TrainingError(f"Member {index} has no trained weights: it {ended} before its first epoch was good.")
        return self.trained.module(position)

    @cached_property
    def leaderboard(self) -> pl.DataFrame:
        """One row per member, best validation loss first (last train loss where there are no validation rows)."""
        by = "valid_loss" if self.history["valid_loss"].is_not_nan().any() else "train_loss"
        ends = {m.index: done for m, done in zip(self.members, self.trained.finished, strict=True)}
        best = self.history.filter(
            pl.col("epoch") == pl.col("member").replace_strict({i: d.best_epoch for i, d in ends.items()})
        )
        choices = pl.DataFrame(
            [{"member": m.index, **{k: str(v) for k, v in m.choices.items()}, "best_epoch": ends[m.index].best_epoch,
              "epochs": ends[m.index].epochs, "ended": ends[m.index].ended} for m in self.members]
        )  # fmt: skip
        columns = ["member", "candidate", "fold", "seed", "train_loss", "valid_loss", "valid_metric"]
        return choices.join(best.select(columns), on="member", how="left").sort(by, nulls_last=True)

    def predict(self, x: Any) -> np.ndarray:
        """Every member's outputs ``[K, N, …]`` on the rows of ``x``, in the order of ``members``.

        NaN for a member that never had a good epoch.
        """
        like = self.trained.stacks[0].params
        outputs = self.trained.outputs(
            tuple(as_input(part, like, like.device) for part in (x if isinstance(x, tuple) else (x,)))
        )
        outputs[[done.best_epoch == 0 for done in self.trained.finished]] = np.nan
        return outputs

    def _position(self, index: int) -> int:
        known = [member.index for member in self.members]
        if index not in known:
            raise SpecError(f"member must be one that was trained ({known[0]} … {known[-1]}), however: {index}.")
        return known.index(index)

    def __repr__(self) -> str:
        return f"Result of {len(self.members)} members\n{self.leaderboard}"


def train(
    make_module: Callable[[], nn.Module],
    data: Any,
    valid: Any = None,
    *,
    loss: str | Loss | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
    optimizer: Optimizer = AdamW(),  # noqa: B008  (frozen)
    schedule: Schedule | None = CosineAnnealingLR(),  # noqa: B008
    epochs: int = 100,
    batch_size: int | None = None,
    clip_norm: Any = None,
    ema: Any = None,
    patience: int | None = None,
    folds: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    members: Any = None,
    device: str = "auto",
    quiet: bool = False,
) -> Result:
    """Train a population of ``make_module()``: candidates × folds × seeds, stacked, in one fused step.

    ``make_module`` is called once per member under ``torch.manual_seed(that member's seed)``. ``data`` is ``(x, y)``
    of tensors or arrays (``x`` a tuple for several inputs), a map-style ``Dataset`` or its ``DataLoader`` (whose batch
    size it then is; 128 otherwise); ``valid`` likewise. A list where a number belongs is an axis of candidates.
    Without ``valid``, ``folds=n`` cross-validates. ``loss`` is a name, a ``Loss`` or a function (output, target) → mean
    loss. ``schedule=None`` keeps the rate. Each member keeps the weights of its best epoch by validation loss (the last
    epoch without validation rows) and stops after ``patience`` epochs without a better one. ``ema`` is the decay of a
    moving average of the weights, which is then what is judged and kept.

    Raises ``SpecError`` for settings, ``DataError`` for data.
    """
    if isinstance(make_module, nn.Module):
        raise SpecError(
            "make_module must be a function that makes a new module for each member, however: a module. "
            "Give lambda: Net(…)."
        )
    inputs, targets = unpack(data, "data")
    if batch_size is None:
        batch_size = data.batch_size if isinstance(data, DataLoader) and data.batch_size else 128
    loss_spec, loss_function = understood(loss)
    spec = TrainSpec(
        loss=loss_spec,
        optimizer=optimizer,
        schedule=schedule or Constant(),
        training=Training(epochs=epochs, batch_size=batch_size, clip_norm=clip_norm, ema=ema, patience=patience),
        population=Population(folds=folds or 1, seeds=seeds, seed=seed, members=members),
    )
    rows = len(targets)
    if valid is not None:
        inputs, targets = joined((inputs, targets), unpack(valid, "valid"))
    population = make_population(spec, split_rows(rows, targets, folds, spec.population))
    if patience is not None and len(population.members[0].valid_rows) == 0:
        raise SpecError(f"patience needs validation rows, however: patience={patience}. Give valid=(x, y) or folds=5.")

    where = pick_device(device)
    modules = make_modules(lambda _: make_module(), population.training)
    like = next(modules[0].parameters())
    try_alone(modules[0], tuple(as_input(x[:2], like, torch.device("cpu")) for x in inputs), loss_spec.name)
    resident = Resident(tuple(as_input(x, like, where) for x in inputs), as_input(targets, like, where))

    def problem(ours: Sequence[Member]) -> Problem:
        numbers = loss_numbers(ours, modules[0], where, class_weights=own_weights(spec.loss, len(ours)))
        return Problem(resident, loss_function, "" if loss_spec.name == "auto" else loss_spec.name, numbers)

    history, found = History(population.identities), list[Finding]()
    with progress(quiet=quiet) as show, stop_on_interrupt(show.say) as stop:

        def notice(finding: Finding) -> None:
            found.append(finding)
            show.finding(finding)

        for finding in long_schedules(population):
            notice(finding)
        trained = train_population(
            population, modules, problem, where, observers=[history, show], stop=stop, notice=notice
        )
    return Result(population.training, history.frame(), trained, tuple(found))


def try_alone(module: nn.Module, inputs: tuple[Tensor, ...], loss: str) -> None:
    """Let one network see two rows by itself: what is wrong between the two, torch then says plainly.

    Raises ``SpecError`` where it gives probabilities to a loss that takes logits.
    """
    try:
        with torch.enable_grad(), seeded(0, torch.device("cpu")):
            output = copy.deepcopy(module).eval()(*inputs)
    except Exception as error:
        shapes = ", ".join(str(list(x.shape)) for x in inputs)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise TrainingError(
            f"The network must take a batch of the data, {shapes}, however it raises {reason}."
        ) from error
    if isinstance(output, Tensor):
        check_logits(output, loss)


def understood(loss: str | Loss | Callable[[Tensor, Tensor], Tensor]) -> tuple[Loss, LossFunction]:
    """A loss as data, and as the function it names; of the user's own function the name is ``auto``."""
    if callable(loss):
        return Loss(), lambda output, target, _: loss(output, target)
    spec = Loss.parse({"name": loss}) if isinstance(loss, str) else loss
    if spec.name not in LOSSES:
        raise SpecError(f"loss must be one of {', '.join(LOSSES)} or a function, however: {spec.name!r}.")
    return spec, LOSSES[spec.name]


def own_weights(loss: Loss, members: int) -> NDArray[np.float64] | None:
    if loss.class_weights == "balanced":
        raise SpecError("class_weights must be one number per class here, however: 'balanced'. Count the classes.")
    return None if loss.class_weights is None else np.tile(loss.class_weights, (members, 1))


def split_rows(
    rows: int, targets: Tensor, folds: int | None, wanted: Population
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The (train, validation) rows of each fold: the user's own validation rows, or a cross-validation, or none."""
    everything = np.arange(rows)
    if folds is None:
        return [(everything, np.arange(rows, len(targets)))]
    if len(targets) > rows:
        raise SpecError(f"valid and folds exclude each other, however: folds={folds} and valid rows. Leave one out.")
    classes = targets.dtype == torch.int64 and targets.dim() == 1
    splits = make_splits(
        targets.numpy() if targets.dim() == 1 else everything, "multiclass" if classes else "regression",
        folds=folds, valid_size=wanted.valid_size, test_size=0.0, seed=wanted.seed,
    )  # fmt: skip
    return [(fold.train, fold.valid) for fold in splits.folds]
