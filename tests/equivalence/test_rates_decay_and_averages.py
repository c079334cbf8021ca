"""Schedules by step and by the members' own losses, decay that spares vectors, averaged weights: a member of a stack
against the same member alone, and against a plain torch loop with torch's own parts."""

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from every import able, distance
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler as torchs
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import lockstep
from lockstep.engine.population import Member
from lockstep.engine.step import Resident
from lockstep.engine.streams import batch_rows
from lockstep.spec import (
    SGD,
    Adam,
    AdamW,
    Constant,
    CosineAnnealingLR,
    CosineWarmup,
    Coslog4,
    OneCycleLR,
    Optimizer,
    ReduceLROnPlateau,
)

ROWS, FEATURES, BATCH, EPOCHS = 100, 5, 16, 10
STEPS = ROWS // BATCH
Data = tuple[Tensor, Tensor]


def make() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(),
        nn.Linear(8, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 1),
    ).double()  # fmt: skip


PLATEAU = ReduceLROnPlateau(factor=[0.3, 0.7], patience=1, threshold=0.2, cooldown=1, min_lr=1e-4)
CASES: dict[str, dict[str, Any]] = {
    "one cycle of sgd": {"optimizer": SGD(lr=[0.02, 0.1], momentum=0.5), "schedule": OneCycleLR()},
    "one cycle of adamw": {
        "optimizer": AdamW(weight_decay=0.1),
        "schedule": OneCycleLR(max_lr=[0.01, 0.1], three_phase=True, pct_start=0.4),
    },
    "cosine with warm-up": {"optimizer": Adam(lr=0.03), "schedule": CosineWarmup(warmup=[0.05, 0.4])},
    "coslog4": {"optimizer": AdamW(lr=[0.01, 0.05]), "schedule": Coslog4()},
    "plateau": {"optimizer": Adam(lr=0.03), "schedule": PLATEAU},
    "plateau and early stops": {"optimizer": Adam(lr=0.03), "schedule": PLATEAU, "patience": 4},
    "spared vectors": {"optimizer": AdamW(lr=0.03, weight_decay=[0.1, 2.0], decay_vectors=False)},
    "spared vectors, sgd": {"optimizer": SGD(lr=0.1, weight_decay=[0.01, 0.1], decay_vectors=False)},
    "averages": {"optimizer": AdamW(lr=0.03), "ema": [0.5, 0.95], "schedule": CosineAnnealingLR()},
    "all of it": {
        "optimizer": SGD(lr=0.05, momentum=0.9, weight_decay=0.02, decay_vectors=False),
        "ema": 0.8, "schedule": PLATEAU, "patience": 4,
    },
}  # fmt: skip


def drawn(rng: np.random.Generator) -> tuple[Data, Data]:
    x = torch.from_numpy(rng.normal(size=(ROWS + 60, FEATURES)))
    y = torch.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + torch.from_numpy(rng.normal(0, 0.5, len(x)))
    return (x[:ROWS], y[:ROWS]), (x[ROWS:], y[ROWS:])


EVERY = able(make(), "mse", Resident((drawn(np.random.default_rng(0))[0][0],), torch.zeros(ROWS).double()))


@dataclass
class Plain:
    best: dict[str, Tensor]
    best_epoch: int
    epochs: int
    rates: list[float]


def train_plainly(member: Member, data: Data, valid: Data | None) -> Plain:
    """The same by hand, from the spec of a member."""
    torch.manual_seed(member.seed)
    module, spec = make(), member.spec
    optimizer = torchs_optimizer(spec.optimizer, module)
    scheduler, by_step = torchs_schedule(spec.schedule, optimizer)
    averaged = None
    if spec.training.ema is not None:
        averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(float(spec.training.ema)))  # type: ignore[arg-type]
    result, lowest = Plain({}, 0, 0, []), float("inf")
    for epoch in range(EPOCHS):
        module.train()
        losses = []
        for rows in batch_rows(member, epoch, STEPS, BATCH):
            optimizer.zero_grad()
            loss = F.mse_loss(module(data[0][rows]).squeeze(1), data[1][rows])
            loss.backward()
            rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            losses.append(loss.item())
            if averaged is not None:
                averaged.update_parameters(module)
            if by_step:
                scheduler.step()
        judged = module if averaged is None else averaged.module
        value = float(np.mean(losses))
        if valid is not None:
            with torch.no_grad():
                value = F.mse_loss(copy.deepcopy(judged).eval()(valid[0]).squeeze(1), valid[1]).item()
        if isinstance(scheduler, torchs.ReduceLROnPlateau):
            scheduler.step(value)
        elif not by_step:
            scheduler.step()
        result.rates.append(rate)
        result.epochs = epoch + 1
        if value < lowest or valid is None:
            lowest, result.best, result.best_epoch = value, copy.deepcopy(judged.state_dict()), epoch + 1
        if spec.training.patience and epoch + 1 - result.best_epoch >= spec.training.patience:
            break
    return result


def torchs_optimizer(spec: Optimizer, module: nn.Module) -> torch.optim.Optimizer:
    vectors = [p for p in module.parameters() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": [p for p in module.parameters() if p.dim() > 1]}, {"params": vectors}]
    if not spec.decay_vectors:
        groups[1]["weight_decay"] = 0.0
    numbers: dict[str, Any] = {"lr": spec.lr, "weight_decay": spec.weight_decay}
    match spec:
        case SGD():
            return torch.optim.SGD(groups, **numbers, momentum=spec.momentum)  # type: ignore[arg-type]
        case Adam():
            return torch.optim.Adam(groups, **numbers)
    return torch.optim.AdamW(groups, **numbers)


def torchs_schedule(spec: Any, optimizer: torch.optim.Optimizer) -> tuple[Any, bool]:
    total = EPOCHS * STEPS
    match spec:
        case OneCycleLR():
            fields = spec._fields() | {"max_lr": spec.max_lr or optimizer.param_groups[0]["lr"], "total_steps": total}
            return torchs.OneCycleLR(optimizer, **{k: v for k, v in fields.items() if k != "name"}), True
        case CosineWarmup():
            rising = round(spec.warmup * total)  # type: ignore[operator]

            def share(t: int) -> float:
                falling = np.pi * (t - rising) / (total - rising)
                return (t + 1) / (rising + 1) if t < rising else (1 + np.cos(falling)) / 2

            return torchs.LambdaLR(optimizer, share), True
        case Coslog4():
            return torchs.LambdaLR(optimizer, lambda t: (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t / total))) / 2), True
        case ReduceLROnPlateau():
            fields = {name: value for name, value in spec._fields().items() if name != "name"}
            return torchs.ReduceLROnPlateau(optimizer, "min", **fields), False
        case CosineAnnealingLR():
            return torchs.CosineAnnealingLR(optimizer, EPOCHS), False
    assert spec == Constant()
    return torchs.LambdaLR(optimizer, lambda _: 1.0), False


class Setting:
    """Data of its own for a case, and what a plain torch loop makes of its members: once for all executors."""

    def __init__(self, case: str, with_valid: bool) -> None:
        self.seed = int(np.random.default_rng().integers(2**31))
        self.rows, valid = drawn(np.random.default_rng(self.seed))
        self.valid = valid if with_valid else None
        self.case = {name: value for name, value in CASES[case].items() if with_valid or name != "patience"}
        self.known: dict[int, Plain] = {}

    def by(self, executor: str, members: Any = None) -> lockstep.Result:
        print("seed", self.seed)  # shown when a test fails
        return lockstep.train(
            make, self.rows, self.valid, loss="mse", epochs=EPOCHS, batch_size=BATCH, seeds=2, members=members,
            executor=executor, quiet=True, **({"schedule": None} | self.case),
        )  # fmt: skip

    def plain(self, member: Member) -> Plain:
        if member.index not in self.known:
            self.known[member.index] = train_plainly(member, self.rows, self.valid)
        return self.known[member.index]


setting = cache(Setting)


@pytest.mark.parametrize("executor", EVERY)
@pytest.mark.parametrize("with_valid", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_every_member_ends_where_plain_torch_ends(case: str, with_valid: bool, executor: str) -> None:
    own = setting(case, with_valid)
    result = own.by(executor)
    assert len(result.members) == 4
    for member in result.members:
        plain = own.plain(member)
        rates = result.history.filter(member=member.index).sort("epoch")["lr"]
        done = result.trained.finished[member.index]
        assert (done.best_epoch, done.epochs) == (plain.best_epoch, plain.epochs)
        np.testing.assert_allclose(rates, plain.rates, rtol=1e-9, atol=1e-15)
        assert distance(result.member(member.index), plain.best) < 1e-9
    if "plateau" in case:
        cut = [len(set(part["lr"])) > 1 for _, part in result.history.group_by("member")]
        assert any(cut), "the case must be one in which rates are cut"


@pytest.mark.parametrize("executor", EVERY)
@pytest.mark.parametrize("case", CASES)
def test_a_member_alone_ends_where_plain_torch_ends(case: str, executor: str) -> None:
    own = setting(case, True)
    result = own.by(executor, members=(2,))
    (member,) = result.members
    assert result.trained.finished[0].epochs == own.plain(member).epochs
    assert distance(result.member(2), own.plain(member).best) < 1e-9
