"""The law of the project for every family, by every executor: a member of a stack is the same member alone, and a plain
torch loop."""

from functools import cache

import numpy as np
import pytest
import torch
from every import able
from plain import train_plainly
from torch import nn
from torch.nn import functional as F

from lockstep.engine.loop import Problem
from lockstep.engine.population import make_population
from lockstep.engine.step import Resident
from lockstep.engine.train import make_modules, train_population
from lockstep.network.families import make_body
from lockstep.network.losses import LOSSES
from lockstep.network.shapes import Flat, Grid, Sequence
from lockstep.spec import AdamW, Mlp, Population, Training, TrainSpec
from lockstep.spec.network import Augment, Cnn, Rnn, Transformer

ROWS, VALID, CLASSES, EPOCHS = 64, 16, 3, 13
SERIES, IMAGES = Sequence(7, 3), Grid(2, 6, 5)
CASES = {
    "mlp": (Mlp(hidden=(8, 8), residual=True, norm="layer", dropout=0.2), Flat(5)),
    "cnn, images": (
        Cnn(channels=(4, 6), dropout=0.2, augment=Augment(flip=True, shift=1, cutout=2), pooling="flatten"), IMAGES
    ),
    "cnn, residual": (Cnn(channels=(4,), convs=2, residual=True, norm="layer", activation="gelu", dropout=0.2), IMAGES),
    "cnn, series": (Cnn(channels=(5, 6), kernel=(4, 3), pool=2, pooling="mean_max", dropout=0.2), SERIES),
    "cnn, parallel": (Cnn(layout="parallel", channels=(4,), kernel=(2, 3), pool=1, pooling="max", norm="none"), SERIES),
    "elman": (Rnn(cell="elman", hidden=5, layers=2, pooling="mean", dropout=0.2), SERIES),
    "lstm": (Rnn(cell="lstm", hidden=5, layers=2, pooling="last", dropout=0.2), SERIES),
    "gru": (Rnn(cell="gru", hidden=5, bidirectional=False, pooling="max", dropout=0.2), SERIES),
    "transformer": (
        Transformer(width=8, heads=2, layers=2, feedforward=12, dropout=0.2, attention_dropout=0.1), SERIES
    ),
    "transformer, rotary": (
        Transformer(
            width=8, heads=2, layers=1, feedforward=12, positions="rotary", pooling="cls", patch=3, stride=2, norm="rms"
        ),
        SERIES,
    ),
}  # fmt: skip


class Whole(nn.Module):
    """A family's body and a linear head. A sequence comes with its length."""

    def __init__(self, case: str) -> None:
        super().__init__()
        self.body, width = make_body(*CASES[case])
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor, *lengths: torch.Tensor) -> torch.Tensor:
        masks = [torch.arange(x.shape[1]) < own[:, None] for own in lengths]
        return self.head(self.body(x, *masks))


def data_for(case: str, rng: np.random.Generator) -> Resident:
    match CASES[case][1]:
        case Flat(width=width):
            size: tuple[int, ...] = (width,)
        case Grid(channels=channels, height=height, width=width):
            size = (channels, height, width)
        case Sequence(length=length, width=width):
            size = (length, width)
    x = torch.from_numpy(rng.normal(size=(ROWS, *size)))
    y = x.flatten(1)[:, :CLASSES].argmax(1)
    lengths = torch.from_numpy(rng.integers(1, size[0] + 1, ROWS))
    return Resident((x, lengths) if isinstance(CASES[case][1], Sequence) else (x,), y)


def members_of(case, data, chosen=None):
    spec = TrainSpec(
        optimizer=AdamW(lr=[1e-3, 1e-2]),
        training=Training(epochs=EPOCHS, batch_size=12),
        population=Population(folds=1, seeds=2, seed=int(data.targets.sum()), members=chosen),
    )
    population = make_population(spec, [(np.arange(VALID, ROWS), np.arange(VALID))])
    return population, make_modules(lambda _: Whole(case).double(), population.training)


def run(case, data, executor, chosen=None):
    problem = Problem(data, LOSSES["cross_entropy"], "cross_entropy", {}, executor)
    return train_population(*members_of(case, data, chosen), lambda _: problem, torch.device("cpu"))


@cache
def plainly(case):
    """Data of its own for a case, and what a plain torch loop makes of each member."""
    seed = int(np.random.default_rng().integers(2**31))
    data = data_for(case, np.random.default_rng(seed))
    population, modules = members_of(case, data)
    assert population.members[0].steps * EPOCHS == 52
    ends = [
        train_plainly(module, member, data.inputs, data.targets, F.cross_entropy)
        for module, member in zip(modules, population.members, strict=True)
    ]
    return seed, data, ends


def outputs(module, data):
    with torch.no_grad():
        return module.eval()(*data.inputs)


RUNS = [
    (case, executor)
    for case in CASES
    for executor in able(Whole(case).double(), "cross_entropy", data_for(case, np.random.default_rng(0)))
]


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_a_member_of_a_stack_is_the_same_member_alone_and_a_plain_torch_loop(case, executor):
    seed, data, ends = plainly(case)
    print("seed", seed)  # shown when a test fails
    fused = run(case, data, executor)
    assert (len(fused.members), len(fused.stacks)) == (4, 1)
    lonely = int(np.random.default_rng().integers(4))
    alone = run(case, data, executor, (lonely,))
    found = [(index, fused.module(index), fused.finished[index]) for index in range(4)]
    for index, own, done in [*found, (lonely, alone.module(0), alone.finished[0])]:
        plain = ends[index]
        assert done.best_epoch == plain.best_epoch
        by_hand = Whole(case).double()
        by_hand.load_state_dict(plain.best, strict=False)
        torch.testing.assert_close(outputs(own, data), outputs(by_hand, data), rtol=0, atol=1e-9)
        weights = own.state_dict()
        assert max(float((weights[k].double() - v.double()).abs().max()) for k, v in plain.best.items()) < 1e-9
    assert float((outputs(fused.module(0), data) - outputs(fused.module(1), data)).abs().max()) > 1e-3
