"""Schedules by step and by the members' own losses, decay that spares vectors, averaged weights: a member of a stack
against the same member alone, and against a plain torch loop with torch's own parts."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler as torchs
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import lockstep
from lockstep.engine.population import Member
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


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[Data, Data]:
    x = torch.from_numpy(rng.normal(size=(ROWS + 60, FEATURES)))
    y = torch.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + torch.from_numpy(rng.normal(0, 0.5, len(x)))
    return (x[:ROWS], y[:ROWS]), (x[ROWS:], y[ROWS:])


def train(data: Data, valid: Data | None, case: dict[str, Any], members: Any = None) -> lockstep.Result:
    given = {"schedule": None} | case
    return lockstep.train(
        make, data, valid, loss="mse", epochs=EPOCHS, batch_size=BATCH, seeds=2, members=members, quiet=True, **given
    )


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


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Relative distance of two sets of weights and buffers as whole vectors."""
    a, b = (torch.cat([state[name].double().reshape(-1) for name in sorted(theirs)]) for state in (ours, theirs))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("with_valid", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_every_member_ends_where_plain_torch_ends(case: str, with_valid: bool, data: tuple[Data, Data]) -> None:
    rows, valid = data[0], data[1] if with_valid else None
    given = CASES[case] if with_valid else {name: value for name, value in CASES[case].items() if name != "patience"}
    result = train(rows, valid, given)
    assert len(result.members) == 4
    for member in result.members:
        plain = train_plainly(member, rows, valid)
        own = result.history.filter(result.history["member"] == member.index).sort("epoch")
        done = result.trained.finished[member.index]
        assert (done.best_epoch, done.epochs) == (plain.best_epoch, plain.epochs)
        np.testing.assert_allclose(own["lr"], plain.rates, rtol=1e-9, atol=1e-15)
        assert distance(result.member(member.index).state_dict(), plain.best) < 1e-9
    if "plateau" in case:
        cut = [len(set(part["lr"])) > 1 for _, part in result.history.group_by("member")]
        assert any(cut), "the case must be one in which rates are cut"


@pytest.mark.parametrize("case", CASES)
def test_a_member_alone_is_the_member_it_is_among_all(case: str, data: tuple[Data, Data]) -> None:
    among = train(*data, CASES[case])
    alone = train(*data, CASES[case], members=(2,))
    assert alone.trained.finished[0].ended == among.trained.finished[2].ended
    assert distance(alone.member(2).state_dict(), among.member(2).state_dict()) < 1e-9
