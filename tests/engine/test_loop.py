"""What happens in an epoch: who is best, who has ended, what is told and kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lockstep.engine.loop import Finished, Problem, Progress, endings, monitored
from lockstep.engine.population import Population as Members
from lockstep.engine.population import make_population
from lockstep.engine.records import EpochRecord
from lockstep.engine.stack import lift
from lockstep.engine.state import Best, choose, fresh_best, fresh_state
from lockstep.engine.step import Resident
from lockstep.engine.train import Trained, make_modules, pick_device, train_population
from lockstep.errors import TrainingError
from lockstep.network.losses import LOSSES
from lockstep.optim import rule_for
from lockstep.spec import SGD, AdamW, CosineAnnealingLR, CosineWarmup, Population, Schedule, Training, TrainSpec

CPU = torch.device("cpu")
Rng = np.random.Generator
NAN = float("nan")


def test_rows_of_a_state_are_those_members_alone() -> None:
    stack = lift([nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) for _ in range(4)], CPU)
    state = fresh_state(stack, rule_for(AdamW()))
    assert set(state.moments) == {"mean", "square"}
    picked = state.rows(torch.tensor([3, 1]))
    assert torch.equal(picked.params, state.params[[3, 1]])
    assert picked.buffers["1.running_mean"].shape == (2, 3)
    assert all(moment.shape == picked.params.shape for moment in picked.moments.values())


def test_a_fresh_state_shares_nothing_with_the_stack() -> None:
    stack = lift([nn.Linear(2, 3)], CPU)
    before = stack.params.clone()
    fresh_state(stack, rule_for(SGD())).params.zero_()
    fresh_best(stack).params.zero_()
    assert torch.equal(stack.params, before)


def test_the_best_changes_where_it_is_better_and_the_old_one_stays_whole() -> None:
    stack = lift([nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(3)], CPU)
    old, state = fresh_best(stack), fresh_state(stack, rule_for(SGD()))
    state.params += 1
    state.buffers["1.running_mean"] = state.buffers["1.running_mean"] + 5
    new = old.updated(torch.tensor([True, False, True]), state, torch.tensor([0.3, 0.1, 0.2]).double(), 7)
    assert new.epoch.tolist() == [7, 0, 7]
    assert new.monitor.tolist() == pytest.approx([0.3, float("inf"), 0.2])
    assert torch.equal(new.params[[0, 2]], state.params[[0, 2]])
    assert torch.equal(new.params[1], old.params[1])
    assert new.buffers["1.running_mean"][:, 0].tolist() == [5, 0, 5]
    assert old.epoch.tolist() == [0, 0, 0]
    assert torch.equal(old.params, stack.params)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 2)])
def test_choose_takes_whole_rows(rng: Rng, shape: tuple[int, ...]) -> None:
    new, old = torch.from_numpy(rng.normal(size=shape)), torch.from_numpy(rng.normal(size=shape))
    chosen = choose(torch.tensor([True, False, True]), new, old)
    assert torch.equal(chosen, torch.stack([new[0], old[1], new[2]]))


def test_retiring_packs_the_others_in_their_order() -> None:
    stack = lift([nn.Linear(2, 2) for _ in range(5)], CPU)
    state, best = fresh_state(stack, rule_for(SGD())), fresh_best(stack)
    progress = Progress(3, [0, 2, 4, 5, 7], state, Best(best.params, best.buffers, best.monitor, torch.arange(5)))
    progress.retire({1: "stopped early", 4: "diverged"}, 3)
    assert progress.active == [0, 4, 5]
    assert torch.equal(progress.state.params, stack.params[[0, 2, 3]])
    assert progress.best.epoch.tolist() == [0, 2, 3]
    ended = {position: (done.ended, done.best_epoch, done.epochs) for position, done in progress.finished.items()}
    assert ended == {2: ("stopped early", 1, 3), 7: ("diverged", 4, 3)}
    assert torch.equal(progress.finished[2].params, stack.params[1])
    weights = progress.weights()
    assert sorted(weights) == [0, 2, 4, 5, 7]
    assert {position for position, done in weights.items() if done.ended == "interrupted"} == {0, 4, 5}
    progress.retire({}, 4)
    assert progress.active == [0, 4, 5]


@pytest.mark.parametrize(
    ("monitor", "name", "expected"),
    [
        ("valid_loss", "accuracy", [1.0, 2.0]),
        ("valid_metric", "accuracy", [-0.7, -0.9]),
        ("valid_metric", "rmse", [0.7, 0.9]),
        ("valid_metric", "", [1.0, 2.0]),
        ("train_loss", "accuracy", [3.0, 4.0]),
    ],
)
def test_what_is_watched_is_smaller_when_it_is_better(monitor: Any, name: str, expected: list[float]) -> None:
    trained, loss, metric = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0]), torch.tensor([0.7, 0.9])
    watched = monitored(Training(monitor=monitor), name, trained, loss, metric)
    torch.testing.assert_close(watched, torch.tensor(expected))


@pytest.mark.parametrize(
    ("epoch", "best", "healthy", "interrupted", "patience", "ended"),
    [
        (5, 5, True, False, 3, None),
        (5, 3, True, False, 3, None),
        (5, 2, True, False, 3, "stopped early"),
        (5, 2, True, False, None, None),
        (5, 5, False, False, 3, "diverged"),
        (10, 10, False, True, 3, "diverged"),
        (10, 2, True, False, 3, "finished"),
        (10, 10, True, True, None, "interrupted"),
        (5, 5, True, True, None, "interrupted"),
        (5, 0, True, True, 3, "interrupted"),
    ],
)
def test_who_ends_and_why(
    epoch: int, best: int, healthy: bool, interrupted: bool, patience: int | None, ended: str | None
) -> None:
    found = endings(epoch, np.array([best]), np.array([healthy]), Training(epochs=10, patience=patience), interrupted)
    assert found == ({} if ended is None else {0: ended})


class Case:
    """A small regression: members of two learning rates, one record per epoch."""

    def __init__(
        self,
        rng: Rng,
        *,
        valid: bool = True,
        patience: int | None = None,
        lr: Any = (1e-2, 1e-1),
        schedule: Schedule = CosineAnnealingLR(),  # noqa: B008
    ) -> None:
        x = torch.from_numpy(rng.normal(size=(60, 3)))
        self.data = Resident((x,), x.sum(1))
        spec = TrainSpec(
            optimizer=SGD(lr=list(lr)),
            schedule=schedule,
            training=Training(epochs=6, batch_size=8, clip_norm=None, patience=patience),
            population=Population(seeds=2),
        )
        rows = np.arange(60)
        self.population: Members = make_population(spec, [(rows[:40], rows[40:] if valid else rows[:0])])
        self.modules = make_modules(lambda _: self.module(), self.population.training)
        self.records: list[EpochRecord] = []
        self.kept: list[tuple[int, dict[int, Finished]]] = []

    @staticmethod
    def module() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    def train(self, stop: Callable[[], bool] = lambda: False) -> Trained:
        problem = Problem(self.data, LOSSES["mse"], "mse", {}, "eager")  # which hears of a stop at every step
        return train_population(
            self.population, self.modules, lambda _: problem, CPU, observers=[self.records.append], stop=stop,
            keep=lambda _, __, progress: self.kept.append((progress.epoch, progress.weights())),
        )  # fmt: skip

    def losses(self, module: nn.Module, rows: slice = slice(40, 60)) -> Tensor:
        with torch.no_grad():
            return (module(self.data.inputs[0][rows])[:, 0] - self.data.targets[rows]).square().mean()


def after(calls: int) -> Callable[[], bool]:
    """A wish to stop that comes true at question number ``calls`` (from 0)."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= calls


def test_every_epoch_gives_one_record_of_all_members(rng: Rng) -> None:
    case = Case(rng)
    case.train()
    assert [record.epoch for record in case.records] == [1, 2, 3, 4, 5, 6]
    for record in case.records:
        assert record.members.tolist() == [0, 1, 2, 3]
        assert record.epochs == 6
        assert record.metric == "rmse"
        assert not record.partial
        np.testing.assert_allclose(record.valid_metric, np.sqrt(record.valid_loss))
        assert record.layers == ("0.weight", "0.bias", "2.weight", "2.bias")
        assert record.layer_grad_norms.shape == (4, 4)
        assert (record.grad_norm >= record.layer_grad_norms.max(1) - 1e-12).all()
    rates = 0.5 * (1 + np.cos(np.pi * np.arange(6) / 6))
    np.testing.assert_allclose([record.lr[0] for record in case.records], 1e-2 * rates, rtol=1e-12)
    np.testing.assert_allclose([record.lr[2] for record in case.records], 1e-1 * rates, rtol=1e-12)
    assert case.records[-1].ended == dict.fromkeys(range(4), "finished")
    assert not any(record.ended for record in case.records[:-1])


def test_what_comes_out_is_each_members_best_epoch(rng: Rng) -> None:
    case = Case(rng)
    trained = case.train()
    by_epoch = np.stack([record.valid_loss for record in case.records])
    for position, done in enumerate(trained.finished):
        assert done.best_epoch == by_epoch[:, position].argmin() + 1
        loss = case.losses(trained.module(position))
        np.testing.assert_allclose(float(loss), by_epoch[:, position].min(), rtol=1e-12)


def test_without_validation_rows_the_last_epoch_counts(rng: Rng) -> None:
    case = Case(rng, valid=False)
    trained = case.train()
    assert [done.best_epoch for done in trained.finished] == [6] * 4
    assert np.isnan([record.valid_loss for record in case.records]).all()


def test_progress_is_kept_after_every_epoch(rng: Rng) -> None:
    case = Case(rng)
    trained = case.train()
    assert [epoch for epoch, _ in case.kept] == [1, 2, 3, 4, 5, 6]
    for epoch, weights in case.kept:
        assert sorted(weights) == [0, 1, 2, 3]
        assert all(done.epochs == epoch for done in weights.values())
    for position, done in enumerate(trained.finished):
        assert torch.equal(case.kept[-1][1][position].params, done.params)


def test_a_member_without_a_better_epoch_for_its_patience_stops_and_the_others_go_on(rng: Rng) -> None:
    case = Case(rng, patience=2, lr=(1e-2, 5.0))  # a rate at which nothing gets better
    trained = case.train()
    assert {done.ended for done in trained.finished[:2]} == {"finished"}
    for done in trained.finished[2:]:
        assert done.ended in ("stopped early", "diverged")
        assert done.epochs < 6
    assert case.records[-1].members.tolist() == [0, 1]


@pytest.mark.parametrize("valid", [True, False])
def test_a_member_whose_loss_is_no_number_has_diverged_and_leaves_usable_weights(rng: Rng, valid: bool) -> None:
    case = Case(rng, lr=(1e-2, 1e300), valid=valid)
    trained = case.train()
    assert [done.ended for done in trained.finished] == ["finished"] * 2 + ["diverged"] * 2
    assert [done.best_epoch for done in trained.finished[2:]] == [0, 0]
    assert case.records[0].ended == {2: "diverged", 3: "diverged"}
    assert case.records[1].members.tolist() == [0, 1]
    for position in (2, 3):
        assert case.losses(trained.module(position)).isfinite()


def test_a_wish_to_stop_in_mid_epoch_ends_with_a_partial_record_and_the_best_so_far(rng: Rng) -> None:
    case = Case(rng)
    trained = case.train(after(2 * case.population.members[0].steps + 2))
    assert [(record.epoch, record.partial) for record in case.records] == [(1, False), (2, False), (3, True)]
    assert case.records[-1].ended == dict.fromkeys(range(4), "interrupted")
    by_epoch = np.stack([record.valid_loss for record in case.records])
    for position, done in enumerate(trained.finished):
        assert (done.ended, done.epochs) == ("interrupted", 3)
        assert done.best_epoch == by_epoch[:, position].argmin() + 1
        np.testing.assert_allclose(float(case.losses(trained.module(position))), by_epoch[:, position].min())
    assert case.kept[-1][0] == 3


def test_the_rate_of_a_record_is_that_of_the_last_step_taken(rng: Rng) -> None:
    case = Case(rng, lr=(1e-2, 1e-1), schedule=CosineWarmup(warmup=0.0))
    steps = case.population.members[0].steps
    case.train(after(2 * steps + 2))
    last = np.array([steps - 1, 2 * steps - 1, 2 * steps + 1])
    rates = 0.5 * (1 + np.cos(np.pi * last / (6 * steps)))
    np.testing.assert_allclose([record.lr[0] for record in case.records], 1e-2 * rates, rtol=1e-12)
    np.testing.assert_allclose([record.lr[2] for record in case.records], 1e-1 * rates, rtol=1e-12)


def test_a_wish_to_stop_between_epochs_adds_no_record(rng: Rng) -> None:
    case = Case(rng)
    trained = case.train(after(2 * case.population.members[0].steps))
    assert [record.epoch for record in case.records] == [1, 2]
    assert [(done.ended, done.epochs) for done in trained.finished] == [("interrupted", 2)] * 4


def test_a_wish_to_stop_before_the_first_step_leaves_the_networks_as_they_were_made(rng: Rng) -> None:
    case = Case(rng)
    trained = case.train(lambda: True)
    assert case.records == []
    for position, done in enumerate(trained.finished):
        assert (done.ended, done.epochs, done.best_epoch) == ("interrupted", 0, 0)
        for name, value in trained.module(position).state_dict().items():
            assert torch.equal(value, case.modules[position].state_dict()[name])


def test_a_device_that_is_not_there_is_refused() -> None:
    assert pick_device("cpu") == CPU
    with pytest.raises(TrainingError, match="device must be auto, cpu, cuda or mps, however: 'gpu'"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="device must exist here, however: cuda"):
            pick_device("cuda")
