"""What ``lockstep.train`` returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from lockstep.engine.alone import seeded
from lockstep.engine.forward import as_input
from lockstep.engine.population import Member
from lockstep.engine.train import Trained
from lockstep.errors import SpecError, TrainingError
from lockstep.findings import Finding
from lockstep.jobs.tensors import unpack
from lockstep.spec.names import say

LossOf = Callable[[Member, nn.Module], Callable[[Tensor, Tensor], Tensor]]


@dataclass(frozen=True, eq=False)
class Result:
    """What ``lockstep.train`` returns. ``members`` are those that were trained, in the population's order.

    ``history`` has a row per member and epoch: what sets its candidate apart, losses, metric, rate, the norms of its
    gradient, also by parameter, and in its last row why it ended. ``findings`` are what was noticed, such as why
    networks could not be stacked.
    """

    members: tuple[Member, ...]
    history: pl.DataFrame
    trained: Trained
    loss: LossOf
    findings: tuple[Finding, ...]

    def member(self, index: int) -> nn.Module:
        """The trained network of member ``index`` (its number in the whole population): a plain module in eval mode,
        with the weights of its best epoch, on the CPU."""
        position = self._position(index)
        if self.trained.finished[position].best_epoch == 0:
            ended = self.trained.finished[position].ended
            raise TrainingError(f"Member {index} has no trained weights: it {ended} before its first epoch was good.")
        return self.trained.module(position)

    @property
    def validated(self) -> bool:
        """Whether there were validation rows."""
        return any(len(member.valid_rows) for member in self.members)

    @cached_property
    def leaderboard(self) -> pl.DataFrame:
        """One row per member, best validation loss first, those that were halved last.

        Where there are no validation rows: by the last train loss, and without the columns for them.
        """
        by = "valid_loss" if self.validated else "train_loss"
        ends = {m.index: done for m, done in zip(self.members, self.trained.finished, strict=True)}
        best = self.history.filter(
            pl.col("epoch") == pl.col("member").replace_strict({i: d.best_epoch for i, d in ends.items()})
        )
        ended = pl.DataFrame(
            {"member": list(ends), "best_epoch": [done.best_epoch for done in ends.values()],
             "epochs": [done.epochs for done in ends.values()], "ended": [done.ended for done in ends.values()]}
        )  # fmt: skip
        columns = ["member", "candidate", "fold", "seed", "train_loss"]
        columns += ["valid_loss", "valid_metric"] if self.validated else []
        board = chosen(self.members).join(ended, on="member").join(best.select(columns), on="member", how="left")
        return board.sort(pl.col("ended") == "halved", by, nulls_last=True)

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

    def gradients(self, index: int, x: Any, y: Any, *, training: bool = False) -> dict[str, Tensor]:
        """The gradient of the loss of member ``index`` on the rows ``x``, ``y``: by parameter, each in its shape.

        In eval mode; with ``training`` as in a step: batch norm by these rows, a dropout mask from the member's seed.
        """
        module, member = self.member(index).train(training), self.members[self._position(index)]
        like = next(module.parameters())
        inputs, target = unpack((x, y), "rows")
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        with seeded(member.seed, like.device), torch.enable_grad():
            output = module(*(as_input(part, like, like.device) for part in inputs))
            value = self.loss(member, module)(output, as_input(target, like, like.device))
            found = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
        return dict(zip(parameters, found, strict=True))

    def _position(self, index: int) -> int:
        known = [member.index for member in self.members]
        if index not in known:
            raise SpecError(f"member must be one that was trained ({known[0]} … {known[-1]}), however: {index}.")
        return known.index(index)

    def __repr__(self) -> str:
        by = "" if self.validated else ", by train loss: there were no validation rows"
        return f"Result of {len(self.members)} members{by}\n{self.leaderboard}"


def chosen(members: Sequence[Member]) -> pl.DataFrame:
    """A row per member with what sets its candidate apart: numbers as numbers, all else by name."""
    paths = dict.fromkeys(path for member in members for path in member.choices)
    columns = {path: [member.choices.get(path) for member in members] for path in paths}
    return pl.DataFrame({"member": [m.index for m in members]} | {path: told(own) for path, own in columns.items()})


def with_choices(history: pl.DataFrame, members: Sequence[Member]) -> pl.DataFrame:
    """A history with what sets each member's candidate apart, as further columns."""
    choices = chosen(members)
    return history if choices.width == 1 else history.join(choices, on="member", how="left", maintain_order="left")


def told(values: list[Any]) -> list[Any]:
    """Numbers as they are if all are; else the names of classes and functions, and all else as it is written."""
    given = [value for value in values if value is not None]
    if all(type(value) in (int, float) for value in given):
        return [None if value is None else float(value) for value in values] if float in map(type, given) else values
    return [None if value is None else getattr(value, "__name__", None) or say(value) for value in values]
