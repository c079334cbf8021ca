"""The law of the project: a member of a stack ends where the same member alone ends, and where plain torch ends."""

import numpy as np
import polars as pl
import pytest
import torch
from plain import train_plainly
from torch import nn
from torch.nn import functional as F

from lockstep.engine.executors import EXECUTORS
from lockstep.engine.loop import Problem
from lockstep.engine.population import make_population
from lockstep.engine.step import Resident
from lockstep.engine.train import make_modules, train_population
from lockstep.network.losses import LOSSES
from lockstep.runs import History
from lockstep.spec import SGD, Adam, AdamW, Constant, CosineAnnealingLR, Population, Training, TrainSpec, Vary

ROWS, FEATURES, CLASSES = 120, 12, 3
COSINE = CosineAnnealingLR()


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


RATES = [1e-3, 3e-3, 1e-2]
CASES = {
    "pipeline": (Pipeline, (FEATURES,), "cross_entropy", F.cross_entropy, AdamW(lr=RATES)),
    "residual": (
        Residual, (FEATURES,), "mse", lambda o, y: F.mse_loss(o.squeeze(1), y), Adam(lr=RATES, weight_decay=1e-3)
    ),
    "convolutional": (
        Convolutional, (1, 6, 6), "cross_entropy", F.cross_entropy,
        SGD(lr=[1e-2, 3e-2, 1e-1], momentum=0.9, weight_decay=1e-3),
    ),
}  # fmt: skip


CHAIN = [executor for executor in EXECUTORS if executor not in ("fused", "cudagraph")]  # what can train the pipeline
RUNS = [(case, executor) for case in CASES for executor in CHAIN if executor == "eager" or case == "pipeline"]


def problem(case, dtype, epochs, *, executor="eager", seeds=2, patience=None, schedule=COSINE, clip_norm=1.0):
    make, shape, loss_name, loss, optimizer = CASES[case]
    generator = torch.Generator().manual_seed(int(np.random.default_rng().integers(2**31)))
    print("data seed", generator.initial_seed())  # shown when a test fails
    x = torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64).to(dtype)
    signal = x.flatten(1)[:, :CLASSES]
    y = signal.argmax(1) if loss_name == "cross_entropy" else signal.sum(1)
    spec = TrainSpec(
        optimizer=optimizer,
        schedule=schedule,
        training=Training(epochs=epochs, batch_size=16, clip_norm=clip_norm, patience=patience),
        population=Population(folds=4, seeds=seeds, seed=5),
    )
    blocks = np.array_split(np.random.default_rng(generator.initial_seed()).permutation(ROWS), 4)
    folds = [(np.sort(np.setdiff1d(np.arange(ROWS), block)), np.sort(block)) for block in blocks]
    return spec, folds, make, Resident((x,), y), loss_name, loss, dtype, executor


def run(spec, folds, make, data, loss_name, _loss, dtype, executor, members=None):
    population = make_population(replace_members(spec, members), folds)
    modules = make_modules(lambda _: make().to(dtype), population.training)
    history = History(population.identities)
    fused = train_population(
        population, modules, lambda _: Problem(data, LOSSES[loss_name], loss_name, {}, executor),
        torch.device("cpu"), observers=[history],
    )  # fmt: skip
    return population, modules, fused, history.frame()


def replace_members(spec, members):
    return spec if members is None else spec.replace("population.members", members)


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Relative distance of two sets of weights as whole vectors."""
    flat_a, flat_b = (torch.cat([s[k].double().reshape(-1) for k in sorted(a)]) for s in (a, b))
    return float((flat_a - flat_b).norm() / flat_b.norm())


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_in_float64_every_member_has_the_weights_of_a_plain_torch_loop_after_200_steps(case, executor):
    setting = problem(case, torch.float64, epochs=40, executor=executor)
    population, modules, fused, _ = run(*setting)
    assert len(population.members) == 24
    assert population.members[0].steps * 40 == 200
    for position, member in enumerate(population.members):
        plain = train_plainly(modules[position], member, setting[3].inputs, setting[3].targets, setting[5])
        done = fused.finished[position]
        assert done.best_epoch == plain.best_epoch
        assert distance(fused.module(position).state_dict(), plain.best) < 1e-9


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_in_float64_a_member_trained_alone_has_the_weights_it_has_among_all(case, executor):
    setting = problem(case, torch.float64, epochs=40, executor=executor)
    population, _, fused, _ = run(*setting)
    for index in range(len(population.members)):
        *_, alone, _ = run(*setting, members=(index,))
        assert distance(alone.module(0).state_dict(), fused.module(index).state_dict()) < 1e-9


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_in_float32_losses_follow_a_plain_torch_loop_over_30_steps(case, executor):
    # A number within round-off of ReLU's corner, or of a tie in a pooling window, may fall on the other side of it, and
    # its network goes another way from there: in about one run of a hundred. On other data it then follows.
    strayed = strays(case, executor)
    assert not strayed or not strayed & strays(case, executor)


def strays(case: str, executor: str) -> set[int]:
    """The members whose losses, in float32 and on fresh data, are not those of a plain torch loop."""
    setting = problem(case, torch.float32, epochs=6, executor=executor)
    population, modules, _, history = run(*setting)
    assert population.members[0].steps * 6 == 30
    # A bias in front of a batch norm has gradient zero, Adam turns its round-off into drift, and the running mean
    # lags behind: in eval mode that shows, and says nothing of the step.
    drifts = case == "pipeline"
    found = set()
    for position, member in enumerate(population.members):
        plain = train_plainly(modules[position], member, setting[3].inputs, setting[3].targets, setting[5])
        own = history.filter(history["member"] == member.index).sort("epoch")
        follows = np.allclose(own["train_loss"], plain.train_losses, rtol=1e-4, atol=0)
        follows &= np.allclose(own["valid_loss"], plain.valid_losses, rtol=1e-2 if drifts else 1e-4, atol=0)
        if not follows:
            found.add(position)
    return found


@pytest.mark.parametrize(("case", "executor"), RUNS)
def test_members_stop_early_at_the_epoch_at_which_they_would_stop_alone(case, executor):
    setting = problem(case, torch.float64, epochs=60, executor=executor, seeds=1, patience=3, schedule=Constant())
    population, modules, fused, _ = run(*setting)
    stopped = [done.epochs for done in fused.finished]
    assert len(set(stopped)) > 1, "the case must be one in which members stop at different times"
    for position, member in enumerate(population.members):
        plain = train_plainly(modules[position], member, setting[3].inputs, setting[3].targets, setting[5])
        done = fused.finished[position]
        assert (done.epochs, done.best_epoch) == (len(plain.train_losses), plain.best_epoch)
        assert distance(fused.module(position).state_dict(), plain.best) < 1e-9


@pytest.mark.parametrize("executor", CHAIN)
def test_candidates_that_differ_in_structure_and_numbers_end_where_plain_torch_ends(executor):
    spec, *rest = problem("pipeline", torch.float64, epochs=6, executor=executor, seeds=1)
    varied = spec.replace("optimizer", Vary(SGD(lr=[3e-2, 1e-1], momentum=0.9), AdamW(lr=3e-3))).replace(
        "schedule", Vary(CosineAnnealingLR(eta_min=[0.0, 1e-3]), Constant())
    )
    varied = varied.replace("training", Vary(Training(epochs=3, batch_size=16), Training(epochs=2, batch_size=40)))
    population, modules, fused, _ = run(varied, *rest)
    assert len(population.members) == 3 * 3 * 2 * 4
    assert len(fused.stacks) == 2 * 2 * 2, "numbers share a stack, all else does not"
    data, loss = rest[2], rest[4]
    for position in np.random.default_rng().choice(len(population.members), 12, replace=False).tolist():
        member = population.members[position]
        plain = train_plainly(modules[position], member, data.inputs, data.targets, loss)
        done = fused.finished[position]
        assert (done.epochs, done.best_epoch) == (member.spec.training.epochs, plain.best_epoch)
        assert distance(fused.module(position).state_dict(), plain.best) < 1e-9


@pytest.mark.parametrize("executor", CHAIN)
def test_a_member_that_goes_nan_is_set_aside_and_the_others_never_notice(executor):
    spec, *rest = problem("pipeline", torch.float64, epochs=10, executor=executor, seeds=1, clip_norm=None)
    wild = spec.replace("optimizer", SGD(lr=[1e-2, 1e200, 3e-2]))
    population, _, fused, _ = run(wild, *rest)
    ended = {member.index: done.ended for member, done in zip(population.members, fused.finished, strict=True)}
    assert [ended[index] for index in range(12)] == ["finished"] * 4 + ["diverged"] * 4 + ["finished"] * 4
    _, _, calm, _ = run(spec.replace("optimizer", SGD(lr=[1e-2, 3e-2])), *rest)
    for position, other in zip((0, 1, 2, 3, 8, 9, 10, 11), range(8), strict=True):
        assert distance(fused.module(position).state_dict(), calm.module(other).state_dict()) < 1e-12


@pytest.mark.parametrize("executor", CHAIN)
def test_a_survivor_of_halving_ends_where_it_ends_without_and_the_others_go_there_until_they_are_left_behind(executor):
    spec, *rest = problem("pipeline", torch.float64, epochs=12, executor=executor, seeds=1)
    varied = spec.replace("optimizer", Vary(SGD(lr=[1e-3, 3e-2, 3e-1], momentum=0.9), AdamW(lr=RATES)))
    population, _, whole, history = run(varied, *rest)
    _, _, halved, course = run(varied.replace("population.halve", 2), *rest)
    assert len(halved.stacks) == 2
    counts = [done.epochs for done in halved.finished]
    assert (counts.count(3), counts.count(6), counts.count(12)) == (3 * 4, 2 * 4, 4)
    for position, (member, done) in enumerate(zip(population.members, halved.finished, strict=True)):
        before, after = (
            frame.filter((pl.col("member") == member.index) & (pl.col("epoch") <= done.epochs))
            for frame in (history, course)
        )
        np.testing.assert_allclose(after["train_loss"], before["train_loss"], rtol=1e-9)
        np.testing.assert_allclose(after["valid_loss"], before["valid_loss"], rtol=1e-9)
        if done.ended == "finished":
            assert done.best_epoch == whole.finished[position].best_epoch
            assert distance(halved.module(position).state_dict(), whole.module(position).state_dict()) < 1e-9
        else:
            assert done.ended == "halved"


def test_a_callers_random_state_is_left_alone():
    setting = problem("pipeline", torch.float64, epochs=1)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    run(*setting)
    assert torch.rand(1) == expected
