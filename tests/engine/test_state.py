"""What a stack's members are updated by and remember: the spec's optimiser, what it spares, averages and plateaus."""

import numpy as np
import pytest
import torch
from torch import nn

from lockstep.engine.loop import start
from lockstep.engine.population import make_population
from lockstep.engine.stack import lift
from lockstep.engine.state import fresh_best, fresh_state, matrices, rule_of
from lockstep.engine.tables import epoch_tables, next_plateau
from lockstep.engine.train import kinds
from lockstep.spec import (
    SGD,
    AdamW,
    OneCycleLR,
    Optimizer,
    Population,
    ReduceLROnPlateau,
    RMSprop,
    Schedule,
    Training,
    TrainSpec,
)

CPU = torch.device("cpu")
Rng = np.random.Generator


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.layer = nn.Linear(3, 2)
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.filters = nn.Parameter(torch.randn(2, 3, 4))


def members_of(spec: TrainSpec) -> tuple:  # type: ignore[type-arg]
    rows = np.arange(40)
    return make_population(spec, [(rows[:30], rows[30:])]).training


def test_biases_and_norms_are_vectors_of_one_network_although_they_are_matrices_of_the_stack() -> None:
    stack = lift([Net() for _ in range(3)], CPU)
    spared = {name: not bool(view.any()) for name, view in stack.layout.views(matrices(stack.layout)).items()}
    assert spared == {
        "norm.weight": True, "norm.bias": True, "layer.weight": False, "layer.bias": True, "gain": True,
        "filters": False,
    }  # fmt: skip
    assert set(matrices(stack.layout).tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("optimizer", [SGD(lr=0.1), AdamW(lr=0.1)])
def test_only_a_spec_that_spares_vectors_or_averages_has_another_rule_than_the_optimisers(optimizer: Optimizer) -> None:
    stack = lift([Net()], CPU)
    plain = rule_of(TrainSpec(optimizer=optimizer), stack)
    assert plain == rule_of(TrainSpec(optimizer=optimizer), stack)
    averaged = rule_of(TrainSpec(optimizer=optimizer, training=Training(ema=0.9)), stack)
    assert averaged.moments == (*plain.moments, "average")
    spared = rule_of(TrainSpec(optimizer=optimizer.replace("decay_vectors", False)), stack)
    assert spared.moments == plain.moments
    assert spared != plain


def test_the_average_is_what_is_judged_and_kept_where_there_is_one(rng: Rng) -> None:
    stack = lift([Net(), Net()], CPU)
    state = fresh_state(stack, rule_of(TrainSpec(), stack))
    assert state.weights is state.params
    state = fresh_state(stack, rule_of(TrainSpec(training=Training(ema=0.9)), stack))
    state.moments["average"].copy_(torch.from_numpy(rng.normal(size=state.params.shape)))
    best = fresh_best(stack).updated(torch.tensor([True, False]), state, torch.tensor([0.1, 0.1]).double(), 1)
    assert torch.equal(best.params[0], state.moments["average"][0])
    assert torch.equal(best.params[1], stack.params[1])


def test_members_share_a_stack_if_they_differ_in_numbers_alone() -> None:
    def kind(optimizer: Optimizer = AdamW(), schedule: Schedule = OneCycleLR(), **training: object) -> object:  # noqa: B008
        (member,) = members_of(TrainSpec(optimizer=optimizer, schedule=schedule, training=Training(**training)))
        return kinds(member)

    assert kind(ema=0.9) == kind(ema=0.99)
    assert kind(ema=0.9) != kind()
    assert kind(AdamW(weight_decay=0.5)) == kind()
    assert kind(AdamW(decay_vectors=False)) != kind()
    assert kind(RMSprop(centered=True)) != kind(RMSprop())
    assert kind(schedule=OneCycleLR(pct_start=0.1, max_lr=0.1)) == kind(schedule=OneCycleLR(max_lr=0.2))
    assert kind(schedule=OneCycleLR(max_lr=0.1)) != kind()
    assert kind(schedule=OneCycleLR(total_steps=7)) != kind()
    assert kind(schedule=ReduceLROnPlateau(patience=1)) != kind(schedule=ReduceLROnPlateau(patience=2))


def test_a_retired_member_takes_what_its_schedule_remembers_with_it() -> None:
    spec = TrainSpec(
        optimizer=SGD(lr=[0.1, 0.2, 0.3]),
        schedule=ReduceLROnPlateau(factor=0.5, patience=0),
        population=Population(folds=1),
    )
    members = members_of(spec)
    progress = start(lift([Net() for _ in members], CPU), members)
    assert start(lift([Net()], CPU), members_of(TrainSpec())).plateau is None
    for value in ([1.0, 1.0, 1.0], [2.0, 0.5, 2.0]):
        progress.plateau = next_plateau(progress.plateau, members, torch.tensor(value))
    assert progress.plateau is not None
    assert progress.plateau.rate.tolist() == pytest.approx([0.05, 0.2, 0.15])
    progress.retire({0: "stopped early"}, 2)
    assert progress.plateau.rate.tolist() == pytest.approx([0.2, 0.15])
    running = [members[position] for position in progress.active]
    progress.plateau = next_plateau(progress.plateau, running, torch.tensor([0.6, 0.1]))
    assert progress.plateau is not None
    assert progress.plateau.rate.tolist() == pytest.approx([0.1, 0.15])


@pytest.mark.parametrize(("optimizer", "factor"), [(SGD(), "momentum"), (RMSprop(), "momentum"), (AdamW(), "fresh1")])
def test_one_cycle_moves_rate_and_momentum_within_an_epoch(optimizer: Optimizer, factor: str) -> None:
    members = members_of(TrainSpec(optimizer=optimizer, schedule=OneCycleLR(), training=Training(epochs=2)))
    stack = lift([Net()], CPU)
    tables, rates = epoch_tables(members, rule_of(members[0].spec, stack), 0, {}, 0, 10, stack.params)
    assert rates.shape == (10, 1)
    assert len(set(rates[:, 0].tolist())) == 10
    assert len({float(numbers.factors[factor]) for numbers in map(tables.of_step, range(10))}) == 10
