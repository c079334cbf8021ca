"""The law of the project: a member of a stack ends where the same member alone ends, and where plain torch ends."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from every import able, distance
from plain import PlainResult, train_plainly
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.engine.loop import Problem
from lockstep.engine.population import Population as Members
from lockstep.engine.population import make_population
from lockstep.engine.step import Resident
from lockstep.engine.train import Trained, make_modules, train_population
from lockstep.network.families import make_body
from lockstep.network.losses import LOSSES
from lockstep.network.shapes import Grid, Sequence
from lockstep.runs import History
from lockstep.spec import SGD, Adam, AdamW, Constant, CosineAnnealingLR, Population, Training, TrainSpec, Vary
from lockstep.spec.network import Cnn, Rnn, Transformer

ROWS, FEATURES, CLASSES, FOLDS, BATCH = 120, 12, 3, 2, 12


class Pipeline(nn.Sequential):
    """The text's: (Linear, BatchNorm, ReLU, Dropout) × 2, Linear."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, CLASSES),
        )  # fmt: skip


class Residual(nn.Module):
    """A user's own: layer norm, a skip, a dropout used twice, a frozen parameter, a single output."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, 10)
        self.norm = nn.LayerNorm(10)
        self.block = nn.Linear(10, 10)
        self.drop = nn.Dropout(0.2)
        self.shift = nn.Parameter(torch.randn(10), requires_grad=False)
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.last = nn.Linear(10, 1)

    def forward(self, x):
        h = self.drop(F.gelu(self.first(x))) + self.shift
        h = h + self.drop(torch.tanh(self.block(self.norm(h))))
        return self.gain * self.last(h)


class Convolutional(nn.Module):
    """Images: convolution, batch norm over channels, channel dropout, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout2d(0.3),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * 3 * 3, CLASSES)

    def forward(self, x):
        return self.head(self.body(x))


class Family(nn.Module):
    """A body of the families, which has kernels, and a linear head; as ours, whose gradients are plain autograd's."""

    __module__ = "lockstep.network"

    def __init__(self, spec: Any, shape: Any) -> None:
        super().__init__()
        self.body, width = make_body(spec, shape)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        masks = [torch.ones(x.shape[:2], dtype=torch.bool)] if x.dim() == 3 else []
        return self.head(self.body(x, *masks))


IMAGES, SERIES = (1, 6, 6), (5, 3)
RATES = [1e-3, 3e-3, 1e-2]
CASES = {
    "pipeline": (Pipeline, (FEATURES,), "cross_entropy", F.cross_entropy, AdamW(lr=RATES)),
    "residual": (
        Residual, (FEATURES,), "mse", lambda o, y: F.mse_loss(o.squeeze(1), y), Adam(lr=RATES, weight_decay=1e-3)
    ),
    "convolutional": (
        Convolutional, IMAGES, "cross_entropy", F.cross_entropy,
        SGD(lr=[1e-2, 3e-2, 1e-1], momentum=0.9, weight_decay=1e-3),
    ),
    "cnn": (
        lambda: Family(Cnn(channels=(4,), dropout=0.2), Grid(*IMAGES)), IMAGES, "cross_entropy", F.cross_entropy,
        AdamW(lr=RATES),
    ),
    "gru": (
        lambda: Family(Rnn(cell="gru", hidden=4, dropout=0.2), Sequence(*SERIES)), SERIES, "cross_entropy",
        F.cross_entropy, AdamW(lr=RATES),
    ),
    "transformer": (  # by SGD: Adam would make a drift of the round-off in keys' biases, which have gradient zero
        lambda: Family(Transformer(width=8, heads=2, layers=1, feedforward=6, dropout=0.2), Sequence(*SERIES)), SERIES,
        "cross_entropy", F.cross_entropy, SGD(lr=[1e-2, 3e-2, 1e-1], momentum=0.9),
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Outcome:
    population: Members
    trained: Trained
    history: pl.DataFrame


@dataclass(frozen=True, eq=False)
class Setting:
    """A case with data of its own, and what plain torch makes of each member."""

    case: str
    spec: TrainSpec
    data: Resident
    folds: list[tuple[np.ndarray, np.ndarray]]
    seed: int
    dtype: torch.dtype

    def modules(self, population: Members) -> list[nn.Module]:
        return make_modules(lambda _: CASES[self.case][0]().to(self.dtype), population.training)

    def by(self, executor: str, spec: TrainSpec | None = None, members: tuple[int, ...] | None = None) -> Outcome:
        print("data seed", self.seed)  # shown when a test fails
        population = make_population((spec or self.spec).replace("population.members", members), self.folds)
        name, history = CASES[self.case][2], History(population.identities)
        trained = train_population(
            population, self.modules(population), lambda _: Problem(self.data, LOSSES[name], name, {}, executor),
            torch.device("cpu"), observers=[history],
        )  # fmt: skip
        return Outcome(population, trained, history.frame())

    def plainly(self, population: Members, position: int) -> PlainResult:
        module = self.modules(population)[position]
        return train_plainly(
            module, population.members[position], self.data.inputs, self.data.targets, CASES[self.case][3]
        )

    @cached_property
    def plain(self) -> list[PlainResult]:
        population = make_population(self.spec, self.folds)
        return [self.plainly(population, position) for position in range(len(population.members))]


def inputs_of(case: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    _, shape, loss, *_ = CASES[case]
    x = torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64)
    signal = x.flatten(1)[:, :CLASSES]
    return x, signal.argmax(1) if loss == "cross_entropy" else signal.sum(1)


def draw(case: str, dtype: torch.dtype, *, seeds: int = 2, folds: int = FOLDS, **training: Any) -> Setting:
    schedule = training.pop("schedule", CosineAnnealingLR())
    seed = int(np.random.default_rng().integers(2**31))
    x, y = inputs_of(case, torch.Generator().manual_seed(seed))
    spec = TrainSpec(
        optimizer=CASES[case][4],
        schedule=schedule,
        training=Training(**({"batch_size": BATCH, "clip_norm": 1.0} | training)),
        population=Population(folds=folds, seeds=seeds, seed=5),
    )
    blocks = np.array_split(np.random.default_rng(seed).permutation(ROWS), folds)
    parts = [(np.sort(np.setdiff1d(np.arange(ROWS), block)), np.sort(block)) for block in blocks]
    return Setting(case, spec, Resident((x.to(dtype),), y), parts, seed, dtype)


def able_to(case: str) -> list[str]:
    x, y = inputs_of(case, torch.Generator().manual_seed(0))
    return able(CASES[case][0]().double(), CASES[case][2], Resident((x,), y))


RUNS = [(case, executor) for case in CASES for executor in able_to(case)]
CHAIN = [executor for case, executor in RUNS if case == "pipeline"]


@cache
def steps_200(case: str) -> Setting:
    return draw(case, torch.float64, folds=4, epochs=40, batch_size=18)


@cache
def early(case: str) -> Setting:
    """On data on which the members stop at different times, by plain torch: on some a slow network goes to the end."""
    drawn = (draw(case, torch.float64, epochs=40, patience=3, schedule=Constant()) for _ in range(20))
    return next(setting for setting in drawn if len({len(plain.train_losses) for plain in setting.plain}) > 1)


@cache
def steps_30(case: str) -> Setting:
    return draw(case, torch.float32, epochs=6)


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_in_float64_every_member_has_the_weights_of_a_plain_torch_loop_after_200_steps(case, executor):
    setting = steps_200(case)
    done = setting.by(executor)
    assert len(done.population.members) == 3 * 4 * 2
    assert done.population.members[0].steps * 40 == 200
    for position, plain in enumerate(setting.plain):
        assert done.trained.finished[position].best_epoch == plain.best_epoch
        assert distance(done.trained.module(position), plain.best) < 1e-9


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_in_float64_a_member_trained_alone_has_the_weights_of_a_plain_torch_loop(case, executor):
    setting = steps_200(case)
    index = int(np.random.default_rng().integers(len(setting.plain)))
    alone = setting.by(executor, members=(index,)).trained
    assert distance(alone.module(0), setting.plain[index].best) < 1e-9


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_in_float32_losses_follow_a_plain_torch_loop_over_30_steps(case, executor):
    # A number within round-off of ReLU's corner, or of a tie in a pooling window, may fall on the other side of it, and
    # its network goes another way from there: in about one run of a hundred. On other data it then follows.
    strayed = strays(steps_30(case), executor)
    assert not strayed or not strayed & strays(draw(case, torch.float32, epochs=6), executor)


def strays(setting: Setting, executor: str) -> set[int]:
    """The members whose losses, in float32, are not those of a plain torch loop."""
    done = setting.by(executor)
    assert done.population.members[0].steps * 6 == 30
    # A bias in front of a batch norm has gradient zero, Adam turns its round-off into drift, and the running mean
    # lags behind: in eval mode that shows, and says nothing of the step.
    drifts = setting.case == "pipeline"
    found = set()
    for position, plain in enumerate(setting.plain):
        own = done.history.filter(member=position).sort("epoch")
        follows = np.allclose(own["train_loss"], plain.train_losses, rtol=1e-4, atol=0)
        follows &= np.allclose(own["valid_loss"], plain.valid_losses, rtol=1e-2 if drifts else 1e-4, atol=0)
        if not follows:
            found.add(position)
    return found


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_members_stop_early_at_the_epoch_at_which_they_would_stop_alone(case, executor):
    setting = early(case)
    done = setting.by(executor).trained
    assert len({one.epochs for one in done.finished}) > 1, "members must stop at different times"
    for position, plain in enumerate(setting.plain):
        own = done.finished[position]
        assert (own.epochs, own.best_epoch) == (len(plain.train_losses), plain.best_epoch)
        assert distance(done.module(position), plain.best) < 1e-9


@pytest.mark.parametrize("executor", CHAIN)
def test_candidates_that_differ_in_structure_and_numbers_end_where_plain_torch_ends(executor):
    setting = draw("pipeline", torch.float64, seeds=1, epochs=6)
    varied = setting.spec.replace("optimizer", Vary(SGD(lr=[3e-2, 1e-1], momentum=0.9), AdamW(lr=3e-3))).replace(
        "schedule", Vary(CosineAnnealingLR(eta_min=[0.0, 1e-3]), Constant())
    )
    varied = varied.replace("training", Vary(Training(epochs=3, batch_size=16), Training(epochs=2, batch_size=40)))
    done = setting.by(executor, varied)
    assert len(done.population.members) == 3 * 3 * 2 * FOLDS
    assert len(done.trained.stacks) == 2 * 2 * 2, "numbers share a stack, all else does not"
    for position in np.random.default_rng().choice(len(done.population.members), 12, replace=False).tolist():
        plain = setting.plainly(done.population, position)
        own = done.trained.finished[position]
        assert (own.epochs, own.best_epoch) == (
            done.population.members[position].spec.training.epochs, plain.best_epoch
        )  # fmt: skip
        assert distance(done.trained.module(position), plain.best) < 1e-9


@pytest.mark.parametrize("executor", CHAIN)
def test_a_survivor_of_halving_ends_where_it_ends_without_and_the_others_go_there_until_they_are_left_behind(executor):
    setting = draw("pipeline", torch.float64, seeds=1, epochs=12)
    varied = setting.spec.replace(
        "optimizer", Vary(SGD(lr=[1e-3, 3e-2, 3e-1], momentum=0.9), AdamW(lr=[1e-3, 3e-3, 1e-2]))
    )
    whole, halved = setting.by(executor, varied), setting.by(executor, varied.replace("population.halve", 2))
    assert len(halved.trained.stacks) == 2
    counts = [done.epochs for done in halved.trained.finished]
    assert (counts.count(3), counts.count(6), counts.count(12)) == (3 * FOLDS, 2 * FOLDS, FOLDS)
    for position, done in enumerate(halved.trained.finished):
        before, after = (
            one.history.filter((pl.col("member") == position) & (pl.col("epoch") <= done.epochs))
            for one in (whole, halved)
        )
        np.testing.assert_allclose(after["train_loss"], before["train_loss"], rtol=1e-9)
        np.testing.assert_allclose(after["valid_loss"], before["valid_loss"], rtol=1e-9)
        if done.ended == "finished":
            assert done.best_epoch == whole.trained.finished[position].best_epoch
            assert distance(halved.trained.module(position), whole.trained.module(position)) < 1e-9
        else:
            assert done.ended == "halved"


def test_a_callers_random_state_is_left_alone():
    setting = draw("pipeline", torch.float64, epochs=1)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    setting.by("eager")
    assert torch.rand(1) == expected
